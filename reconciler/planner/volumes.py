"""A stack's volumes: which are to be made or set right, what is in the way of that, and of deleting them. For `planning`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.masking import masked
from reconciler.kits.text import listed
from reconciler.model.plan import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.model.desired import Stack, Volume
    from reconciler.model.observed import Observed, ObservedVolume


class Volumes:
    """What is to be done: keys of those to `create`, keys of those to `change` with why, `notes` about the others."""

    def __init__(self) -> None:
        self.create: list[str] = []
        self.change: dict[str, list[Reason]] = {}
        self.notes: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.create or self.change)


def check_volumes(stack: Stack, observed: Observed, problems: list[ReconcilerError]) -> Volumes:
    """External volumes are there, and no volume is another stack's; what differs from the spec is changed in place."""
    there = {volume.name: volume for volume in observed.volumes}
    found = Volumes()
    for key, volume in sorted(stack.volumes.items()):
        seen = there.get(volume.name)
        position = stack.position_of("volumes", key)
        if seen is None and volume.external:
            problems.append(
                ReconcilerError(
                    f"the external volume {volume.name} is not there",
                    code="no-volume",
                    position=position,
                    hint=f"make it with `reconciler volume create {volume.name}`, or take `external` away",
                )
            )
        elif seen is None:
            found.create.append(key)
        elif volume.external:
            continue
        elif seen.stack not in ("", stack.name):
            problems.append(
                ReconcilerError(
                    f"volume {volume.name} belongs to stack {seen.stack}",
                    code="volume-taken",
                    position=position,
                    hint="give this one another name, or say `external: true` to share it",
                )
            )
        else:
            if not seen.stack:
                found.notes.append(f"volume {volume.name} was there before this stack and is used as it is")
            if reasons := list(_changes(stack, volume, seen)):
                found.change[key] = reasons
    return found


def protection_of(stack: Stack, volume: Volume) -> str:
    """Who protects a volume, as `observed.ObservedVolume` has it."""
    return stack.origin if volume.protect else ""


def _changes(stack: Stack, volume: Volume, seen: ObservedVolume) -> Iterable[Reason]:
    """What is not as the spec has it. One that was there before the stack is protected at most: its labels are not ours."""
    if volume.protect != bool(seen.protected) and (seen.stack or volume.protect):
        position = stack.position_of("volumes", volume.key, "protect")
        old, new = ("true" if on else "false" for on in (seen.protected, volume.protect))
        yield Reason("protect changed", "protect", old, new, position)
    for name in sorted({*volume.labels, *seen.labels}) if seen.stack else ():
        old_label, new_label = (
            None if label is None else masked(name, label) for label in (seen.labels.get(name), volume.labels.get(name))
        )
        if volume.labels.get(name) != seen.labels.get(name):
            position = stack.position_of("volumes", volume.key, "labels", name)
            yield Reason("labels changed", f"labels.{name}", old_label, new_label, position)


def check_deletable(
    doomed: Iterable[ObservedVolume], names: Iterable[str], spec: Stack | None, problems: list[ReconcilerError]
) -> None:
    """No volume that is to be deleted is protected, by its last apply or by the spec, or mounted by others than `names`."""
    ours = frozenset(names)
    wanted = {volume.name: volume for volume in spec.volumes.values()} if spec else {}
    for seen in doomed:
        volume = wanted.get(seen.name)
        if seen.protected or (volume and volume.protect):
            problems.append(_protected(seen, volume, spec))
        elif others := sorted(set(seen.users) - ours):
            problems.append(
                ReconcilerError(
                    f"volume {seen.name} can't be deleted: {listed(others)} mount{'s' if len(others) == 1 else ''} it, too",
                    code="in-use",
                    hint="remove what mounts it first, or go without --volumes",
                )
            )


def _protected(seen: ObservedVolume, volume: Volume | None, spec: Stack | None) -> ReconcilerError:
    by = "" if volume and volume.protect else f" by {seen.protected}, as it was last applied"
    position = spec.position_of("volumes", volume.key, "protect") if spec and volume else None
    hint = f"write `protect: false` there and apply, or: reconciler volume unprotect {seen.name}"
    if volume and not volume.protect:
        hint = "the spec says `protect: false` by now: apply it first"
    return ReconcilerError(
        f"volume {seen.name} is protected{by}: it can't be deleted", code="protected", position=position, hint=hint
    )
