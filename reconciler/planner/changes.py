"""What is different between the settings last applied and the ones wanted, field by field, and what it takes.

Compares canonical settings (`Container.settings`), so only what a user set is ever compared. For `decisions`.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from reconciler.kits.frozen import replace
from reconciler.kits.masking import MASK, masked, masked_words
from reconciler.kits.source import IMAGE, Origin
from reconciler.model.desired import UPDATABLE
from reconciler.model.plan import IN_PLACE, REPLACE, RESTART, Reason
from reconciler.planner.data import target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from reconciler.model.desired import Container, Stack

_RESTARTS = frozenset(("ports",))
"""Of the fields that can be updated, those that take a restart to count.

Everything else that differs, and everything that the runtime can't update, takes a new container. `expose` and
`environment` are part of other containers' link variables, and a new one is how those learn of it.
"""

# Fields that are lists, whose elements are compared one by one, in any order: the part of an element that says which old and new one
# are the same thing changed (a port that moved, a volume swapped under one target).
LISTS: dict[str, Callable[[str], str]] = {
    "links": lambda text: text.rpartition(":")[2],
    "depends_on": lambda text: text.partition(":")[0],
    "volumes": target_of,
    "volumes_from": lambda text: text.partition(":")[0],
    "ports": lambda text: text.rpartition(":")[2],
    "expose": lambda text: text,
    "ulimits": lambda text: text.partition("=")[0],
    "cap_add": lambda text: text,
    "cap_drop": lambda text: text,
    "security_opt": lambda text: text.partition("=")[0],
    "devices": lambda text: text.split(":")[1],
    "device_cgroup_rules": lambda text: text,
    "tmpfs": lambda text: text.partition(":")[0],
    "group_add": lambda text: text,
    "extra_hosts": lambda text: text.partition("=")[0],
}

_SPEC_KEYS = {"name": "container_name"}
"""Fields that a spec spells otherwise."""


_OF_THE_IMAGE = frozenset(("command", "entrypoint", "user", "working_dir", "stop_signal", "healthcheck"))
"""Fields of which the image's own value counts where the spec sets none."""

_FIXED = {
    "image": "its file system is made of its image",
    "platform": "its file system is made of its image",
    "links": "links are built in when a container is made",
    "volumes": "mounts are fixed when a container is made",
    "volumes_from": "mounts are fixed when a container is made",
    "tmpfs": "mounts are fixed when a container is made",
    "ports": "ports are given out when a container is made",
}
"""Why a field's change takes a new container, where more can be said than of any field."""


def why_not_in_place(field: str, change: str) -> str:
    """Why a change of a field takes a restart or a new container (`change`); "" where it takes neither."""
    if change == RESTART:
        return "ports are bound when a container starts"
    if change != REPLACE:
        return ""
    if field in UPDATABLE:
        return "this runtime can't change that in place"
    return _FIXED.get(field, "what its process is given is fixed when a container is made")


def class_of(field: str, update_in_place: frozenset[str]) -> str:
    """The change class of a field for a runtime that can update these fields."""
    if field in UPDATABLE and field in update_in_place:
        return RESTART if field in _RESTARTS else IN_PLACE
    return REPLACE


def differences(
    old: Mapping[str, Any], container: Container, stack: Stack, update_in_place: frozenset[str]
) -> list[tuple[str, Reason]]:
    """(field, reason) for each difference, in the order of the fields, then of their keys; [] if there is none.

    The field is the top-level one ("environment"); the reason's is as fine as the change ("environment.A").
    """
    new = container.settings()
    if old == new:
        return []
    found = []
    for field in dict.fromkeys([*new, *sorted(old)]):
        before, after = old.get(field), new.get(field)
        if before == after:
            continue
        for path, was, will in _parts(field, before, after):
            reason = _reason(".".join((_SPEC_KEYS.get(field, field), *path)), was, will)
            place = _place(container, field, path, will)
            origins = stack.origins.get(place, ()) if will is not None else ()
            if will is None and (field in _OF_THE_IMAGE):
                origins = (Origin(IMAGE),)
            must = why_not_in_place(field, class_of(field, update_in_place))
            found.append((field, replace(reason, position=stack.position_of(*place), origins=origins, must=must)))
    return found


def _parts(field: str, before: Any, after: Any) -> Iterator[tuple[tuple[str, ...], str | None, str | None]]:
    """(path below the field, old, new) of each difference, spelled."""
    if isinstance(before, dict | None) and isinstance(after, dict | None):
        old, new = before or {}, after or {}
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                yield (key,), _spelled(key, old.get(key)), _spelled(key, new.get(key))
        if not old and not new:  # {} and absent differ for a health check
            yield (), _spelled(field, before), _spelled(field, after)
    elif field in LISTS and isinstance(before, list | None) and isinstance(after, list | None):
        pairs = list(_pairs(before or [], after or [], LISTS[field]))
        # The order of ports, links and mounts means nothing; of volumes-from, the later one wins a target.
        if not pairs and field == "volumes_from":
            pairs = [(", ".join(before or ()), ", ".join(after or ()))]
        for was, will in pairs:
            yield (), was, will
    else:
        yield (), _spelled(field, before), _spelled(field, after)


def _pairs(before: list[str], after: list[str], slot: Callable[[str], str]) -> Iterator[tuple[str | None, str | None]]:
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    old: dict[str, list[str]] = {}
    new: dict[str, list[str]] = {}
    for counter, side in ((gone, old), (come, new)):
        for text in sorted(counter.elements()):
            side.setdefault(slot(text), []).append(text)
    for key in sorted({*old, *new}):
        left, right = old.get(key, []), new.get(key, [])
        for index in range(max(len(left), len(right))):
            yield (left[index] if index < len(left) else None), (right[index] if index < len(right) else None)


_SIZES = frozenset(("mem_limit", "mem_reservation", "memswap_limit", "shm_size"))


def _spelled(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if name in _SIZES:
        return _size(int(value))
    if isinstance(value, list):
        return json.dumps(masked_words([str(word) for word in value]), ensure_ascii=False)
    return masked(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _size(count: int) -> str:
    """As one writes it in a spec: "48m"; exact, so that two sizes never look the same."""
    for unit, power in (("g", 30), ("m", 20), ("k", 10)):
        if count > 0 and count % (1 << power) == 0:
            return f"{count >> power}{unit}"
    return str(count)


def _place(container: Container, field: str, path: tuple[str, ...], will: str | None) -> tuple[str | int, ...]:
    """Where in the stack the new value stands; of an element that is gone, where its list stands."""
    place: tuple[str | int, ...] = ("containers", container.key, _SPEC_KEYS.get(field, field), *path)
    if field in LISTS and will is not None:
        index = next((i for i, item in enumerate(getattr(container, field)) if str(item) == will), None)
        return place if index is None else (*place, index)
    return place


def _reason(field: str, old: str | None, new: str | None) -> Reason:
    verb = "added" if old is None else "removed" if new is None else "changed"
    hidden = ", its value is not shown" if MASK in (old, new) else ""
    return Reason(f"{field} {verb}{hidden}", field, old, new)
