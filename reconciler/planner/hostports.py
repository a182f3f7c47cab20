"""Host ports: who has them, who wants them, and who hands one over to whom. For `planning`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.addresses import overlap
from reconciler.kits.errors import ReconcilerError
from reconciler.model.plan import FOLLOWS, REPLACE, RESTART, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model.desired import Container, Port, Stack
    from reconciler.model.observed import BusyPort, Observed, PortBinding
    from reconciler.planner.decisions import Decision, Decisions

    Busy = dict[tuple[int, str], list[BusyPort]]


def numbers_of(port: Port) -> range:
    """The host ports that may be taken for it; none for a random one."""
    return range(port.host_port, max(port.host_port, port.host_port_end) + 1) if port.host_port else range(0)


class HostPorts:
    """The busy ports of one look at the machine, asked about by one stack."""

    def __init__(self, stack: Stack, observed: Observed, decisions: Decisions) -> None:
        self._stack = stack
        self._decisions = decisions
        self._keys = {c.name: c.key for c in observed.containers if c.stack == stack.name}
        self._busy: Busy = {}
        for entry in observed.busy_ports:
            self._busy.setdefault((entry.host_port, entry.protocol), []).append(entry)
        self._fixed: dict[tuple[int, str], list[tuple[str, str]]] = {}
        for container in stack.containers.values():
            for port in container.ports:
                if port.host_port and not port.host_port_end:
                    key = (port.host_port, port.protocol)
                    self._fixed.setdefault(key, []).append((port.host_ip, container.key))

    def _holders(self, port: Port, number: int, own_key: str) -> list[tuple[BusyPort, Decision | None]]:
        """Who else has it, each with the decision about it where it is a container of this stack."""
        found = []
        for entry in self._busy.get((number, port.protocol), ()):
            if overlap(entry.host_ip, port.host_ip):
                key = self._keys.get(entry.container) if entry.container else None
                if key != own_key:
                    found.append((entry, self._decisions[key] if key is not None else None))
        return found

    def hand_over(self) -> None:
        """Replace, instead of restart, who gives a port up to another one of the stack.

        A restart takes its new ports in one step; were two to exchange theirs so, each would wait for the other.
        """
        for decision in self._decisions.values():
            for port in decision.wanted.ports if decision.wanted and decision.change else ():
                for number in numbers_of(port):
                    for _, holder in self._holders(port, number, decision.key):
                        if holder and holder.change == RESTART and not holds(holder.wanted, number, port.protocol):
                            holder.because(
                                REPLACE, Reason(f"gives host port {number} up to {decision.key}", kind=FOLLOWS)
                            )

    def claim(self, problems: list[ReconcilerError]) -> dict[str, set[str]]:
        """By key, whose removal a container must wait for to get its host ports; adds a problem for each taken one."""
        waits: dict[str, set[str]] = {}
        for decision in self._decisions.values():
            if decision.wanted is None or not (decision.starts or decision.updates):
                continue
            for index, port in enumerate(decision.wanted.ports):
                if port.host_port:
                    free, given_up, taken = self._candidates(port, decision.key)
                    if not free and given_up:
                        waits.setdefault(decision.key, set()).update(given_up)
                    elif not free:
                        problems.append(self._taken(decision.key, index, port, taken))
        return waits

    def _candidates(self, port: Port, key: str) -> tuple[bool, set[str], list[BusyPort]]:
        """(one is free now, the keys of who gives the first other one up, who has what is not to be had)."""
        taken: list[BusyPort] = []
        given_up: set[str] = set()
        for number in numbers_of(port):
            holders = self._holders(port, number, key)
            if not holders:
                return True, set(), []
            staying = [entry for entry, holder in holders if holder is None or not holder.removes]
            if staying:
                taken += staying
            elif not given_up:
                given_up = {holder.key for _, holder in holders if holder}
        return False, given_up, taken

    def _taken(self, key: str, index: int, port: Port, taken: list[BusyPort]) -> ReconcilerError:
        holders = ", ".join(dict.fromkeys(entry.holder or entry.container for entry in taken))
        ports = (
            str(port.host_port) if port.host_port_end <= port.host_port else f"{port.host_port}-{port.host_port_end}"
        )
        return ReconcilerError(
            f"host port {ports}/{port.protocol} of container {key} is taken by {holders}",
            code="port-taken",
            position=self._stack.position_of("containers", key, "ports", index),
            hint="stop what has it, or publish another host port",
        )

    def kept_by(self, decision: Decision) -> tuple[PortBinding, ...]:
        """The bindings that a successor may have again: those its spec still allows and nobody else asks for."""
        assert decision.seen
        assert decision.wanted
        kept = []
        for binding in decision.seen.ports:
            others = self._fixed.get((binding.host_port, binding.protocol), ())
            asked_for = any(key != decision.key and overlap(ip, binding.host_ip) for ip, key in others)
            if not asked_for and any(_allows(port, binding) for port in decision.wanted.ports):
                kept.append(binding)
        return tuple(sorted(kept, key=lambda b: (b.container_port, b.protocol, b.host_ip, b.host_port)))


def holds(container: Container | None, number: int, protocol: str) -> bool:
    """Whether the container's spec has this host port."""
    return container is not None and any(p.protocol == protocol and number in numbers_of(p) for p in container.ports)


def _allows(port: Port, binding: PortBinding) -> bool:
    same = port.container_port == binding.container_port and port.protocol == binding.protocol
    addresses = (port.host_ip,) if port.host_ip else ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
    return same and binding.host_ip in addresses and (not port.host_port or binding.host_port in numbers_of(port))


def scope_ports(containers: Iterator[Container]) -> tuple[tuple[str, int, str], ...]:
    """(host address, port, protocol) of all host ports that the containers ask for by number, sorted."""
    found = {(p.host_ip, number, p.protocol) for c in containers for p in c.ports for number in numbers_of(p)}
    return tuple(sorted(found))
