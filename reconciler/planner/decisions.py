"""What happens to each container of a stack: nothing, start, update, restart, replacement, removal; and what follows.

Decides, and orders nothing (that is `steps`). For `planning`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.text import plural
from reconciler.model.desired import HEALTHY
from reconciler.model.observed import CREATED, DEAD, EXITED, PAUSED, RESTARTING, RUNNING, UNHEALTHY
from reconciler.model.plan import (
    ASKED,
    CREATE,
    DRIFT,
    FOLLOW,
    FOLLOWS,
    IN_PLACE,
    REMOVE,
    REPLACE,
    RESTART,
    START,
    Reason,
)
from reconciler.planner.changes import class_of, differences
from reconciler.planner.graph import BINDING, targets_first, used_by
from reconciler.planner.images import compare_image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.model.desired import Container, Stack
    from reconciler.model.observed import Observed, ObservedContainer, ObservedImage
    from reconciler.planner.graph import Graph
    from reconciler.planner.options import Options

NOTHING = ""
_COST = {NOTHING: 0, START: 1, IN_PLACE: 2, RESTART: 3, REPLACE: 4}
LIVE = (RUNNING, PAUSED, RESTARTING)


class Decision:
    """One container's fate. `wanted` is None for one that shall go, `seen` for one that is not there.

    `change` is a class of `model.plan`, "" for none; `outdated`: its settings are not the wanted ones; `idle`: it
    does not run and shall; `finished`: it is a job that has done its work and is not run again.
    """

    __slots__ = ("change", "finished", "idle", "key", "outdated", "reasons", "seen", "wanted")

    def __init__(self, key: str, wanted: Container | None, seen: ObservedContainer | None) -> None:
        self.key = key
        self.wanted = wanted
        self.seen = seen
        self.change = NOTHING
        self.reasons: list[Reason] = []
        self.outdated = False
        self.idle = False
        self.finished = False

    def because(self, change: str, *reasons: Reason) -> None:
        """Make the change at least this one, for these reasons too."""
        if _COST[change] > _COST[self.change]:
            self.change = change
        self.reasons += reasons

    @property
    def live(self) -> bool:
        return self.seen is not None and self.seen.state in LIVE

    @property
    def stops(self) -> bool:
        return self.live and self.change in (RESTART, REPLACE, FOLLOW, REMOVE)

    @property
    def removes(self) -> bool:
        return self.change in (REPLACE, FOLLOW, REMOVE)

    @property
    def creates(self) -> bool:
        return self.change in (CREATE, REPLACE, FOLLOW)

    @property
    def updates(self) -> bool:
        return self.outdated and self.change in (IN_PLACE, RESTART)

    @property
    def starts(self) -> bool:
        return self.creates or self.change in (START, RESTART) or (self.change == IN_PLACE and self.idle)


Decisions = dict[str, Decision]


def decide(stack: Stack, observed: Observed, options: Options, update_in_place: frozenset[str]) -> Decisions:
    """A decision for each container that is wanted or there, by key, sorted; nothing follows yet (see `spread`)."""
    there = observed.of_stack(stack.name)
    linked = {link.container for container in stack.containers.values() for link in container.links}
    decisions = {}
    for key in sorted({*stack.containers, *there}):
        decision = decisions[key] = Decision(key, stack.containers.get(key), there.get(key))
        if decision.wanted is None:
            decision.change = REMOVE
            decision.reasons.append(Reason(f"not in {stack.source} any more"))
        elif decision.seen is None:
            decision.change = CREATE
            decision.reasons.append(Reason("it is not there", position=stack.position_of("containers", key)))
        elif decision.seen.state == DEAD:
            decision.because(REPLACE, Reason("it is half-made or half-removed, only a new one helps", kind=DRIFT))
        else:
            image = observed.images.get(decision.wanted.image)
            _compare(decision, decision.wanted, decision.seen, stack, update_in_place)
            compare_image(decision, decision.wanted, decision.seen, observed, options)
            if decision.change == RESTART and key in linked:
                _compare_exposed(decision, decision.wanted, decision.seen, image)
            _compare_origin(decision, decision.seen, stack, options, update_in_place)
            _look_at_state(decision, decision.wanted, decision.seen)
        if key in options.anew and decision.wanted and decision.seen:
            decision.because(REPLACE, Reason("its replacement was asked for", kind=ASKED))
    return decisions


def _compare(
    decision: Decision, wanted: Container, seen: ObservedContainer, stack: Stack, update_in_place: frozenset[str]
) -> None:
    if not seen.settings:
        decision.because(REPLACE, Reason("it is not known what it was made from", kind=DRIFT))
        return
    for field, reason in differences(seen.settings, wanted, stack, update_in_place):
        decision.outdated = True
        decision.because(class_of(field, update_in_place), reason)


def _compare_exposed(
    decision: Decision, wanted: Container, seen: ObservedContainer, image: ObservedImage | None
) -> None:
    """A published port is an exposed one, and those are in the variables of who links to it: they must learn of it."""
    known = {*wanted.expose, *(image.exposed if image else ())}
    before = {str(text).rpartition(":")[2] for text in seen.settings.get("ports", ())}
    after = {f"{port.container_port}/{port.protocol}" for port in wanted.ports}
    if before - known != after - known:
        decision.because(REPLACE, Reason("who links to it knows its ports from variables"))


def _compare_origin(
    decision: Decision, seen: ObservedContainer, stack: Stack, options: Options, update_in_place: frozenset[str]
) -> None:
    if options.take_over and seen.origin and seen.origin != stack.origin:
        decision.outdated = True
        reason = Reason(f"taken over from {seen.origin}", "origin", seen.origin, stack.origin, kind=ASKED)
        decision.because(class_of("origin", update_in_place), reason)


def _look_at_state(decision: Decision, wanted: Container, seen: ObservedContainer) -> None:
    """Drift: what does not run and shall, and what is broken around what runs. Paused ones are left as they are."""
    if seen.state == CREATED:
        decision.idle = True
        why = f"its last start failed: {seen.error}" if seen.error else "it was never started"
        decision.because(START, Reason(why, kind=DRIFT))
    elif seen.state == EXITED and seen.stopped_by_hand:
        decision.idle = True
        decision.because(START, Reason("it was stopped", kind=DRIFT))
    elif seen.state == EXITED and seen.exit_code == 0 and wanted.restart.policy in ("no", "on-failure"):
        decision.finished = True
    elif seen.state == EXITED:
        decision.idle = True
        decision.because(START, Reason(_how_it_ended(seen), kind=DRIFT))
    elif seen.state == RUNNING and (seen.faults or _given_up(wanted, seen)):
        times = "once" if seen.health_restarts == 1 else f"{seen.health_restarts} times in a row"
        given_up = f"it is unhealthy, and restarting it {times} did not help"
        decision.because(RESTART, *(Reason(text, kind=DRIFT) for text in seen.faults or (given_up,)))
    if seen.drift and not decision.creates:
        decision.outdated = True
        decision.because(IN_PLACE, *(Reason(words, kind=DRIFT) for words in seen.drift))


def _given_up(wanted: Container, seen: ObservedContainer) -> bool:
    """Whether it is left unhealthy because it was restarted as often as its policy allows: only an apply tries again."""
    limit = wanted.healthcheck.restarts if wanted.healthcheck else None
    return seen.health == UNHEALTHY and bool(limit) and seen.health_restarts >= (limit or 0)


def _how_it_ended(seen: ObservedContainer) -> str:
    code = "" if seen.exit_code is None else f" with code {seen.exit_code}"
    words = f"it exited{code}{': ' if seen.error else ''}{seen.error}"
    policy, _, most = str(seen.settings.get("restart", "")).partition(":")
    if policy == "on-failure" and most and seen.restart_count >= int(most):
        return f"{words}; its policy gave up after {plural(seen.restart_count, 'restart')}"
    return words


def spread(decisions: Decisions) -> None:
    """What follows from the decisions about others, until nothing more does.

    - Who links to a container that is made anew, or has its volumes, is made anew: address and variables of a link
      and the mounts are given once, at create. A finished job is left alone.
    - A finished job that one links to which is now started is run again: a link needs its target running. So does
      who waits for it to be healthy.
    """
    graph: Graph = {k: tuple(sorted(used_by(d.wanted, BINDING))) for k, d in decisions.items() if d.wanted}
    order, _ = targets_first(graph)
    while True:
        changed = [_follow(decisions[key], graph[key], decisions) for key in order]
        changed += [_need(decisions[key], decisions) for key in reversed(order)]
        if not any(changed):
            return


def _follow(decision: Decision, used: Iterable[str], decisions: Decisions) -> bool:
    if decision.seen is None or decision.change == FOLLOW or (decision.finished and not decision.starts):
        return False
    made_anew = [key for key in used if key in decisions and decisions[key].creates]
    known = {reason.text for reason in decision.reasons}
    linked = {link.container for link in decision.wanted.links} if decision.wanted else set()
    reasons = [
        Reason(f"follows {key} by {'link' if key in linked else 'volumes_from'}", kind=FOLLOWS) for key in made_anew
    ]
    new = [reason for reason in reasons if reason.text not in known]
    if new:
        decision.reasons += new
        if decision.change != REPLACE:
            decision.change = FOLLOW
    return bool(new)


def _need(decision: Decision, decisions: Decisions) -> bool:
    if decision.wanted is None or not decision.starts:
        return False
    woken = False
    healthy = {need.container for need in decision.wanted.depends_on if need.condition == HEALTHY}
    needs = dict.fromkeys(sorted(healthy), "waits for its health")
    needs |= {link.container: "links to it" for link in decision.wanted.links}
    for key, why in needs.items():
        target = decisions.get(key)
        if target and target.finished and not target.starts:
            target.idle = True
            target.because(START, Reason(f"{decision.key} {why} and is started", kind=FOLLOWS))
            woken = True
    return woken


def notes_about(decisions: Decisions) -> tuple[str, ...]:
    """What a user should know of containers that are left as they are."""
    notes = []
    for decision in decisions.values():
        seen = decision.seen
        if seen is None or decision.stops:
            continue
        if seen.state == RUNNING and seen.health == UNHEALTHY:
            notes.append(f"{decision.key} is unhealthy")
        elif seen.state == PAUSED:
            notes.append(f"{decision.key} is paused and stays so")
        elif seen.state == RUNNING and seen.error:
            notes.append(f"{decision.key} runs on, but a process of it was killed: {seen.error}")
        elif seen.state == RESTARTING and seen.health_restarts:
            times = "once" if seen.health_restarts == 1 else f"{seen.health_restarts} times in a row"
            notes.append(f"{decision.key} is unhealthy and is restarted because of that, {times} so far")
        elif seen.state == RESTARTING:
            code = "" if seen.exit_code is None else f" with code {seen.exit_code}"
            count = "once" if seen.restart_count == 1 else f"{seen.restart_count} times"
            code += f" ({seen.error})" if seen.error else ""
            notes.append(f"{decision.key} exits{code} and is restarted by its policy, {count} so far")
    return tuple(notes)
