"""What shall go wrong in a simulated runtime. Counts from 1, over the runtime's life. For tests and `runtime`.

Three things can be struck: an effect (a crash, an error, a wait), a look (stale, or not whole), and the hints about what
has happened (lost, doubled, out of order). `struck` counts what really came to pass, by kind.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.action import Action
    from reconciler.model.observed import Observed, Scope
    from reconciler.runtimes.base import Event

CRASH_BEFORE, CRASH_AFTER = "crash before", "crash after"
ERRORS = {name: getattr(errno, name) for name in ("EIO", "ENOSPC", "EPERM", "EBUSY")}
"""Errors that come instead of an effect, by kind."""
TIMEOUT, LATE_EIO = "timeout", "EIO after"
"""Errors that come although the effect has happened: nobody can tell these from the others."""
SLOW, CLOCK_FORWARD, CLOCK_BACK = "slow", "clock forward", "clock back"
EFFECT_FAULTS = (CRASH_BEFORE, CRASH_AFTER, *ERRORS, TIMEOUT, LATE_EIO, SLOW, CLOCK_FORWARD, CLOCK_BACK)

STALE, PARTIAL = "stale look", "partial look"
LOOK_FAULTS = (STALE, PARTIAL)

DROPPED, DOUBLED, REORDERED = "dropped event", "doubled event", "reordered events"
EVENT_FAULTS = (DROPPED, DOUBLED, REORDERED)

T = TypeVar("T")

_SECONDS = {SLOW: 45.0, CLOCK_FORWARD: 86400.0, CLOCK_BACK: -86400.0}
"""How far the clock moves: what is slow takes longer than anybody's patience."""


class Crash(BaseException):
    """The process that carried the plan out was killed here. No `except Exception` on the way may catch it."""


class Faults:
    """Set these before the action comes.

    `fail_actions` (by number of the action) and `fail_on` (by "verb subject", as "start container web") fail with
    the message before the first effect; `fail_effects` (by number of the effect) leave half-made what the action
    had begun. `crash_before` and `crash_after` are numbers of an effect, 0 = none. `strikes` are kinds of EFFECT_FAULTS
    by number of the effect. `look` is one of LOOK_FAULTS for all looks until it is "" again; `hints` of EVENT_FAULTS.
    `advance(seconds)` moves the clock.
    """

    def __init__(self) -> None:
        self.fail_actions: dict[int, str] = {}
        self.fail_on: dict[str, str] = {}
        self.fail_effects: dict[int, str] = {}
        self.strikes: dict[int, str] = {}
        self.crash_before = 0
        self.crash_after = 0
        self.look = ""
        self.hints = ""
        self.advance: Callable[[float], object] = lambda _seconds: None
        self.actions = 0
        self.effects = 0
        self.struck: Counter[str] = Counter()
        self._remembered: dict[Scope, Observed] = {}

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        for wanted in (self.fail_actions, self.fail_on, self.fail_effects, self.strikes):
            wanted.clear()
        self.crash_before = self.crash_after = 0
        self.look = self.hints = ""

    def action(self, action: Action) -> None:
        """An action comes; raises what was asked for."""
        self.actions += 1
        message = self.fail_actions.get(self.actions) or self.fail_on.get(f"{action.verb} {action.subject}")
        if message:
            raise ReconcilerError(message, code="simulated")

    def before(self) -> None:
        """An effect comes; raises what was asked for."""
        self.effects += 1
        if self.effects == self.crash_before:
            raise Crash
        if message := self.fail_effects.get(self.effects):
            raise ReconcilerError(message, code="simulated")
        kind = self.strikes.get(self.effects, "")
        if kind == CRASH_BEFORE:
            raise self._strike(kind, Crash())
        if kind in ERRORS:
            raise self._strike(kind, ReconcilerError(os.strerror(ERRORS[kind]), code="simulated"))
        if kind in _SECONDS:
            self.struck[kind] += 1
            self.advance(_SECONDS[kind])

    def after(self) -> None:
        """An effect has happened; raises what was asked for."""
        if self.effects == self.crash_after:
            raise Crash
        kind = self.strikes.get(self.effects, "")
        if kind == CRASH_AFTER:
            raise self._strike(kind, Crash())
        if kind in (TIMEOUT, LATE_EIO):
            number = errno.ETIMEDOUT if kind == TIMEOUT else errno.EIO
            raise self._strike(kind, ReconcilerError(os.strerror(number), code="simulated"))

    def _strike(self, kind: str, error: BaseException) -> BaseException:
        self.struck[kind] += 1
        return error

    def looked(self, scope: Scope, seen: Observed) -> Observed:
        """What a look comes to: what the last one of its kind saw, or one of each list not there, as was asked for."""
        kind = replace(scope, wanted=())
        if self.look == STALE and self._remembered.get(kind, seen) != seen:
            self.struck[STALE] += 1
            return self._remembered[kind]
        self._remembered[kind] = seen
        if self.look == PARTIAL and (seen.containers or seen.volumes):
            self.struck[PARTIAL] += 1
            return replace(
                seen,
                containers=_without_one(seen.containers, self.effects),
                volumes=_without_one(seen.volumes, self.effects),
            )
        return seen

    def told(self, events: list[Event]) -> list[Event]:
        """What hints come to."""
        if not self.hints or not events:
            return events
        self.struck[self.hints] += 1
        if self.hints == DROPPED:
            return list(_without_one(tuple(events), self.effects))
        return [event for event in events for _ in range(2)] if self.hints == DOUBLED else events[::-1]


def _without_one(items: tuple[T, ...], number: int) -> tuple[T, ...]:
    left_out = number % len(items) if items else 0
    return (*items[:left_out], *items[left_out + 1 :])
