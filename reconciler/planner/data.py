"""What happens to data when a container goes, in words, and how a spelled mount is read. For the planner's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model.observed import ObservedContainer


def mount_of(text: str) -> tuple[str, str, str]:
    """(kind, source, target) of a mount's short spelling: "db:/x:ro", "/srv/x:/x" or "/anonymous"."""
    source, _, rest = text.partition(":")
    target = rest.partition(":")[0]
    if target.startswith("/"):
        return ("bind" if source.startswith("/") else "volume"), source, target
    return "anonymous", "", source


def target_of(text: str) -> str:
    """The mount point inside the container of a mount's short spelling."""
    return mount_of(text)[2]


def fate_of(seen: ObservedContainer, successor: bool, deleted: frozenset[str] = frozenset()) -> str:
    """What becomes of the data of a container that is removed, with or without a successor under its key.

    `deleted` are names of volumes that are deleted as well; steps of their own say so.
    """
    parts = []
    for text in sorted(map(str, seen.settings.get("volumes", ()))):
        kind, source, _ = mount_of(text)
        if kind == "volume" and not deleted:
            parts.append(f"volume {source} kept")
        elif kind == "bind":
            parts.append(f"host folder {source} untouched")
    for target, name in sorted(seen.anonymous.items()):
        if name in deleted:
            continue
        short = name if len(name) <= 12 else f"{name[:12]}..."
        where = f"anonymous volume {short} at {target}"
        parts.append(f"{where} goes on to the successor" if successor else f"{where} kept")
    parts.append("changes in the container's own layer are lost")
    return "; ".join(dict.fromkeys(parts))
