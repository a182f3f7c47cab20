"""What runs without a user: the exit hook's Python half, the keeper, the removal of the network. Started by `helpers`.

The keeper is there only while some container has a restart due or a log that is to be rotated. It holds no state:
killing it loses nothing that the next hook, start or apply would not pick up.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, helpers, logs, status
from reconciler.engine.facade import Engine
from reconciler.engine.kernel import cgroups, locks, notify

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record

LINGER = 15.0
"""Seconds that the keeper stays after its last work: a crash loop's next end finds it there."""

ROTATION_PERIOD = 0.2
"""Seconds between looks at the sizes of logs that have a limit."""

RETRY = 5.0
"""Seconds until a container that could not be settled is looked at again."""


def main(arguments: list[str]) -> int:
    """`settle ROOT RUN ID`, `keep ROOT RUN` or `tidy ROOT RUN`. What goes wrong is told in RUN/after.log."""
    os.umask(0o022)
    task, root, run, *rest = arguments
    engine = Engine(root, run)
    try:
        if task == "settle":
            if engine.settling.settle(rest[0]):
                helpers.wake_keeper(engine.paths)
        elif task == "tidy":
            engine.remove_leftovers()
        else:
            # Out of the session or unit of whoever started us, and at the end out of the group that may go away.
            cgroups.enter(f"{engine.paths.cgroup}/monitors", os.getpid())
            keep(engine)
            cgroups.enter("", os.getpid())
            if engine.network.retire():
                engine.remove_leftovers()
    except Exception as error:
        helpers.note(engine.paths, f"{task} {' '.join(rest)}: {error!r}")
        return 1
    return 0


def keep(engine: Engine) -> None:
    """Be the keeper until there is nothing left to look after; at once when somebody else is."""
    keeper = Keeper(engine)
    while (lock := _take_over(engine.paths.keeper_lock)) is not None:
        keeper.work()
        os.close(lock)
        # A hook that found the lock held has left its container to us, perhaps after our last look.
        if not keeper.look():
            break


def _take_over(path: str) -> int | None:
    """The keeper's lock, or None when somebody holds it; who only asks about it holds it for a moment."""
    end = time.monotonic() + 1.0
    while (lock := locks.try_hold(path)) is None and time.monotonic() < end:
        time.sleep(0.01)
    return lock


class Keeper:
    """Looks after what is due. One container's trouble never holds up another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._due = 0.0
        self._limited: list[Record] = []
        self._troubled: dict[str, float] = {}

    def work(self) -> None:
        """Look whenever a container has ended or something is due, until there has been nothing for a while."""
        with notify.Folder(self._engine.paths.exits) as exits:
            idle_since = time.monotonic()
            woken = True
            while True:
                if woken or (self._due and self._due <= time.time()):
                    self.look()
                self._rotate()
                if self._due or self._limited:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > LINGER or self._engine.containers.none_left():
                    return
                woken = exits.wait(self._pause())

    def _pause(self) -> float:
        longest = ROTATION_PERIOD if self._limited else LINGER
        return min(longest, max(0.0, self._due - time.time())) if self._due else longest

    def look(self) -> bool:
        """Settle what has ended and restart what is due; returns whether there is anything to look after."""
        dues = []
        self._limited = []
        for record in self._engine.containers.every():
            if due := self._settle(record):
                dues.append(due)
            if record.config.log_max_size and status.lives(record):
                self._limited.append(record)
        self._due = min(dues, default=0.0)
        return bool(dues or self._limited)

    def _settle(self, record: Record) -> float:
        if record.state not in (catalog.RUNNING, catalog.RESTARTING) or record.phase != catalog.READY:
            return 0.0
        if (again := self._troubled.get(record.id, 0.0)) > time.time():
            return again
        try:
            ended = record.state == catalog.RESTARTING or self._engine.containers.status(record).state == catalog.EXITED
            due = self._engine.settling.settle(record.id) if ended else 0.0
        except Exception as error:
            helpers.note(self._engine.paths, f"container {record.name}: {error!r}")
            due = self._troubled[record.id] = time.time() + RETRY
        else:
            self._troubled.pop(record.id, None)
        return due

    def _rotate(self) -> None:
        for record in self._limited:
            try:
                if status.lives(record) and status.monitor_lives(record):
                    logs.rotate_if_due(self._engine.paths, record)
            except OSError as error:
                helpers.note(self._engine.paths, f"log of container {record.name}: {error!r}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
