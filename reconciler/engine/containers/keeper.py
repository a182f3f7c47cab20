"""The keeper: the one process of a pair of roots that settles containers which have ended, now and when it is due.

It is there only while there is such work, or a log that is to be rotated. It holds no state: killing it loses nothing
that the next hook, start or apply would not pick up. How it is started: `helpers`; its process: `after`.

A crash loop shall not eat the machine: what waits for its restart is restarted at a pace that all of them share, by a
few workers. What ran for long enough, and ends, is started again at once.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, helpers, logs, status
from reconciler.engine.containers.health import journal, upkeep
from reconciler.engine.containers.settle import has_work
from reconciler.engine.kernel import locks, notify, programs
from reconciler.kits.backoff import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.facade import Engine

LINGER = 15.0
"""Seconds that the keeper stays after its last restart: a crash loop's next end finds it there."""

ROTATION_PERIOD = 0.2
"""Seconds between looks at the sizes of logs that have a limit."""

RETRY = 5.0
"""Seconds until a container that could not be settled is looked at again."""

RESYNC = 30.0
"""Seconds between looks at everything, for ends that nobody tells of: a monitor that was killed with its container."""

UNTOLD = frozenset(("", helpers.POKE))
"""Names in the folder of exit codes that are no container's: something has happened, and nobody says where."""

WORKERS = 2
RESTARTS_A_SECOND = 4.0
BURST = 20
"""The pace of restarts after a back-off: on average, and at once after a quiet time. One costs about 40 ms of processor
time, its end included."""


def keep(engine: Engine, lock: int | None = None) -> None:
    """Be the keeper until there is nothing left to look after; at once when somebody else is.

    `lock` is a descriptor that holds the keeper's lock already.
    """
    while lock is not None or (lock := locks.take_over(engine.paths.keeper_lock)) is not None:
        keeper = Keeper(engine)
        keeper.work()
        os.close(lock)
        lock = None
        # A hook that found the lock held has left its container to us, perhaps after our last look.
        if not keeper.look():
            break


class Keeper:
    """Looks after what is due. One container's trouble never holds up another."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._due: dict[str, float] = {}
        self._delayed: set[str] = set()
        self._limited: list[Record] = []
        self._pace = Pace(RESTARTS_A_SECOND, BURST)
        self._exits = notify.Folder(engine.paths.exits)
        self._gate = 0.0
        self._workers = Workers(WORKERS, self._exits.wake)
        self._quiet_since = 0.0

    def work(self) -> None:
        """Settle whatever ends or is due, until there has been nothing for a while."""
        self.look()
        looked = time.monotonic()
        while True:
            self._take_results()
            self._begin()
            self._rotate()
            programs.reap_detached()
            if self._is_over():
                break
            names = self._exits.names(self._pause())
            for name in names - UNTOLD:
                self._due[name] = 1.0
                self._delayed.discard(name)
            if names & UNTOLD or time.monotonic() - looked > RESYNC:
                self.look()
                looked = time.monotonic()
        self._workers.end()
        self._exits.close()

    def look(self) -> bool:
        """Note all that is to be done, now or later; returns whether there is anything."""
        self._limited = []
        for record in self._engine.containers.every():
            if due := self._due_of(record):
                self._due.setdefault(record.id, due)
            if record.config.log_max_size and status.lives(record):
                self._limited.append(record)
            if record.state == catalog.RUNNING and journal.status(self._engine.paths, record):
                upkeep.ensure(self._engine.paths)  # the prober may have been killed, too
        return bool(self._due or self._limited)

    def _due_of(self, record: Record) -> float:
        """When a container is to be settled: epoch seconds, long ago for at once, 0.0 for not at all."""
        if record.phase == catalog.READY and record.state == catalog.RESTARTING:
            self._delayed.add(record.id)
            return record.restart_at or 1.0
        return 1.0 if has_work(record, self._engine.containers.status(record)) else 0.0

    def _begin(self) -> None:
        """Give the workers what is due, the longest overdue first; what waits for its restart at the common pace."""
        now = time.time()
        for container_id, due in sorted(self._due.items(), key=lambda item: item[1]):
            if due > now:
                return
            delayed = container_id in self._delayed
            if container_id in self._workers.busy or (delayed and self._gate > time.monotonic()):
                continue
            if delayed and (wait := self._pace.next_in(time.monotonic())):
                self._gate = time.monotonic() + wait
                continue
            del self._due[container_id]
            self._delayed.discard(container_id)
            self._workers.give(container_id, functools.partial(self._settle, container_id, back_off=not delayed))

    def _settle(self, container_id: str, *, back_off: bool) -> float:
        """In a worker: when the container is to be settled next, 0.0 for never."""
        try:
            return self._engine.settling.settle(container_id, back_off=back_off)
        except Exception as error:
            helpers.note(self._engine.paths, f"container {container_id[:12]}: {error!r}")
            return time.time() + RETRY

    def _take_results(self) -> None:
        for container_id, due in self._workers.results():
            self._quiet_since = time.monotonic()
            if due and container_id not in self._due:
                self._due[container_id] = due
                self._delayed.add(container_id)

    def _is_over(self) -> bool:
        if self._workers.busy:
            return False
        if self._engine.containers.none_left():
            return True
        if self._due or self._limited:
            self._quiet_since = time.monotonic()
        return not self._quiet_since or time.monotonic() - self._quiet_since > LINGER

    def _pause(self) -> float:
        pause = ROTATION_PERIOD if self._limited else min(LINGER, RESYNC)
        now, gate = time.time(), self._gate - time.monotonic()
        for container_id, due in self._due.items():
            if container_id not in self._workers.busy:
                pause = min(pause, max(due - now, gate if container_id in self._delayed else 0.0))
        return max(0.0, pause)

    def _rotate(self) -> None:
        for record in self._limited:
            try:
                if status.lives(record) and status.monitor_lives(record):
                    logs.rotate_if_due(self._engine.paths, record)
            except OSError as error:
                helpers.note(self._engine.paths, f"log of container {record.name}: {error!r}")


class Workers:
    """Threads that each do one container's work at a time, and never two the same container's. For one caller."""

    def __init__(self, most: int, wake: Callable[[], None]) -> None:
        """`wake` is called, in a worker, when some work is done."""
        self._most = most
        self._wake = wake
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[tuple[str, Callable[[], float]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self.busy: set[str] = set()

    def give(self, container_id: str, work: Callable[[], float]) -> None:
        """Have `work` done as soon as a thread is free."""
        if len(self._threads) < self._most and len(self.busy) >= len(self._threads):
            self._threads.append(threading.Thread(target=self._run, daemon=True))
            self._threads[-1].start()
        self.busy.add(container_id)
        self._work.put((container_id, work))

    def results(self) -> list[tuple[str, float]]:
        """The works that are done since the last call, each with its result."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
            self.busy.discard(found[-1][0])
        return found

    def end(self) -> None:
        """Wait until the threads have ended, each after the work that it is at: from then on nobody is woken."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while item := self._work.get():
            container_id, work = item
            self._done.put((container_id, work()))
            self._wake()
