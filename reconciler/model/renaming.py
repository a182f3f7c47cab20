"""Canonical settings (`desired.Container.settings`) after something that they name is called otherwise. Pure.

For the planner, which foresees what a rename does, and for runtimes, which keep settings and do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_USES = {"links": True, "depends_on": True, "volumes_from": False}
"""Fields whose items begin with another container's key, and whether their order means nothing."""


def with_name(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A container's settings under another name; what is not known stays so."""
    return {**settings, "name": name} if settings else {}


def with_container(settings: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """The settings of one that uses container `old`, which has got the key `new`. A link's alias stays what it was."""
    changed = dict(settings)
    for field, in_any_order in _USES.items():
        if field in changed:
            items = [_headed(text, old, new) for text in changed[field]]
            changed[field] = sorted(items) if in_any_order else items
    return changed


def with_volume(settings: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """The settings of one that mounts volume `old`, which has got the key `new`."""
    if "volumes" not in settings:
        return dict(settings)
    # An anonymous volume and a host's folder begin with a slash, which no key does.
    return {**settings, "volumes": [_headed(text, old, new) for text in settings["volumes"]]}


def _headed(text: str, old: str, new: str) -> str:
    head, colon, rest = text.partition(":")
    return f"{new}{colon}{rest}" if head == old else text
