"""Waiting until a container is healthy, has done its work, or is up: `AwaitContainer` over the engine.

It looks again and again, many of these at a time: a look costs less than being told. Health checks are the prober's
business; whoever waits here sees to it that there is one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, status
from reconciler.engine.containers.health import journal, upkeep
from reconciler.engine.containers.settle import restarts_by_policy
from reconciler.kits.errors import EXIT_NOT_HEALTHY, ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.model.action import READY
from reconciler.model.desired import COMPLETED, HEALTHY
from reconciler.model.observed import HEALTHY as IS_HEALTHY
from reconciler.model.observed import UNHEALTHY
from reconciler.runtimes.base import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.facade import Engine
    from reconciler.model.action import AwaitContainer
    from reconciler.runtimes.base import Context

SHORTEST, LONGEST = 0.01, 0.2
"""Seconds between two looks, at first and after a while."""

MOST_RESTARTS = 10
"""Restarts by policy after which nobody believes any more that it will come up: by then a minute has passed."""

_LAST_LINES = 10
"""Of what a probe said."""

AT_WORK = 0.25
"""Seconds after which a container that runs counts as up, also if it has never slept."""


def reach(engine: Engine, action: AwaitContainer, record: Callable[[], Record], context: Context) -> str:
    """Wait; returns what the container is then: "healthy", "up" or "done".

    `record` looks it up anew. Raises ReconcilerError, code "condition", when the condition can't be reached any more or
    the deadline has passed; Cancelled.
    """
    pause, said = SHORTEST, ""
    while True:
        now = record()
        if reached := _Look(engine, action, now).outcome():
            return reached
        if context.cancelled():
            raise Cancelled
        if context.deadline is not None and time.monotonic() > context.deadline:
            raise _Look(engine, action, now).too_late()
        found = journal.read(engine.paths, now)
        last = found.log[-1].output.strip().rpartition("\n")[2] if found and found.log else ""
        if last != said:
            context.progress(last)
            said = last
        time.sleep(pause)
        pause = min(LONGEST, pause * 1.5)


class _Look:
    """One look at a container that is waited for."""

    def __init__(self, engine: Engine, action: AwaitContainer, record: Record) -> None:
        self._engine = engine
        self._key = action.key
        self._condition = action.condition
        self._record = record
        self._now = engine.containers.status(record)

    def outcome(self) -> str:
        """What it has become, "" while it may become so yet. Raises ReconcilerError when it can't."""
        state = self._now.state
        if self._now.is_up:
            return self._of_running(state == status.PAUSED)
        if state == catalog.RESTARTING:
            return self._of_returning()
        if state == catalog.EXITED:
            return self._of_ended()
        raise self._error(f"does not run: it is {state}")

    def _of_running(self, paused: bool) -> str:
        if self._condition == COMPLETED:
            if paused:
                raise self._error("is paused, and so does not get on with its work")
            return ""
        health = self._engine.containers.health(self._record, self._now)
        if health == IS_HEALTHY:
            return "healthy"
        if not health and self._condition == HEALTHY:
            raise self._error("has no health check")
        if paused:
            raise self._error("is paused, and so not asked for its health")
        if not health:
            up = status.is_at_work(self._record) or time.time() - self._record.started > AT_WORK
            return "up" if up else ""
        if health == UNHEALTHY and not self._is_treated():
            raise self._error(f"is unhealthy{self._last_probe()}")
        upkeep.ensure(self._engine.paths)
        return ""

    def _is_treated(self) -> bool:
        """Whether it is, or is about to be, restarted because it is unhealthy."""
        limit = self._record.config.health.restarts if self._record.config.health else None
        return self._record.ailing or (limit is not None and (not limit or self._record.health_restarts < limit))

    def _of_returning(self) -> str:
        if self._record.restarts > MOST_RESTARTS:
            raise self._error(f"ends again and again, with exit code {self._record.exit_code}")
        return ""

    def _of_ended(self) -> str:
        code = self._now.exit_code if self._now.exit_code is not None else self._record.exit_code
        if restarts_by_policy(replace(self._record, exit_code=code)):
            return self._of_returning()
        if code == 0 and self._condition in (COMPLETED, READY):
            return "done"
        why = f": {self._record.error}" if self._record.error else ""
        raise self._error(f"has ended with exit code {'unknown' if code is None else code}{why}")

    def _last_probe(self) -> str:
        found = journal.read(self._engine.paths, self._record)
        if not found or not found.log:
            return ""
        last = found.log[-1]
        lines = last.output.strip().splitlines()[-_LAST_LINES:]
        code = f", with exit code {last.code}" if last.code >= 0 else ""
        said = "".join(f"\n    | {line}" for line in lines)
        return f"; its last probe failed{code}" + (f" and said{said}" if said else " and said nothing")

    def too_late(self) -> ReconcilerError:
        """The deadline has passed."""
        health = self._engine.containers.health(self._record, self._now)
        what = {COMPLETED: "has not done its work"}.get(self._condition, "is not healthy" if health else "is not up")
        return self._error(f"{what} in time{self._last_probe() if health else ''}")

    def _error(self, what: str) -> ReconcilerError:
        return ReconcilerError(f"container {self._key} {what}", code="condition", exit_code=EXIT_NOT_HEALTHY)
