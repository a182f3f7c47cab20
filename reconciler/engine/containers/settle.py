"""What happens after a container has ended: write down how, clean up, and start it again if its policy says so.

The exit hook, the keeper, a watching loop and apply all run the same `settle` under the container's lock. Who comes
second finds nothing to do. Nobody waits here: a restart that is due later is written down and left to the keeper.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog
from reconciler.kits.backoff import RESTART_RESET, restart_delay
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.lifecycle import Lifecycle


class Settling:
    """Settles containers of one engine."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._registry = lifecycle.registry
        self._paths = lifecycle.paths

    def settle(self, container_id: str, now: float | None = None) -> float:
        """Bring one container to where it should be; returns when its restart is due (epoch seconds), 0.0 = none.

        A failure of the restart counts as another end: it is tried again after the next delay.
        """
        with self._lifecycle.lock(container_id):
            record = self._registry.get(container_id)
            if record is None or record.phase != catalog.READY:
                return 0.0
            now = time.time() if now is None else now
            if record.state == catalog.RUNNING:
                if self._registry.status(record).state != catalog.EXITED:
                    return 0.0
                record = self._lifecycle.conclude(record)
                return self._after_end(record, now)
            if record.state == catalog.RESTARTING:
                if record.restart_at > now:
                    return record.restart_at
                return self._restart(record, now)
            return 0.0

    def _after_end(self, record: Record, now: float) -> float:
        if not restarts_by_policy(record):
            return 0.0
        ran = max(0.0, record.finished - record.started)
        restarts = 0 if ran >= RESTART_RESET else record.restarts
        delay = restart_delay(ran, restarts)
        if delay <= 0.0:
            return self._restart(record, now, reset=True)
        return self._restart_later(record, now + delay)

    def _restart_later(self, record: Record, when: float) -> float:
        with self._lifecycle.store.write() as connection:
            catalog.change(connection, record.id, state=catalog.RESTARTING, restart_at=when)
        return when

    def _restart(self, record: Record, now: float, *, reset: bool = False) -> float:
        if reset:
            with self._lifecycle.store.write() as connection:
                catalog.change(connection, record.id, restarts=0)
        try:
            self._lifecycle.start_locked(record.id, restart=True)
        except ReconcilerError:
            with self._lifecycle.store.write() as connection:
                catalog.change(connection, record.id, restarts=record.restarts + 1)
            again = self._registry.get(record.id)
            if again is None or not restarts_by_policy(again):
                return 0.0
            return self._restart_later(again, now + restart_delay(0.0, again.restarts))
        return 0.0


def restarts_by_policy(record: Record) -> bool:
    """Whether the restart policy wants a container that has ended to run again (docker run, --restart)."""
    if record.wanted != "running":
        return False
    policy = record.config.restart
    if policy == "on-failure":
        limit = record.config.max_retries
        return record.exit_code != 0 and (not limit or record.restarts < limit)
    return policy in ("always", "unless-stopped")
