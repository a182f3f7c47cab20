"""The containers that there are, and what each really is now: the reading half. Changes nothing, starts nothing.

Apart from `lifecycle`, so that `ps` and an apply with nothing to do load only this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, status
from reconciler.engine.containers.health import journal
from reconciler.engine.kernel import locks

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.status import Status
    from reconciler.engine.paths import Paths
    from reconciler.engine.store import Store


class Registry:
    """The containers of one pair of roots. Safe to use from several threads and processes."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self.paths = paths
        self.store = store

    def find(self, name: str) -> Record:
        """By name, id, owner or unique prefix; raises ReconcilerError, code "not-found"."""
        with self.store.read() as connection:
            return catalog.find(connection, name)

    def get(self, container_id: str) -> Record | None:
        with self.store.read() as connection:
            return catalog.get(connection, container_id)

    def of_owner(self, owner: str) -> Record:
        """The owner's container; raises ReconcilerError, code "not-found"."""
        with self.store.read() as connection:
            return catalog.by_owner(connection, owner)

    def every(self) -> list[Record]:
        """All containers, oldest first."""
        with self.store.read() as connection:
            return catalog.every(connection)

    def none_left(self) -> bool:
        """Whether there is no container at all, half-made ones included."""
        with self.store.read() as connection:
            return not connection.execute("SELECT 1 FROM containers LIMIT 1").fetchone()

    def status(self, record: Record) -> status.Status:
        """What it really is now."""
        return status.of(self.paths, record)

    def health(self, record: Record, now: Status) -> str:
        """What health checks say: starting, healthy or unhealthy; "" of one that is not checked or does not run."""
        return journal.status(self.paths, record) if now.is_up else ""

    def keeper_lives(self) -> bool:
        """Whether somebody looks after restarts and logs that are due later."""
        return locks.is_held(self.paths.keeper_lock)
