"""What runs without a user: the exit hook's Python half, and the keeper. Started with `python -I -m`, by the engine only.

The keeper is there only while some container has a restart due or a log that is to be rotated. It holds no state:
killing it loses nothing, whoever comes next (a hook, any verb that acts) starts another.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, helpers, logs
from reconciler.engine.facade import Engine
from reconciler.engine.kernel import cgroups, locks, notify

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record

LINGER = 15.0
"""Seconds that the keeper stays after its last work: a crash loop's next end finds it there."""

ROTATION_PERIOD = 0.2
"""Seconds between looks at the sizes of logs that have a limit."""


def main(arguments: list[str]) -> int:
    """`settle ROOT RUN ID`, `keep ROOT RUN` or `tidy ROOT RUN`."""
    task, root, run, *rest = arguments
    engine = Engine(root, run)
    if task == "settle":
        due = engine.settling.settle(rest[0])
        if due:
            helpers.wake_keeper(engine.paths)
        return 0
    if task == "tidy":
        engine.remove_leftovers()
        return 0
    return keep(engine)


def keep(engine: Engine) -> int:
    """Be the keeper until there is nothing left to look after; at once when somebody else is."""
    lock = locks.try_hold(engine.paths.keeper_lock)
    if lock is None:
        return 0
    with notify.Folder(engine.paths.exits) as exits:
        idle_since = time.monotonic()
        while True:
            due, rotating = look(engine)
            if due or rotating:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > LINGER or engine.containers.none_left():
                break
            exits.wait(_pause(due, rotating=rotating))
    os.close(lock)
    # A hook that found the lock held has left its container to us, perhaps after our last look.
    look(engine)
    if engine.containers.none_left():
        cgroups.enter("", os.getpid())  # out of the group that goes away now
        engine.network.retire()
        engine.remove_leftovers()
    return 0


def _pause(due: float, *, rotating: bool) -> float:
    longest = ROTATION_PERIOD if rotating else LINGER
    return min(longest, max(0.0, due - time.time())) if due else longest


def look(engine: Engine) -> tuple[float, bool]:
    """Settle what has ended, restart what is due, rotate what is too long.

    Returns when the next restart is due (epoch seconds, 0.0 = none) and whether some running container's log has a
    limit.
    """
    next_due = 0.0
    rotating = False
    for record in engine.containers.every():
        due = _settle(engine, record)
        if due and (not next_due or due < next_due):
            next_due = due
        if record.config.log_max_size and record.state == catalog.RUNNING:
            rotating = True
            logs.rotate_if_due(engine.paths, record)
    return next_due, rotating


def _settle(engine: Engine, record: Record) -> float:
    if record.state not in (catalog.RUNNING, catalog.RESTARTING) or record.phase != catalog.READY:
        return 0.0
    if record.state == catalog.RUNNING and engine.containers.status(record).state != catalog.EXITED:
        return 0.0
    return engine.settling.settle(record.id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
