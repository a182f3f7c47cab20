"""What people do by hand to a container that runs: signals, pause and unpause, restart.

Each is one short change under the container's lock; starting, stopping and removing are `lifecycle`'s.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, status, stopping
from reconciler.engine.kernel import cgroups
from reconciler.engine.store import even_on_a_full_disk
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.lifecycle import Lifecycle


def kill(lifecycle: Lifecycle, name: str, number: int = signal.SIGKILL) -> None:
    """Send a signal to the first process of a container that runs.

    After SIGKILL, and after its own stop signal, it stays down whatever its restart policy says; one that waits for
    its restart is just kept down. Raises ReconcilerError, code "not-running".
    """
    record = lifecycle.registry.find(name)
    with lifecycle.lock(record.id):
        record = lifecycle.must(record.id)
        now = lifecycle.registry.status(record)
        if now.state == catalog.RESTARTING:
            lifecycle.conclude(record, down=True)
            return
        if not now.is_up:
            raise ReconcilerError(
                f"Cannot kill container: {name}: Container {record.id} is not running", code="not-running"
            )
        if number == signal.SIGKILL:
            with even_on_a_full_disk():
                _want(lifecycle, record, catalog.STOPPED)
            if stopping.kill(lifecycle.paths, record):
                lifecycle.conclude(record, down=True)
            return
        if number == lifecycle.stop_signal(record):
            _want(lifecycle, record, catalog.LAST_RUN)
        stopping.send(record, number)


def _want(lifecycle: Lifecycle, record: Record, what: str) -> None:
    with lifecycle.store.write() as connection:
        catalog.change(connection, record.id, wanted=what, restart_at=0.0)


def pause(lifecycle: Lifecycle, name: str) -> None:
    """Freeze all processes of a container that runs. Raises ReconcilerError where it is paused already."""
    record = lifecycle.registry.find(name)
    with lifecycle.lock(record.id):
        record = lifecycle.must(record.id)
        _must_be(lifecycle, record, catalog.RUNNING)
        group = lifecycle.paths.group(record.id)
        try:
            frozen = cgroups.freeze(group)
        except FileNotFoundError as error:
            raise ReconcilerError(
                f"container {record.name} can't be paused: this machine has no freezer cgroup", code="pause"
            ) from error
        if not frozen:
            raise ReconcilerError(
                f"container {record.name} can't be paused: some process of it can't be frozen, and it runs on",
                code="pause",
                hint="a process that waits for a disk (state D) can't be; try again later",
            )


def unpause(lifecycle: Lifecycle, name: str) -> None:
    """Let a paused container run on. Raises ReconcilerError where it is not paused."""
    record = lifecycle.registry.find(name)
    with lifecycle.lock(record.id):
        record = lifecycle.must(record.id)
        _must_be(lifecycle, record, status.PAUSED)
        cgroups.thaw(lifecycle.paths.group(record.id))


def _must_be(lifecycle: Lifecycle, record: Record, wanted: str) -> None:
    state = lifecycle.registry.status(record).state
    if state == wanted:
        return
    what = {
        catalog.RUNNING: "is not paused",
        status.PAUSED: "is already paused",
        catalog.RESTARTING: "is restarting, wait until the container is running",
    }.get(state, "is not running" if wanted == catalog.RUNNING else "is not paused")
    raise ReconcilerError(f"Container {record.id} {what}", code="not-running")


def restart(lifecycle: Lifecycle, name: str, timeout: float | None = None) -> None:
    """Stop a container, with `timeout` as for `stop`, and start it; one that does not run is started."""
    container_id = lifecycle.registry.find(name).id
    lifecycle.stop(container_id, timeout)
    try:
        lifecycle.start(container_id)
    except ReconcilerError as error:
        error.message = f"Cannot restart container {name}: {error.message}"
        raise
