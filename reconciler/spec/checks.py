"""What must hold between the containers of a stack: links that lead somewhere, no cycles, nothing taken twice.

It reads finished containers and reports where each value stands. For the spec room only.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING

from reconciler.kits.text import listed, quote
from reconciler.spec.findings import did_you_mean
from reconciler.spec.ports import overlap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reconciler.model.desired import Container, Path, Port, Volume
    from reconciler.spec.findings import Findings
    from reconciler.spec.nodes import Node

_VERBS = {"links": "links to", "depends_on": "depends on", "volumes_from": "takes the volumes from"}


class Checks:
    """The checks of one stack; `nodes` says where each value stands, by path."""

    def __init__(self, containers: dict[str, Container], nodes: dict[Path, Node], findings: Findings) -> None:
        self._containers = containers
        self._nodes = nodes
        self._findings = findings

    def run(self, volumes: dict[str, Volume], declared: Iterable[str] | None) -> None:
        """All checks; `declared` are the keys under `volumes`, None when they could not be read."""
        self._edges()
        self._cycles()
        self._names()
        self._volume_names(volumes)
        for container in self._containers.values():
            self._aliases(container)
            self._targets(container)
            if declared is not None:
                self._declared(container, list(declared))
        self._ports()

    def _at(self, *path: str | int) -> Node:
        """The node at a path, or of what is around it."""
        for end in range(len(path), 0, -1):
            if found := self._nodes.get(path[:end]):
                return found
        raise KeyError(path)

    def _uses(self, container: Container) -> Iterator[tuple[str, str, Path]]:
        """What a container needs: the field that says so, the other's key, and the place."""
        for field in _VERBS:
            for number, item in enumerate(getattr(container, field)):
                yield field, item.container, ("containers", container.key, field, number)

    def _edges(self) -> None:
        for container in self._containers.values():
            for field, other, path in self._uses(container):
                if other == container.key:
                    self._findings.add(f"container {container.key} {_VERBS[field]} itself", self._at(*path))
                elif other not in self._containers:
                    near = did_you_mean(other, self._containers)
                    message = (
                        f"container {container.key} {_VERBS[field]} {quote(other)}, which is not in this spec{near}"
                    )
                    hint = "" if near else f"containers: {', '.join(sorted(self._containers)[:8])}"
                    self._findings.add(message, self._at(*path), hint=hint)

    def _cycles(self) -> None:
        """Report each cycle once; its edges are then left out, to find the next."""
        graph: dict[str, dict[str, tuple[str, Path]]] = {}
        for container in self._containers.values():
            edges = graph.setdefault(container.key, {})
            for field, other, path in self._uses(container):
                if other in self._containers and other != container.key:
                    edges.setdefault(other, (field, path))
        while True:
            try:
                TopologicalSorter(graph).prepare()
                return
            except CycleError as error:
                ring = list(reversed(error.args[1]))
                self._report_cycle(ring, graph)
                for one, other in pairwise(ring):
                    del graph[one][other]

    def _report_cycle(self, ring: list[str], graph: dict[str, dict[str, tuple[str, Path]]]) -> None:
        edges = []
        for one, other in pairwise(ring):
            field, path = graph[one][other]
            edges.append((self._at(*path), f"{one} {_VERBS[field]} {other}"))
        first = min(range(len(edges)), key=lambda i: edges[i][0].position)
        edges = edges[first:] + edges[:first]
        steps = [f"{text} (line {at.line})" for at, text in edges]
        message = f"containers wait for each other: {listed(steps)}"
        self._findings.add(message, edges[0][0], hint="take one of these out: no order could satisfy them all")

    def _names(self) -> None:
        taken: dict[str, str] = {}
        for key, container in self._containers.items():
            other = taken.setdefault(container.name, key)
            if other != key:
                named = key if ("containers", key, "container_name") in self._nodes else other
                first = self._at("containers", key if named == other else other)
                message = f"the containers {other} and {key} would both have the name {quote(container.name)}"
                self._findings.add(message, self._at("containers", named, "container_name"), hint=_also(first))

    def _volume_names(self, volumes: dict[str, Volume]) -> None:
        taken: dict[str, str] = {}
        for key, volume in volumes.items():
            other = taken.setdefault(volume.name, key)
            if other != key:
                message = f"the volumes {other} and {key} would both have the name {quote(volume.name)}"
                first = self._at("volumes", other, "name")
                self._findings.add(message, self._at("volumes", key, "name"), hint=_also(first))

    def _aliases(self, container: Container) -> None:
        seen: dict[str, int] = {}
        for number, link in enumerate(container.links):
            first = seen.setdefault(link.alias, number)
            if first != number:
                message = f"container {container.key} has two links with the alias {quote(link.alias)}"
                place = self._at("containers", container.key, "links", first)
                self._findings.add(message, self._at("containers", container.key, "links", number), hint=_also(place))

    def _targets(self, container: Container) -> None:
        seen: dict[str, Path] = {}
        for field in ("volumes", "tmpfs"):
            for number, mount in enumerate(getattr(container, field)):
                path: Path = ("containers", container.key, field, number)
                first = seen.setdefault(mount.target, path)
                if first != path:
                    message = f"container {container.key} has two mounts at {quote(mount.target)}"
                    self._findings.add(message, self._at(*path), hint=_also(self._at(*first)))

    def _declared(self, container: Container, declared: list[str]) -> None:
        for number, mount in enumerate(container.volumes):
            if mount.kind == "volume" and mount.source not in declared:
                near = did_you_mean(mount.source, declared)
                add = f"add below 'volumes:' at the top level: '{mount.source}: {{}}'"
                message = f"the volume {quote(mount.source)} is not declared{near}"
                at = self._at("containers", container.key, "volumes", number)
                self._findings.add(message, at, hint=f"else {add}" if near else add)

    def _ports(self) -> None:
        """Two publications of one host port, in one container or in two."""
        taken: dict[tuple[str, int], list[tuple[Port, str, Node]]] = {}
        for key, container in self._containers.items():
            random: dict[Port, Node] = {}
            for number, port in enumerate(container.ports):
                at = self._at("containers", key, "ports", number)
                if port.host_port and not port.host_port_end:
                    self._fixed_port(port, key, at, taken.setdefault((port.protocol, port.host_port), []))
                elif not port.host_port and (first := random.setdefault(port, at)) is not at:
                    message = f"container {key} publishes port {port.container_port}/{port.protocol} twice"
                    self._findings.add(message, at, hint=_also(first))

    def _fixed_port(self, port: Port, key: str, at: Node, others: list[tuple[Port, str, Node]]) -> None:
        for other, owner, place in others:
            if overlap(port.host_ip, other.host_ip):
                message = (
                    f"host port {port.host_port}/{port.protocol} is published twice: {_both(other, owner, port, key)}"
                )
                self._findings.add(message, at, hint=_also(place))
                break
        others.append((port, key, at))


def _both(one: Port, owner: str, other: Port, key: str) -> str:
    """Who publishes a host port, with the addresses where they say more."""
    if not one.host_ip and not other.host_ip:
        return f"by container {key}" if owner == key else f"by the containers {owner} and {key}"
    first, second = (port.host_ip or "every address" for port in (one, other))
    return f"by container {owner} on {first} and {'again' if owner == key else 'by container ' + key} on {second}"


def _also(first: Node) -> str:
    return f"the other one is at {first.position}"
