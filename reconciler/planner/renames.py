"""What is renamed before all else, by `moved` and `adopt`, and the world as it is then, for which all else is planned.

A rename loses nothing: data stays where it lies, and what runs goes on. So the rest of the planner need not know of it: it
sees containers and volumes under the names that they will have. Old entries find nothing to rename and do nothing. For
`planning`, where a spec has such entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, replace
from reconciler.kits.text import listed
from reconciler.model.action import RenameContainer, RenameVolume
from reconciler.model.desired import Volume
from reconciler.model.observed import ObservedVolume
from reconciler.model.plan import Reason
from reconciler.model.renaming import with_container, with_name, with_volume
from reconciler.planner.data import mount_of
from reconciler.planner.graph import targets_first, used_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.kits.source import Position
    from reconciler.model.desired import Adoption, Stack
    from reconciler.model.observed import Observed, ObservedContainer
    from reconciler.planner.options import Options


class Rename(Frozen):
    """One step: its action, why, what happens to data, and the keys of the renames that must have made way before."""

    key: str
    action: RenameContainer | RenameVolume
    reasons: tuple[Reason, ...]
    data: str
    after: tuple[str, ...] = ()


class _Change:
    """Something there that becomes the stack's `key` under `name`; `adopted`: it was not the stack's before."""

    def __init__(
        self, seen: Any, kind: str, key: str, name: str, reasons: Iterable[Reason], *, adopted: bool = False
    ) -> None:
        self.seen = seen
        self.kind = kind
        self.key = key
        self.name = name
        self.reasons = tuple(reasons)
        self.adopted = adopted

    @property
    def id(self) -> str:
        return _id(self.seen)

    @property
    def position(self) -> Position | None:
        return self.reasons[-1].position


class Renames:
    """All renames of one look at the machine; `observed` is what that will be afterwards, `notes` what is not done and why."""

    def __init__(self, stack: Stack, observed: Observed, options: Options, problems: list[ReconcilerError]) -> None:
        self.notes: list[str] = []
        self._stack = stack
        self._seen = observed
        self._options = options
        self._problems = problems
        self._final = {kind: _ends(stack, kind) for kind in ("container", "volume", "stack")}
        self._entries = {(move.kind, move.old): number for number, move in reversed([*enumerate(stack.moved)])}
        self._stacks = {stack.name, *(name for name in stack.former_names() if self._is_ours(name))}
        self._volumes = self._find_volumes()
        self._containers = self._find_containers()
        self._drop_collisions()
        self.steps = [*map(self._volume_step, self._volumes), *map(self._container_step, self._containers)]
        self.observed = self._afterwards() if self.steps else observed

    # --- which stacks -------------------------------------------------------------------------------------------------

    def _is_ours(self, former: str) -> bool:
        """Whether a stack is this one under an earlier name; once that is moved, others may have one called like that."""
        there = [c for c in self._seen.containers if c.stack == former]
        begun = any(c.stack == self._stack.name for c in self._seen.containers)
        if not there:
            return not begun  # containers go last: nothing is left to be done
        others = sorted({c.origin for c in there if c.origin and c.origin != self._stack.origin})
        if not others or self._options.take_over:
            return True
        if begun:
            self.notes.append(f"stack {former} is that of {listed(others)}: its entry under moved does nothing")
            return False
        self._problems.append(
            ReconcilerError(
                f"stack {former} came from {listed(others)}, not from {self._stack.origin}",
                code="other-origin",
                position=self._stack.position_of("moved", self._entries["stack", former]),
                hint="to take it over all the same: --take-over",
            )
        )
        return False

    def _moved(self, stack: str, kind: str, key: str) -> tuple[str, list[Reason]]:
        """The key that something of one of the stacks has by now, and what has been said of that."""
        end = self._final[kind].get(key, key)
        reasons = []
        if stack != self._stack.name:
            reasons.append(self._reason("stack", stack, self._stack.name))
        if end != key:
            reasons.append(self._reason(kind, key, end))
        return end, reasons

    def _reason(self, kind: str, old: str, new: str) -> Reason:
        place = {"stack": "stack", "container": "containers", "volume": "volumes"}[kind]
        position = self._stack.position_of("moved", self._entries[kind, old])
        return Reason("moved", "moved", f"{place}.{old}", f"{place}.{new}", position)

    # --- volumes ------------------------------------------------------------------------------------------------------

    def _find_volumes(self) -> list[_Change]:
        at: dict[str, list[_Change]] = {}
        found = []
        for seen in sorted(self._seen.volumes, key=lambda v: v.name):
            stack, key = self._place_of(seen)
            if stack not in self._stacks:
                continue
            kind = "container" if seen.anonymous else "volume"
            end, reasons = self._moved(stack, kind, key)
            wanted = None if seen.anonymous else self._stack.volumes.get(end)
            change = _Change(seen, kind, end, wanted.name if wanted else seen.name, reasons)
            if seen.anonymous:
                found += [change] if reasons else []
            elif not wanted or not wanted.external:
                at.setdefault(end, []).append(change)
        for number, adoption in enumerate(self._stack.adopt):
            if adoption.kind == "volume":
                self._adopt_volume(number, adoption, at)
        for key, changes in sorted(at.items()):
            found += self._only_one(key, "volume", changes)
        return found

    def _place_of(self, seen: ObservedVolume) -> tuple[str, str]:
        """Stack and key; those of one that the stack found there and uses are told by its name."""
        if seen.stack and not seen.key:
            return seen.stack, seen.name.removeprefix(f"{seen.stack}_")
        if not seen.stack:
            for stack in sorted(self._stacks):
                for key in self._final["volume"]:
                    if seen.name == f"{stack}_{key}":
                        return stack, key
        return seen.stack, seen.key

    def _adopt_volume(self, number: int, adoption: Adoption, at: dict[str, list[_Change]]) -> None:
        wanted = self._stack.volumes[adoption.key]
        seen = next((v for v in self._seen.volumes if v.name == adoption.name), None)
        taken = bool(at.get(adoption.key)) or any(
            v.name == wanted.name and v.name != adoption.name for v in self._seen.volumes
        )
        position = self._stack.position_of("adopt", number)
        if wanted.external:
            message = f"volume {adoption.key} is external, so it can't be adopted"
            self._problems.append(
                ReconcilerError(message, code="volume-taken", position=position, hint="leave out `external`")
            )
        elif self._may_adopt(seen, adoption, position, taken=taken):
            assert seen
            reason = Reason("adopted", "adopt", adoption.name, f"volumes.{adoption.key}", position)
            at[adoption.key] = [_Change(seen, "volume", adoption.key, wanted.name, [reason], adopted=True)]

    def _may_adopt(
        self,
        seen: ObservedContainer | ObservedVolume | None,
        adoption: Adoption,
        position: Position | None,
        *,
        taken: bool,
    ) -> bool:
        if seen is None:
            if not taken:
                self.notes.append(f"there is no {adoption.kind} {adoption.name} to adopt: {adoption.key} is made anew")
            return False
        if seen.stack in self._stacks:
            return False
        if taken:
            self.notes.append(f"{adoption.kind} {adoption.name} is not adopted: {adoption.key} is there already")
            return False
        if seen.stack and not self._options.take_over:
            self._problems.append(
                ReconcilerError(
                    f"{adoption.kind} {adoption.name} belongs to stack {seen.stack}",
                    code="other-origin",
                    position=position,
                    hint="to take it from there all the same: --take-over",
                )
            )
            return False
        return True

    # --- containers ---------------------------------------------------------------------------------------------------

    def _find_containers(self) -> list[_Change]:
        at: dict[str, list[_Change]] = {}
        for seen in sorted(self._seen.containers, key=lambda c: c.name):
            if seen.stack in self._stacks:
                end, reasons = self._moved(seen.stack, "container", seen.key)
                at.setdefault(end, []).append(_Change(seen, "container", end, self._name_of(end, seen), reasons))
        for number, adoption in enumerate(self._stack.adopt):
            if adoption.kind != "container":
                continue
            found = next((c for c in self._seen.containers if c.name == adoption.name), None)
            position = self._stack.position_of("adopt", number)
            if self._may_adopt(found, adoption, position, taken=bool(at.get(adoption.key))):
                assert found
                reason = Reason("adopted", "adopt", adoption.name, f"containers.{adoption.key}", position)
                name = self._name_of(adoption.key, found)
                at[adoption.key] = [_Change(found, "container", adoption.key, name, [reason], adopted=True)]
        containers = [one for key, changes in sorted(at.items()) for one in self._only_one(key, "container", changes)]
        going = {(c.seen.stack, c.seen.key) for c in containers}
        # Those of a container that moves go with it.
        self._volumes = [v for v in self._volumes if not (v.seen.anonymous and (v.seen.stack, v.seen.key) in going)]
        return containers

    def _name_of(self, key: str, seen: ObservedContainer) -> str:
        wanted = self._stack.containers.get(key)
        return wanted.name if wanted else seen.name

    def _only_one(self, key: str, kind: str, changes: list[_Change]) -> list[_Change]:
        """What becomes a key, [] if nothing has to; two that would is a problem."""
        moving = [change for change in changes if change.reasons]
        if len(changes) < 2 or not moving:
            return moving
        names = listed([change.seen.name for change in changes])
        self._problems.append(
            ReconcilerError(
                f"{kind}s {names} are there, and only one can be {kind} {key}",
                code="name-taken",
                position=moving[0].position,
                hint=f"keep one of them: `reconciler {'rm' if kind == 'container' else 'volume rm'}` the other,"
                " or take this entry out",
            )
        )
        return []

    # --- names that change hands --------------------------------------------------------------------------------------

    def _drop_collisions(self) -> None:
        """Each new name is free, or given up by another rename; a circle of those is more than renames one by one can do."""
        self._waits: dict[str, tuple[str, ...]] = {}
        for changes, there in ((self._volumes, self._seen.volumes), (self._containers, self._seen.containers)):
            leaving = {change.seen.name: change for change in changes if change.name != change.seen.name}
            holders = {seen.name: seen for seen in there}
            for change in changes:
                holder = holders.get(change.name)
                if holder is None or holder is change.seen:
                    continue
                if change.name in leaving:
                    self._waits[change.id] = (_id(holder),)
                else:
                    self._problems.append(_taken(change, holder))
            _, circle = targets_first({c.id: self._waits.get(c.id, ()) for c in changes})
            if circle:
                self._problems.append(
                    ReconcilerError(
                        f"names would go round: {' -> '.join(circle)}",
                        code="name-taken",
                        position=next(c.position for c in changes if c.id == circle[0]),
                        hint="give one of them another name first, and apply",
                    )
                )

    # --- steps, and the world afterwards ------------------------------------------------------------------------------

    def _volume_step(self, change: _Change) -> Rename:
        seen: ObservedVolume = change.seen
        stack, key = ("", "") if change.adopted else self._place_of(seen)
        wanted = self._stack.volumes.get(change.key) if change.kind == "volume" else None
        volume = wanted or Volume(change.key, change.name)
        action = RenameVolume(self._stack.name, volume, seen.name, stack, key)
        data = f"the data of volume {seen.name} stays where it lies"
        return Rename(change.id, action, change.reasons, data, self._waits.get(change.id, ()))

    def _container_step(self, change: _Change) -> Rename:
        seen: ObservedContainer = change.seen
        stack, key = ("", "") if change.adopted else (seen.stack, seen.key)
        settings = with_name(self._settings_of(seen, change), change.name)
        action = RenameContainer(
            self._stack.name, self._stack.origin, change.key, change.name, seen.name, stack, key, settings
        )
        mounts = [mount_of(str(text)) for text in settings.get("volumes", ())]
        data = [f"volume {source} kept" for kind, source, _ in sorted(mounts) if kind == "volume"]
        data += [f"anonymous volume at {target} goes along" for target in sorted(seen.anonymous)]
        return Rename(change.id, action, change.reasons, "; ".join(dict.fromkeys(data)), self._waits.get(change.id, ()))

    def _settings_of(self, seen: ObservedContainer, change: _Change | None) -> dict[str, Any]:
        """Settings with all that they name under its new key. What an adopted one uses of others is not of this stack."""
        settings = dict(seen.settings)
        if change and change.adopted:
            return self._settings_of_adopted(seen, settings)
        if seen.stack in self._stacks:
            for other in self._containers:
                if not other.adopted and other.seen.key != other.key:
                    settings = with_container(settings, other.seen.key, other.key)
            for other in self._volumes:
                if other.kind == "volume" and not other.adopted:
                    settings = with_volume(settings, self._place_of(other.seen)[1], other.key)
        return settings

    def _settings_of_adopted(self, seen: ObservedContainer, settings: dict[str, Any]) -> dict[str, Any]:
        together = {c.seen.key: c.key for c in self._containers if c.adopted and c.seen.stack == seen.stack}
        for key in sorted(used_before(settings)):
            settings = with_container(settings, key, together.get(key, f"{seen.stack}/{key}"))
        taken = {v.seen.key: v.key for v in self._volumes if v.adopted and v.seen.stack == seen.stack and v.seen.stack}
        for kind, source, _ in [mount_of(str(text)) for text in settings.get("volumes", ())]:
            if kind == "volume":
                settings = with_volume(settings, source, taken.get(source, f"{seen.stack}/{source}"))
        return settings

    def _afterwards(self) -> Observed:
        moves: dict[str, _Change] = {change.seen.name: change for change in self._containers}
        names = {old: change.name for old, change in moves.items()}
        homes: dict[tuple[str, str], str] = {
            (change.seen.stack, change.seen.key): change.key for change in moves.values() if not change.adopted
        }
        volumes = {change.seen.name: change for change in self._volumes}
        return replace(
            self._seen,
            containers=tuple(self._container_afterwards(seen, moves.get(seen.name)) for seen in self._seen.containers),
            volumes=tuple(
                self._volume_afterwards(seen, volumes.get(seen.name), names, homes) for seen in self._seen.volumes
            ),
            busy_ports=tuple(
                replace(port, container=names.get(port.container, port.container)) for port in self._seen.busy_ports
            ),
        )

    def _container_afterwards(self, seen: ObservedContainer, change: _Change | None) -> ObservedContainer:
        settings = self._settings_of(seen, change)
        if change is None:
            return replace(seen, settings=settings)
        return replace(
            seen,
            stack=self._stack.name,
            key=change.key,
            name=change.name,
            origin=self._stack.origin,
            settings=with_name(settings, change.name),
        )

    def _volume_afterwards(
        self,
        seen: ObservedVolume,
        change: _Change | None,
        names: Mapping[str, str],
        homes: Mapping[tuple[str, str], str],
    ) -> ObservedVolume:
        users = tuple(sorted(names.get(user, user) for user in seen.users))
        if change:
            return replace(seen, name=change.name, stack=self._stack.name, key=change.key, users=users)
        if seen.anonymous and (key := homes.get((seen.stack, seen.key))):
            return replace(seen, stack=self._stack.name, key=key, users=users)
        return replace(seen, users=users)


def _id(seen: ObservedContainer | ObservedVolume) -> str:
    return f"{'volume' if isinstance(seen, ObservedVolume) else 'container'} {seen.name}"


def _taken(change: _Change, holder: ObservedContainer | ObservedVolume) -> ReconcilerError:
    what, verb = ("volume", "volume rm") if isinstance(holder, ObservedVolume) else ("container", "rm")
    whose = f" of stack {holder.stack}" if holder.stack else ""
    return ReconcilerError(
        f"{what} {change.seen.name} can't be called {change.name}: there is a {what} of that name{whose}",
        code="name-taken",
        position=change.position,
        hint=f"remove that one if it is not needed: `reconciler {verb} {change.name}`; or choose another name",
    )


def _ends(stack: Stack, kind: str) -> dict[str, str]:
    """Where each chain of moves ends, by what it begins with."""
    onward = {move.old: move.new for move in stack.moved if move.kind == kind}
    ends = {}
    for old, new in onward.items():
        end = new
        while end in onward:
            end = onward[end]
        ends[old] = end
    return ends


def check_able(renames: Renames, runtime: str, *, able: bool, problems: list[ReconcilerError]) -> None:
    """A runtime that can't rename can't do any of it."""
    if not able:
        problems += [
            ReconcilerError(
                f"{step.action.subject}: the {runtime} runtime can't rename what exists",
                code="unsupported",
                position=step.reasons[-1].position,
            )
            for step in renames.steps
        ]
