"""What happens after a container has ended: write down how, clean up, and start it again if its policy says so.

The exit hook, the keeper, a watching loop and apply all run the same `settle` under the container's lock. Who comes
second finds nothing to do. Nobody waits here: a restart that is due later is written down and left to the keeper.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import catalog, stopping
from reconciler.engine.kernel import processes
from reconciler.kits.backoff import RESTART_LAST, RESTART_RESET, restart_delay
from reconciler.kits.frozen import replace

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.lifecycle import Lifecycle
    from reconciler.engine.containers.status import Status


_STEP = 0.5
"""Seconds between looks whether a run that was asked to end, and of whose end nobody tells, has ended."""


def restarts_by_policy(record: Record) -> bool:
    """Whether bad health or the restart policy wants a container that has ended to run again (docker run, --restart)."""
    if record.wanted != catalog.WANTED:
        return False
    if record.ailing:
        return True
    policy = record.config.restart
    if policy == "on-failure":
        limit = record.config.max_retries
        return record.exit_code != 0 and (not limit or record.restarts < limit)
    return policy in ("always", "unless-stopped")


def next_state(ended: Record) -> dict[str, Any]:
    """Columns for a container that ran and has ended as its record says by now: exited, or to be restarted and when.

    A run that was long enough begins the back-off anew; the count of restarts goes on, as Docker's does.
    """
    if not restarts_by_policy(ended):
        return {"state": catalog.EXITED, "restart_at": 0.0}
    ran = max(0.0, ended.finished - ended.started)
    streak = 0 if ran >= RESTART_RESET else ended.streak
    due = ended.finished + restart_delay(ran, streak)
    return {"state": catalog.RESTARTING, "restart_at": due, "streak": streak}


def will_have_work(record: Record) -> bool:
    """Whether there will be something to do when a container that runs ends: restart it perhaps, or shut its ports."""
    return record.config.restart != "no" or bool(record.ports)


def has_work(record: Record, now: Status) -> bool:
    """Whether a container that ran when it was last looked at has ended since, or runs as its policy would not have it.

    Without its monitor nobody would see it end, and restart it; what it writes is lost.
    """
    if record.phase != catalog.READY or record.state != catalog.RUNNING:
        return False
    if now.state == catalog.RUNNING and now.faults:
        return restarts_by_policy(replace(record, exit_code=None))
    return now.state == catalog.EXITED


class Settling:
    """Settles containers of one engine."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._registry = lifecycle.registry
        self._asked: dict[tuple[str, int], float] = {}
        """Container and generation -> until when it may end of itself. Who is new at it asks once more."""

    def settle(self, container_id: str, *, back_off: bool = False) -> float:
        """Bring one container to where it should be; returns when its restart is due (epoch seconds), 0.0 = none.

        With `back_off` a restart that has a delay is left to a later call also when it is due by now: the caller has
        a pace of its own. A failure of the restart counts as another end: it is tried again after the next delay.
        """
        if self._registry.get(container_id) is None:
            return 0.0
        with self._lifecycle.lock(container_id):
            record = self._registry.get(container_id)
            if record is None or record.phase != catalog.READY:
                return 0.0
            if record.state == catalog.RUNNING:
                now = self._registry.status(record)
                if not has_work(record, now):
                    return 0.0
                if now.state != catalog.EXITED and (again := self._end(record)):
                    return again
                record = self._lifecycle.conclude(record)
            if record.state != catalog.RESTARTING or processes.machine_goes_down():
                return 0.0  # what is ended by a shutdown is to stay down: the first apply after it starts it again
            # a clock that was set back must not hold a restart up
            due = min(record.restart_at, time.time() + RESTART_LAST)
            if due > time.time() or (back_off and due > record.finished):
                return due
            return self._restart(record)

    def _end(self, record: Record) -> float:
        """End a run by signal, grace period and SIGKILL, without waiting: when to go on with it, 0.0 = it has ended."""
        run = (record.id, record.generation)
        if run not in self._asked:
            self._asked[run] = time.time() + record.config.stop_timeout
            stopping.send(record, self._lifecycle.stop_signal(record))
        if time.time() < self._asked[run]:
            return min(self._asked[run], time.time() + _STEP)
        stopping.kill(self._lifecycle.paths, record)
        del self._asked[run]
        return 0.0

    def _restart(self, record: Record) -> float:
        try:
            self._lifecycle.start_locked(record.id, restart=True)
        except Exception as error:
            return self._try_again(record, str(error))
        return 0.0

    def _try_again(self, record: Record, why: str) -> float:
        failed = replace(record, restarts=record.restarts + 1, streak=record.streak + 1)
        due = time.time() + restart_delay(0.0, failed.streak)
        again = restarts_by_policy(failed)
        with self._lifecycle.store.write() as connection:
            catalog.change(
                connection,
                record.id,
                state=catalog.RESTARTING if again else catalog.EXITED,
                restarts=failed.restarts,
                streak=failed.streak,
                restart_at=due if again else 0.0,
                error=why,
            )
        return due if again else 0.0
