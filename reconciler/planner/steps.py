"""Decisions become actions in an order: the graph of a plan, and its numbers. For `planning`.

Two halves that never wait the wrong way round: what is taken down (stop, remove) follows the links that *are*, users
before what they use; what is brought up (create, update, start) follows the links that *shall be*, and waits for what
must be down. Hence no cycle, whatever an edit turns around.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from reconciler.kits.text import listed
from reconciler.model.action import (
    AwaitContainer,
    CreateContainer,
    CreateVolume,
    Kept,
    PrepareContainer,
    PullImage,
    RemoveContainer,
    RemoveVolume,
    RenameContainer,
    RenameVolume,
    RepairNetwork,
    StartContainer,
    StopContainer,
    UpdateContainer,
    UpdateVolume,
)
from reconciler.model.desired import COMPLETED
from reconciler.model.plan import (
    ASKED,
    BEHIND,
    CREATE,
    DRIFT,
    IN_PLACE,
    OPENS,
    PULL,
    REMOVE,
    RENAME,
    REPAIR,
    SPEC,
    WAIT,
    Reason,
    Step,
)
from reconciler.planner.data import fate_of, lost_by_stopping, mount_of
from reconciler.planner.graph import BINDING, ORDERING, acyclic, targets_first, through, used_before, used_by
from reconciler.planner.images import KNOWN_AFTER_PULL
from reconciler.planner.volumes import protection_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from reconciler.model.action import Action
    from reconciler.model.desired import Container, Stack, Volume
    from reconciler.model.observed import ObservedContainer, ObservedVolume
    from reconciler.planner.conditions import Awaited
    from reconciler.planner.decisions import Decision, Decisions
    from reconciler.planner.graph import Graph
    from reconciler.planner.hostports import HostPorts
    from reconciler.planner.images import Pulls
    from reconciler.planner.renames import Rename
    from reconciler.planner.volumes import Volumes

    Id = tuple[int, str]

_PULL, _REPAIR, _RENAME, _VOLUME, _STOP, _REMOVE, _CREATE, _UPDATE, _PREPARE, _START, _AWAIT, _DELETE = range(12)
"""Kinds of steps, by the order in which those that may all be next are numbered."""


class Draft:
    """Steps without numbers, by (kind, key), each with those it waits for."""

    def __init__(self) -> None:
        self._steps: dict[Id, Step] = {}
        self._after: dict[Id, set[Id]] = {}

    def add(
        self,
        kind: int,
        key: str,
        action: Action,
        change: str,
        reasons: Iterable[Reason],
        *,
        undo: Action | None = None,
        data: str = "",
        downtime: bool = False,
        gate: str = "",
        unknown: tuple[str, ...] = (),
        group: str = "",
    ) -> None:
        subject = group or action.subject
        step = Step(0, action, change, subject, tuple(reasons), (), undo, data, downtime, gate, unknown)
        self._steps[kind, key] = step
        self._after[kind, key] = set()

    def wait(self, waiting: Id, *others: Id) -> None:
        """Let a step wait for others; those that are not in the plan need no waiting."""
        if waiting in self._after:
            self._after[waiting].update(other for other in others if other in self._steps and other != waiting)

    def has(self, kind: int, key: str) -> bool:
        return (kind, key) in self._steps

    def roots_of(self, kinds: tuple[int, ...]) -> list[Id]:
        """The steps of these kinds that wait for nothing."""
        return [step for step in self._steps if step[0] in kinds and not self._after[step]]

    def numbered(self) -> tuple[Step, ...]:
        """The steps from 1, each after what it waits for; of those that may be next, the least (kind, key) first."""
        waiters: dict[Id, list[Id]] = {step: [] for step in self._steps}
        missing = {step: len(others) for step, others in self._after.items()}
        for step, others in self._after.items():
            for other in others:
                waiters[other].append(step)
        ready = [step for step, count in missing.items() if not count]
        heapify(ready)
        numbers: dict[Id, int] = {}
        out = []
        while ready:
            current = heappop(ready)
            numbers[current] = len(numbers) + 1
            draft = self._steps[current]
            after = tuple(sorted(numbers[other] for other in self._after[current]))
            out.append(
                Step(
                    numbers[current],
                    draft.action,
                    draft.change,
                    draft.subject_key,
                    draft.reasons,
                    after,
                    draft.undo,
                    draft.data,
                    draft.downtime,
                    draft.gate,
                    draft.known_after_pull,
                )
            )
            for step in waiters[current]:
                missing[step] -= 1
                if not missing[step]:
                    heappush(ready, step)
        assert len(out) == len(self._steps), "a plan's steps wait for each other in a circle"
        return tuple(out)


def steps_up(
    stack: Stack,
    decisions: Decisions,
    ports: HostPorts,
    *,
    pulls: Pulls,
    renames: Collection[Rename],
    volumes: Volumes,
    waits: dict[str, set[str]],
    conditions: Awaited,
    network_faults: tuple[str, ...] = (),
    prepare: bool = False,
) -> tuple[Step, ...]:
    """All steps that carry the decisions out.

    `pulls` are image references with reasons, `renames` what all else is planned behind, `waits` whose removal a container waits for (a
    name or a host port that changes hands), `conditions` what is waited for to be reached. `network_faults` matter while
    some container runs on: what is started anew brings
    its network along.
    """
    draft = Draft()
    if network_faults and any(d.live and not d.stops for d in decisions.values()):
        draft.add(_REPAIR, "", RepairNetwork(), REPAIR, [Reason(fault, kind=DRIFT) for fault in network_faults])
    for reference, reasons in pulls.items():
        platform = next(c.platform for c in stack.containers.values() if c.image == reference)
        draft.add(_PULL, reference, PullImage(reference, platform), PULL, reasons)
    _add_volumes(draft, stack, volumes)
    for decision in decisions.values():
        _take_down(draft, stack.name, decision)
        _bring_up(draft, stack, decision, ports, prepare=prepare)
    _order_down(draft, decisions)
    _order_up(draft, stack, decisions, waits)
    _await(draft, stack, conditions)
    # Pull before stop: a failed pull leaves everything as it was.
    for step in draft.roots_of((_STOP, _REMOVE, _UPDATE)):
        draft.wait(step, *((_PULL, reference) for reference in pulls))
    if renames:
        _rename_first(draft, renames, pulls)
    return draft.numbered()


def _rename_first(draft: Draft, renames: Collection[Rename], pulls: Pulls) -> None:
    """Renames come before all but pulls, so that all else finds what it names; containers after volumes, as they end it."""
    others = draft.roots_of((_VOLUME, _STOP, _REMOVE, _CREATE, _UPDATE, _PREPARE, _START, _AWAIT))
    for rename in renames:
        draft.add(_RENAME, rename.key, rename.action, RENAME, rename.reasons, data=rename.data)
    for rename in renames:
        step = (_RENAME, rename.key)
        draft.wait(step, *((_RENAME, key) for key in rename.after), *((_PULL, reference) for reference in pulls))
        if isinstance(rename.action, RenameContainer):
            draft.wait(step, *((_RENAME, r.key) for r in renames if isinstance(r.action, RenameVolume)))
    for step in others:
        draft.wait(step, *((_RENAME, rename.key) for rename in renames))


def _add_volumes(draft: Draft, stack: Stack, volumes: Volumes) -> None:
    for key in volumes.create:
        reason = Reason("it is not there", position=stack.position_of("volumes", key))
        create = CreateVolume(stack.name, stack.volumes[key], protection_of(stack, stack.volumes[key]))
        draft.add(_VOLUME, key, create, CREATE, [reason])
    for key, reasons in volumes.change.items():
        update = UpdateVolume(stack.name, stack.volumes[key], protection_of(stack, stack.volumes[key]))
        draft.add(_VOLUME, key, update, IN_PLACE, reasons)


def _take_down(draft: Draft, stack: str, decision: Decision, deleted: frozenset[str] = frozenset()) -> None:
    key = decision.key
    if decision.stops:
        lost = lost_by_stopping(decision.seen) if decision.seen else ""
        draft.add(_STOP, key, StopContainer(stack, key), decision.change, decision.reasons, data=lost, downtime=True)
    if decision.removes:
        assert decision.seen
        data = fate_of(decision.seen, decision.wanted if decision.creates else None, deleted)
        draft.add(_REMOVE, key, RemoveContainer(stack, key), decision.change, decision.reasons, data=data)
        draft.wait((_REMOVE, key), (_STOP, key))


def _bring_up(draft: Draft, stack: Stack, decision: Decision, ports: HostPorts, *, prepare: bool) -> None:
    key, wanted, seen = decision.key, decision.wanted, decision.seen
    if wanted is None:
        return
    if decision.creates:
        kept = Kept(seen.address, ports.kept_by(decision), dict(sorted(seen.anonymous.items()))) if seen else Kept()
        create = CreateContainer(stack.name, stack.origin, wanted, _volumes_of(stack, wanted), kept)
        undo = None if seen else RemoveContainer(stack.name, key)
        gate = "" if seen else OPENS
        unknown = KNOWN_AFTER_PULL if draft.has(_PULL, wanted.image) else ()
        draft.add(_CREATE, key, create, decision.change, decision.reasons, undo=undo, gate=gate, unknown=unknown)
        draft.wait((_CREATE, key), (_REMOVE, key), (_PULL, wanted.image))
    if decision.updates:
        update = UpdateContainer(stack.name, stack.origin, wanted)
        draft.add(_UPDATE, key, update, decision.change, decision.reasons)
        draft.wait((_UPDATE, key), (_STOP, key))
    if decision.starts:
        if prepare:
            gate = "" if seen else OPENS
            undo = None if seen else RemoveContainer(stack.name, key)
            made = PrepareContainer(stack.name, key)
            draft.add(_PREPARE, key, made, decision.change, decision.reasons, undo=undo, gate=gate)
            draft.wait((_PREPARE, key), (_STOP, key), (_CREATE, key), (_UPDATE, key))
        gate = "" if seen else BEHIND
        draft.add(_START, key, StartContainer(stack.name, key), decision.change, decision.reasons, gate=gate)
        draft.wait((_START, key), (_STOP, key), (_CREATE, key), (_UPDATE, key), (_PREPARE, key))
    first = _first_up(draft, decision)
    draft.wait((first, key), *((_VOLUME, mount.source) for mount in wanted.volumes if mount.kind == "volume"))


def _first_up(draft: Draft, decision: Decision) -> int:
    """The first step that brings a container up: it is the one that needs its volumes, its name and its ports."""
    if decision.creates or decision.updates:
        return _CREATE if decision.creates else _UPDATE
    return _PREPARE if draft.has(_PREPARE, decision.key) else _START


def _volumes_of(stack: Stack, container: Container) -> dict[str, Volume]:
    keys = sorted({mount.source for mount in container.volumes if mount.kind == "volume"} & stack.volumes.keys())
    return {key: stack.volumes[key] for key in keys}


def _order_down(draft: Draft, decisions: Decisions) -> None:
    """Users go before what they use, along the links that are there now.

    A container that is bound to another one is also *removed* before that one is removed or made again: were it left
    behind by a crash in between, nothing would tell that it still has the old one's address.
    """
    settings = {key: decision.seen.settings if decision.seen else {} for key, decision in decisions.items()}
    uses = acyclic({key: tuple(sorted(used_before(s, ORDERING))) for key, s in settings.items()})
    going = {key for key, d in decisions.items() if d.stops or d.removes}
    order, _ = targets_first(uses)
    for key, targets in through(uses, order, going).items():
        for target in targets:
            draft.wait((_down_by(draft, target), target), (_down_by(draft, key), key))
    bound = acyclic({key: tuple(sorted(used_before(s, BINDING))) for key, s in settings.items()})
    anew = {key for key, d in decisions.items() if d.removes or d.creates}
    order, _ = targets_first(bound)
    for key, targets in through(bound, order, anew).items():
        for target in targets:
            draft.wait((_REMOVE, target), (_REMOVE, key))
            draft.wait((_CREATE, target), (_REMOVE, key))


def _down_by(draft: Draft, key: str) -> int:
    """The step after which a container is down; one that does not run, and goes, counts as down when it is gone."""
    return _STOP if draft.has(_STOP, key) else _REMOVE


def _order_up(draft: Draft, stack: Stack, decisions: Decisions, waits: dict[str, set[str]]) -> None:
    """What is used starts before its users, along the links that shall be; one that is bound to another is made after it."""
    uses: Graph = {key: tuple(sorted(used_by(container))) for key, container in stack.containers.items()}
    starting = {key for key, decision in decisions.items() if decision.starts}
    order, _ = targets_first(uses)
    for key, targets in through(uses, order, starting).items():
        draft.wait((_START, key), *((_START, target) for target in targets))
    for key, container in stack.containers.items():
        draft.wait((_CREATE, key), *((_CREATE, target) for target in used_by(container, BINDING)))
    for key, others in waits.items():
        draft.wait((_first_up(draft, decisions[key]), key), *((_REMOVE, other) for other in others))
    for key, leaving in _given_up_volumes(stack, decisions).items():
        draft.wait((_START, key), *((_STOP, other) for other in leaving))


def _given_up_volumes(stack: Stack, decisions: Decisions) -> dict[str, list[str]]:
    """By key of who starts, who must be down first because it has one of the same volumes and does not keep it.

    Else two that share nothing by any spec would write to one folder at the same time. A container's anonymous volumes,
    which others have through `volumes_from`, go by its key here.
    """
    leaving = [key for key, decision in decisions.items() if decision.stops]
    if not leaving:
        return {}
    had = _volumes_had({key: decision.seen.settings for key, decision in decisions.items() if decision.seen})
    has = _volumes_had({key: container.settings() for key, container in stack.containers.items()})
    given_up = {key: gone for key in leaving if (gone := had[key] - has.get(key, set()))}
    return {
        key: [other for other, gone in given_up.items() if other != key and gone & has[key]]
        for key, decision in decisions.items()
        if decision.starts
    }


def _volumes_had(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """By key the volumes of each container, with those that it has through `volumes_from`."""
    sources = {key: tuple(sorted(used_before(each, ("volumes_from",)))) for key, each in settings.items()}
    order, _ = targets_first(sources)
    found: dict[str, set[str]] = {}
    for key in order:
        mounts = map(mount_of, settings[key].get("volumes", ()))
        named = {source for kind, source, _ in mounts if kind == "volume"}
        found[key] = named.union({f"anonymous of {key}"}, *(found.get(source, set()) for source in sources[key]))
    return found


def _await(draft: Draft, stack: Stack, conditions: Awaited) -> None:
    """Wait for conditions: once the one that shall reach it has its check and runs, before the starts of who needs it."""
    for (key, condition), users in conditions.items():
        positions = (
            stack.position_of("containers", user, "depends_on", index)
            for user in users[:1]
            for index, need in enumerate(stack.containers[user].depends_on)
            if (need.container, need.condition) == (key, condition)
        )
        why = "until it is up and healthy, or done"
        if users:
            until = "until it has done its work" if condition == COMPLETED else "until it is healthy"
            why = f"{until}, before {listed(users)} start{'s' if len(users) == 1 else ''}"
        reason = Reason(why, position=next(positions, None), kind=SPEC if users else ASKED)
        name = f"{key} {condition}"
        draft.add(_AWAIT, name, AwaitContainer(stack.name, key, condition), WAIT, [reason], group=f"container {name}")
        draft.wait((_AWAIT, name), (_UPDATE, key), (_START, key))
        for user in users:
            draft.wait((_START, user), (_AWAIT, name))


def steps_down(stack: str, decisions: Decisions, volumes: list[ObservedVolume]) -> tuple[Step, ...]:
    """Stop and remove every container of the decisions, users first, and then delete the volumes given."""
    draft = Draft()
    for decision in decisions.values():
        _take_down(draft, stack, decision, frozenset(volume.name for volume in volumes))
    keys = {decision.seen.name: key for key, decision in decisions.items() if decision.seen}
    for volume in volumes:
        reason = Reason("volumes were asked to be deleted too", kind=ASKED)
        data = f"all data of volume {volume.name} is deleted"
        draft.add(_DELETE, volume.name, RemoveVolume(stack, volume.name), REMOVE, [reason], data=data)
        draft.wait((_DELETE, volume.name), *((_REMOVE, keys[name]) for name in volume.users if name in keys))
    _order_down(draft, decisions)
    return draft.numbered()


def steps_by_hand(
    stack: str,
    there: Mapping[str, ObservedContainer],
    stopped: Collection[str],
    started: Collection[str],
    *,
    change: str,
    timeout: float | None,
    prepare: bool,
) -> tuple[Step, ...]:
    """Stop and start containers as they are, whatever any spec says: users down first, and up last."""
    draft = Draft()
    reasons = [Reason("asked for by hand", kind=ASKED)]
    for key in sorted(there):
        if key in stopped:
            lost = lost_by_stopping(there[key])
            draft.add(_STOP, key, StopContainer(stack, key, timeout), change, reasons, data=lost, downtime=True)
        if key in started:
            if prepare:
                draft.add(_PREPARE, key, PrepareContainer(stack, key), change, reasons)
                draft.wait((_PREPARE, key), (_STOP, key))
            draft.add(_START, key, StartContainer(stack, key), change, reasons)
            draft.wait((_START, key), (_STOP, key), (_PREPARE, key))
    uses = acyclic({key: tuple(sorted(used_before(seen.settings, ORDERING))) for key, seen in there.items()})
    order, _ = targets_first(uses)
    for kind, members in ((_STOP, stopped), (_START, started)):
        for key, targets in through(uses, order, set(members)).items():
            for target in targets:
                waiting, other = (target, key) if kind == _STOP else (key, target)
                draft.wait((kind, waiting), (kind, other))
    return draft.numbered()
