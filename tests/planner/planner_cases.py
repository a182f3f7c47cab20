"""Reads tests/cases/NAME: desired.yaml and observed.yaml are data in the planner's own vocabulary, plan.txt is what comes out.

The spellings are those of a spec, without its defaults, variables and checks: a case must not break with the loader.
`python tests/planner/planner_cases.py` writes every plan.txt anew, to be read before it is committed.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.source import Position
from reconciler.model.desired import (
    UPDATABLE,
    Adoption,
    Container,
    Dependency,
    Healthcheck,
    Link,
    Logging,
    Mount,
    Move,
    Path,
    Port,
    Restart,
    Stack,
    Tmpfs,
    Volume,
    VolumesFrom,
)
from reconciler.model.observed import (
    BusyPort,
    Observed,
    ObservedContainer,
    ObservedImage,
    ObservedVolume,
    PortBinding,
    RemoteImage,
)
from reconciler.planner.data import mount_of
from reconciler.planner.options import Options
from reconciler.planner.planning import plan, plan_down
from reconciler.planner.text import render
from reconciler.runtimes.base import Capabilities

CASES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cases")
SOURCE = "specs/shop.yaml"
ORIGIN = "/srv/specs/shop.yaml"


def names() -> list[str]:
    return sorted(name for name in os.listdir(CASES) if os.path.isdir(os.path.join(CASES, name)))


def read(name: str, file: str) -> str:
    with open(os.path.join(CASES, name, file), encoding="utf-8") as handle:
        return handle.read()


def _positions(node: yaml.Node, path: Path, out: dict[Path, Position]) -> None:
    out[path] = Position(SOURCE, node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _positions(value, (*path, key.value), out)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _positions(value, (*path, index), out)


def mount(text: str) -> Mount:
    kind, source, target = mount_of(text)
    return Mount(kind, source, target, read_only=text.endswith(":ro"))


def port(text: str) -> Port:
    inside, _, protocol = text.partition("/")
    *address, host, inner = ["", "", *inside.split(":")][-3:]
    first, _, last = host.partition("-")
    return Port(int(inner), protocol or "tcp", address[0], int(first or 0), int(last or 0))


def container(key: str, data: dict[str, Any]) -> Container:
    many: dict[str, Any] = {
        "links": lambda text: Link(*(text.split(":") * 2)[:2]),
        "depends_on": lambda text: Dependency(*text.split(":")),
        "volumes": mount,
        "volumes_from": lambda text: VolumesFrom(text.partition(":")[0], text.endswith(":ro")),
        "ports": port,
        "expose": str,
        "tmpfs": lambda text: Tmpfs(text.partition(":")[0]),
        "command": str,
        "entrypoint": str,
    }
    one: dict[str, Any] = {
        "restart": lambda text: Restart(text.partition(":")[0], int(text.partition(":")[2] or 0)),
        "healthcheck": lambda map_: Healthcheck(**{**map_, "test": tuple(map_.get("test", ()))}),
        "logging": lambda map_: Logging(**map_),
    }
    values = {"name": data.get("container_name", key), **data}
    values.pop("container_name", None)
    for name, value in data.items():
        if name in many:
            values[name] = tuple(many[name](item) for item in value)
        elif name in one:
            values[name] = one[name](value)
    return Container(key=key, **values)


def stack(text: str) -> tuple[Stack, dict[str, Any]]:
    """The stack of a desired.yaml, and the rest of it (options, down)."""
    data = yaml.safe_load(text)
    positions: dict[Path, Position] = {}
    _positions(yaml.compose(text, Loader=yaml.SafeLoader), (), positions)
    containers = {key: container(key, value) for key, value in data.pop("containers").items()}
    volumes = {
        key: Volume(key, **{"name": f"shop_{key}", **(value or {})}) for key, value in data.pop("volumes", {}).items()
    }
    kinds = {"containers": "container", "volumes": "volume", "stack": "stack"}
    moves = [(*one["from"].split("."), *one["to"].split(".")) for one in data.pop("moved", ())]
    moved = tuple(Move(kinds[place], old, new) for place, old, _, new in moves)
    places = [(one["from"], *one["to"].split(".")) for one in data.pop("adopt", ())]
    adopt = tuple(Adoption(kinds[place], name, key) for name, place, key in places)
    return Stack("shop", SOURCE, data.pop("origin", ORIGIN), containers, volumes, positions, moved, adopt), data


def observed(text: str) -> tuple[Observed, dict[str, Any]]:
    """The world of an observed.yaml, and the rest of it (runtime). `applied` is a container as in desired.yaml."""
    data = yaml.safe_load(text) or {}
    containers = []
    for name, value in data.pop("containers", {}).items():
        applied = value.pop("applied", None)
        made = container(value.get("key", name), applied) if applied else None
        ours: dict[str, Any] = {"stack": "shop", "key": name, "origin": ORIGIN, "id": f"id-of-{name}"}
        if made:
            ours |= {"settings": made.settings(), "image": made.image, "image_id": f"sha256:{made.image}"}
        value["ports"] = tuple(PortBinding(*binding) for binding in value.get("ports", ()))
        value["faults"] = tuple(value.get("faults", ()))
        value["drift"] = tuple(value.get("drift", ()))
        containers.append(ObservedContainer(**{"name": name, **ours, **value}))
    volumes = [
        ObservedVolume(name, **{"stack": "shop", **(value or {}), "users": tuple((value or {}).get("users", ()))})
        for name, value in data.pop("volumes", {}).items()
    ]
    images = {
        reference: ObservedImage(
            reference,
            (value or {}).get("id", f"sha256:{reference}"),
            tuple((value or {}).get("exposed", ())),
            digest=(value or {}).get("digest", ""),
            healthcheck=(value or {}).get("healthcheck", False),
        )
        for reference, value in data.pop("images", {}).items()
    }
    busy = [BusyPort(**entry) for entry in data.pop("busy_ports", ())]
    faults = tuple(data.pop("network_faults", ()))
    remote = {name: RemoteImage(name, **value) for name, value in data.pop("remote", {}).items()}
    return Observed(tuple(containers), tuple(volumes), images, tuple(busy), faults, remote=remote), data


def planned(name: str):
    wanted, choices = stack(read(name, "desired.yaml"))
    there, machine = observed(read(name, "observed.yaml"))
    wishes = choices.get("options", {})
    options = Options(**{**wishes, "anew": frozenset(wishes.get("anew", ()))})
    if choices.get("down"):
        return plan_down(wanted.name, there, options, source=wanted.source, origin=wanted.origin, spec=wanted)
    runtime = {"rename": True, **machine.get("runtime", {})}
    updatable = frozenset(runtime.pop("update_in_place", UPDATABLE))
    return plan(wanted, there, options, Capabilities("embedded", update_in_place=updatable, **runtime))


def outcome(name: str) -> str:
    """What a case comes to: the plan as text, or the error."""
    try:
        return render(planned(name))
    except ReconcilerError as error:
        return f"{error}\n"


if __name__ == "__main__":
    for case in names():
        with open(os.path.join(CASES, case, "plan.txt"), "w", encoding="utf-8") as out:
            out.write(outcome(case))
