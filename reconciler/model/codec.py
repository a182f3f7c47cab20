"""A stack as JSON values and back, positions included: what the resolved-spec cache and saved plans hold.

For machines that read what the same release wrote: `decode` trusts its input's shape and raises KeyError, TypeError or
ValueError for anything else. Anyone above the model may import it.
"""

from __future__ import annotations

from typing import Any

from reconciler.kits.source import Origin, Position
from reconciler.model import desired

CODEC_VERSION = 4
"""Raised when the form changes in a way that `decode` would misread."""

_LISTS: dict[str, Any] = {
    "links": desired.Link,
    "depends_on": desired.Dependency,
    "volumes": desired.Mount,
    "volumes_from": desired.VolumesFrom,
    "ports": desired.Port,
    "ulimits": desired.Ulimit,
    "devices": desired.Device,
    "tmpfs": desired.Tmpfs,
}
_OBJECTS: dict[str, Any] = {
    "restart": desired.Restart,
    "healthcheck": desired.Healthcheck,
    "logging": desired.Logging,
}
_DEFAULTS: dict[Any, dict[str, Any]] = {
    kind: kind.defaults()
    for kind in (
        *(desired.Container, desired.Volume, desired.Move, desired.Adoption),
        *_LISTS.values(),
        *_OBJECTS.values(),
    )
}


def encode(stack: desired.Stack) -> dict[str, Any]:
    """The stack as JSON values, without fields at their default."""
    return {
        "version": CODEC_VERSION,
        "name": stack.name,
        "source": stack.source,
        "origin": stack.origin,
        "containers": [_flat(container) for container in stack.containers.values()],
        "volumes": [_flat(volume) for volume in stack.volumes.values()],
        "positions": _encode_positions(stack.positions),
        "origins": _encode_origins(stack.origins),
        **({"moved": [_flat(move) for move in stack.moved]} if stack.moved else {}),
        **({"adopt": [_flat(adoption) for adoption in stack.adopt]} if stack.adopt else {}),
    }


def decode(document: dict[str, Any]) -> desired.Stack:
    """The inverse of `encode`."""
    if document["version"] != CODEC_VERSION:
        raise ValueError("written by another release")
    containers = [_container(each) for each in document["containers"]]
    volumes = [desired.Volume(**each) for each in document["volumes"]]
    return desired.Stack(
        name=document["name"],
        source=document["source"],
        origin=document["origin"],
        containers={each.key: each for each in containers},
        volumes={each.key: each for each in volumes},
        positions=_decode_positions(document["positions"]),
        origins=_decode_origins(document["origins"]),
        moved=tuple([desired.Move(**each) for each in document.get("moved", ())]),
        adopt=tuple([desired.Adoption(**each) for each in document.get("adopt", ())]),
    )


def encode_container(container: desired.Container) -> dict[str, Any]:
    """One container as JSON values."""
    return _flat(container)


def decode_container(document: dict[str, Any]) -> desired.Container:
    """The inverse of `encode_container`."""
    return _container(document)


def _flat(value: Any) -> dict[str, Any]:
    """A frozen class's fields by name; those inside as well."""
    out = {}
    for name, default in _DEFAULTS[type(value)].items():
        item = getattr(value, name)
        if item == default:
            continue
        if name in _LISTS:
            item = [_flat(each) for each in item]
        elif name in _OBJECTS and item is not None:
            item = _flat(item)
        elif isinstance(item, tuple):
            item = list(item)
        out[name] = item
    return out


def _container(document: dict[str, Any]) -> desired.Container:
    known = dict(document)
    for name, kind in _LISTS.items():
        if name in known:
            known[name] = tuple([kind(**_with_tuples(each)) for each in known[name]])
    for name, kind in _OBJECTS.items():
        if name in known:
            known[name] = kind(**_with_tuples(known[name]))
    return desired.Container(**_with_tuples(known))


def _with_tuples(known: dict[str, Any]) -> dict[str, Any]:
    """Nothing of a stack is a list: what is one in JSON was a tuple."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}


def _encode_positions(positions: dict[desired.Path, Position]) -> dict[str, Any]:
    files: dict[str, int] = {}
    rows = [
        [files.setdefault(position.file, len(files)), position.line, position.column, *path]
        for path, position in positions.items()
    ]
    return {"files": list(files), "rows": rows}


def _decode_positions(document: dict[str, Any]) -> dict[desired.Path, Position]:
    files = document["files"]
    return {tuple(path): Position(files[file], line, column) for file, line, column, *path in document["rows"]}


def _encode_origins(origins: dict[desired.Path, tuple[Origin, ...]]) -> list[Any]:
    return [[list(path), [_encode_origin(origin) for origin in found]] for path, found in origins.items()]


def _encode_origin(origin: Origin) -> list[Any]:
    place = origin.position
    return [origin.how, origin.name, *((place.file, place.line, place.column) if place else ())]


def _decode_origins(rows: Any) -> dict[desired.Path, tuple[Origin, ...]]:
    return {
        tuple(path): tuple([Origin(how, name, Position(*place) if place else None) for how, name, *place in found])
        for path, found in rows
    }
