"""Checking a tree's shape against the models, and saying what is wrong with it: one message a mistake.

The models are pydantic's; what is checked with at run time is the shape that generate.py makes of them. A walk over
nodes knows positions and which choice of a union was meant, needs no translation of another library's errors, and
spares the start-up time of pydantic-core (20 ms). Tests hold it to pydantic's own verdict. What has a wrong shape is cut
out of the tree, so that the rest can be read and reported on too. For the spec room only.

Kinds of shapes: "keys" (a map with known keys; `x-*` is free), "map" (names of the user's own), "list", "choice", and
the scalars "text" (anything but null, taken as written), "str", "bool", "literal", "null".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.text import listed, quote
from reconciler.spec.compiled import SHAPE
from reconciler.spec.findings import did_you_mean
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence, kind_of
from reconciler.spec.scalars import resolve

if TYPE_CHECKING:
    from reconciler.spec.findings import Findings

Path = tuple[str | int, ...]

# fmt: off
COMPOSE_CONTAINER_KEYS = frozenset({
    "annotations", "attach", "blkio_config", "build", "cgroup", "cgroup_parent", "configs",
    "cpu_count", "cpu_percent", "cpu_rt_period", "cpu_rt_runtime",
    "credential_spec", "deploy", "develop",
    "extends", "external_links", "gpus", "ipc",
    "isolation", "label_file", "mac_address",
    "models", "network_mode", "networks", "pid",
    "post_start", "pre_stop", "profiles", "provider", "pull_refresh_after", "runtime",
    "scale", "secrets", "storage_opt",
    "use_api_socket", "userns_mode", "uts", "volume_driver",
})
# fmt: on
_COMPOSE_KEYS: dict[str, frozenset[str]] = {
    "container": COMPOSE_CONTAINER_KEYS,
    "top": frozenset({"configs", "include", "models", "networks", "secrets"}),
    "volume": frozenset({"driver", "driver_opts"}),
    "ports": frozenset({"app_protocol", "mode", "name"}),
    "volumes": frozenset({"bind", "cluster", "consistency", "image"}),
    "volumes.volume": frozenset({"labels", "subpath"}),
    "depends_on": frozenset({"required", "restart"}),
    "env_file": frozenset({"format"}),
}
"""Keys that Compose has and we do not have yet, by the place they belong to."""


def check(root: Mapping, findings: Findings) -> set[Path]:
    """Report what has a wrong shape, and cut it out of the tree; the paths of what was wrong.

    Afterwards each value that is still there has the type that the models give it; a container or volume that is no
    map at all has become an empty one, and a required key may be missing.
    """
    if "services" in root.entries and "apiVersion" not in root.entries:
        message = "this is a Compose file, which cannot be read yet"
        hint = "begin with 'apiVersion: reconciler/v1' and 'kind: Stack', and call the services 'containers'"
        findings.add(message, root.key("services"), hint=hint)
        findings.fail()
    faults: list[_Fault] = []
    _walk(SHAPE, root, (), faults)
    for fault in faults:
        _report(fault, root, findings)
    for path, _, _ in faults:
        _cut(path, root)
    return {path for path, _, _ in faults}


_OLD_BOOLS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
"""What YAML 1.1 read as true and false, beside these words themselves."""

_Fault = tuple[Path, str, list[str]]
"""A place, what is wrong there ("missing", "unknown", "type", "literal"), and what was expected."""


def _walk(shape: dict[str, Any], node: Node, path: Path, faults: list[_Fault]) -> None:
    """Add what is wrong with a node and all below it."""
    if shape["is"] == "choice":
        fitting = [choice for choice in shape["choices"] if _fits(choice, node)]
        if not fitting:
            expected = [choice["expected"] for choice in shape["choices"] if choice["is"] != "null"]
            faults.append((path, "type", expected))
            return
        shape = fitting[0]
    elif not _fits(shape, node):
        faults.append((path, "type", [shape["expected"]]))
        return
    if shape["is"] == "literal":
        if isinstance(node, Scalar) and node.value not in shape["values"]:
            faults.append((path, "literal", [shape["expected"]]))
    elif isinstance(node, Sequence):
        for number, item in enumerate(node.items):
            _walk(shape["items"], item, (*path, number), faults)
    elif isinstance(node, Mapping) and shape["is"] == "map":
        for name, value in node.items():
            _walk(shape["values"], value, (*path, name), faults)
    elif isinstance(node, Mapping):
        _walk_keys(shape, node, path, faults)


def _walk_keys(shape: dict[str, Any], node: Mapping, path: Path, faults: list[_Fault]) -> None:
    known = shape["keys"]
    for name, value in node.items():
        if name in known:
            _walk(known[name], value, (*path, name), faults)
        elif not name.startswith("x-"):
            faults.append(((*path, name), "unknown", list(known)))
    faults += [((*path, name), "missing", []) for name in shape["required"] if name not in node.entries]


def _fits(shape: dict[str, Any], node: Node) -> bool:
    """Whether a node is of the shape's kind, whatever is in it. A value whose variables failed fits everything."""
    kind = shape["is"]
    if isinstance(node, Mapping):
        return kind in ("keys", "map")
    if isinstance(node, Sequence):
        return bool(kind == "list")
    assert isinstance(node, Scalar)
    if node.failed:
        return kind in ("text", "str", "bool", "null")
    value = node.value
    if kind == "str":
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(resolve(node.text) if node.substituted else value, bool)
    if kind == "null":
        return value is None
    return kind in ("text", "literal") and value is not None


def _report(fault: _Fault, root: Mapping, findings: Findings) -> None:
    path, kind, expected = fault
    at = _node(path, root)
    place, inside = describe(path), describe(path[:-1])
    name = str(path[-1])
    if kind == "missing":
        _report_missing(path, root, findings)
    elif kind == "unknown":
        _report_unknown(path, expected, root, findings)
    elif path == ("containers",) and kind_of(at) == "nothing":
        findings.add("there are no containers", _key(path, root), hint="a stack has at least one")
    elif kind == "literal" and isinstance(at, Scalar):
        hint = f"write {name}: reconciler/v1" if name == "apiVersion" else ""
        findings.add(
            f"unknown {name} {quote(at.text)}{inside and ' of ' + inside}: expected {expected[0]}", at, hint=hint
        )
    else:
        hint = ""
        if isinstance(at, Scalar) and at.plain and "text" in expected and not at.is_null:
            hint = f'put it into quotes: "{at.text}"' if at.text.isprintable() else ""
        elif isinstance(at, Scalar) and at.plain and "true or false" in expected and at.text.lower() in _OLD_BOOLS:
            hint = f"write {_OLD_BOOLS[at.text.lower()]}: in YAML 1.2, {at.text} is a text"
        elif isinstance(at, Mapping) and len(at.entries) == 1 and isinstance(path[-1], int):
            only = next(iter(at.entries))
            hint = f"is this meant as text? Then write it without a space after {quote(only + ':')}, or in quotes"
        elif kind_of(at) == "nothing":
            hint = "give it a value, or leave the key out"
        got = kind_of(at)
        findings.add(f"{place}: expected {listed(expected, 'or')}, got {got}", _shown(at, path, root), hint=hint)


def _shown(at: Node | None, path: Path, root: Mapping) -> Node:
    """Where to point: at the value, or at its key when there is no value to see."""
    return at if at is not None and not (isinstance(at, Scalar) and not at.text) else _key(path, root)


def _report_missing(path: Path, root: Mapping, findings: Findings) -> None:
    name = str(path[-1])
    if path == ("containers",):
        findings.add("there are no containers", root, hint="a stack has at least one, under 'containers:'")
    elif len(path) == 3 and name == "image":
        findings.add(f"container {path[1]} has no image", _key(path[:-1], root), hint="add a line 'image: NAME:TAG'")
    else:
        where = describe(path[:-1]) or "the spec"
        hint = {"apiVersion": "begin with 'apiVersion: reconciler/v1'", "kind": "add 'kind: Stack'"}.get(name, "")
        findings.add(f"{where} has no {quote(name)}", _node(path[:-1], root) or root, hint=hint)


def _report_unknown(path: Path, known: list[str], root: Mapping, findings: Findings) -> None:
    name, inside = str(path[-1]), describe(path[:-1])
    where = f" in {inside}" if inside else ""
    at = _key(path, root)
    if name in _COMPOSE_KEYS.get(_area(path), ()):
        findings.add(f"{quote(name)}{where} is a Compose key that is not supported yet", at, hint="leave it out")
    elif path == ("services",):
        findings.add("'services' is Compose's word", at, hint="call it 'containers'")
    elif path == ("version",):
        findings.add("'version' is Compose's and means nothing here", at, hint="leave it out")
    else:
        hint = f"known here: {', '.join(sorted(known))}" if len(known) < 8 else ""
        near = did_you_mean(name, known)
        findings.add(f"unknown key {quote(name)}{where}{near}", at, hint="" if near else hint)


def _area(path: Path) -> str:
    """Which set of keys a path's last one belongs to."""
    names = [part for part in path if isinstance(part, str)]
    if len(path) == 1:
        return "top"
    if len(path) == 3:
        return "container" if path[0] == "containers" else "volume"
    return "volumes.volume" if names[-2] == "volume" else names[2]


def describe(path: Path) -> str:
    """A path in words: "environment of container web", "ports, item 2, of container web", "" for the top."""
    owner = ""
    rest = path
    if len(path) >= 2 and path[0] in ("containers", "volumes"):
        owner = f"{str(path[0])[:-1]} {path[1]}"
        rest = path[2:]
    words = ""
    for part in rest:
        if isinstance(part, int):
            words += f", item {part + 1},"
        else:
            words += ("." if words and not words.endswith(",") else " " if words else "") + part
    if not owner:
        return words.rstrip(",")
    return f"{words} of {owner}" if words else owner


def _node(path: Path, root: Mapping) -> Node | None:
    node: Node | None = root
    for part in path:
        if isinstance(node, Mapping):
            node = node.get(str(part))
        elif isinstance(node, Sequence) and isinstance(part, int):
            node = node.items[part]
    return node


def _key(path: Path, root: Mapping) -> Node:
    """The key of the value at `path`; for a list's item the item itself."""
    parent = _node(path[:-1], root)
    if isinstance(parent, Mapping) and str(path[-1]) in parent.entries:
        return parent.key(str(path[-1]))
    return _node(path, root) or root


def _cut(path: Path, root: Mapping) -> None:
    """Take away the value at `path`: a key of a map, an item of a container's list (it stays as a failed scalar)."""
    at = next((i for i, part in enumerate(path) if isinstance(part, int)), None)
    if at == 3 and isinstance(items := _node(path[:3], root), Sequence):
        number = int(path[3])
        item = items.items[number]
        dead = Scalar(item.source, item.line, item.column, "", plain=True)
        dead.failed = True
        items.items[number] = dead
        return
    path = path[:at]
    name = str(path[-1])
    parent = _node(path[:-1], root)
    if not isinstance(parent, Mapping) or name not in parent.entries:
        return
    key = parent.key(name)
    if len(path) == 2:
        parent.entries[name] = (key, Mapping(key.source, key.line, key.column))
    else:
        del parent.entries[name]
