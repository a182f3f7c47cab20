"""What happens to data when a container goes, in words, and how a spelled mount is read. For the planner's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model.desired import Container
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


def fate_of(seen: ObservedContainer, successor: Container | None, deleted: frozenset[str] = frozenset()) -> str:
    """What becomes of the data of a container that is removed, with or without a successor under its key.

    `deleted` are names of volumes that are deleted as well; steps of their own say so.
    """
    parts = []
    before = [mount_of(str(text)) for text in seen.settings.get("volumes", ())]
    for kind, source, _ in sorted(before):
        if kind == "volume" and not deleted:
            parts.append(f"volume {source} kept")
        elif kind == "bind":
            parts.append(f"host folder {source} untouched")
    asked_for = {target for kind, _, target in before if kind == "anonymous"}
    for target, name in sorted(seen.anonymous.items()):
        if name in deleted:
            continue
        short = name if len(name) <= 12 else f"{name[:12]}..."
        where = f"anonymous volume {short} at {target}"
        if successor is None:
            parts.append(f"{where} kept")
        elif _goes_on(target, successor, from_image=target not in asked_for):
            parts.append(f"{where} goes on to the successor")
        else:
            parts.append(f"{where} kept, and used by nobody any more")
    parts.append("changes in the container's own layer are lost")
    return "; ".join(dict.fromkeys(parts))


def lost_by_stopping(seen: ObservedContainer) -> str:
    """What of a container's data ends with its process, in words: its file systems in memory; "" where there are none."""
    targets = sorted(str(text).partition(":")[0] for text in seen.settings.get("tmpfs", ()))
    return "; ".join(f"what is in memory at {target} (tmpfs) is lost" for target in targets)


def _goes_on(target: str, successor: Container, *, from_image: bool) -> bool:
    """Whether the successor has an anonymous volume at the target, too: its own, or one that its image declares."""
    mounts = {mount.target: mount.kind for mount in successor.volumes} | {
        each.target: "tmpfs" for each in successor.tmpfs
    }
    return mounts[target] == "anonymous" if target in mounts else from_image
