"""Ends a pull from outside: somebody cancels it, its time is over, or a part of it failed and the rest need not go on.

What waits for the network can't be asked to stop; its connection is cut instead, and it learns why here. Only this room
may import it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from reconciler.engine.kernel import sockets
from reconciler.kits.errors import InterruptedRunError, ReconcilerError
from reconciler.kits.units import human_duration

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOKS = 0.2
"""Seconds between two looks at whether somebody has cancelled."""


class Watch:
    """For the length of a `with`; safe to use from several threads."""

    def __init__(self, cancelled: Callable[[], bool], seconds: float, deadline: float | None = None) -> None:
        """`seconds` is what all of it may take; `deadline` (monotonic) may end it earlier."""
        self._cancelled = cancelled
        now = time.monotonic()
        self._end = min(now + seconds, deadline) if deadline is not None else now + seconds
        self._seconds = max(0.0, self._end - now)
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._reason: BaseException | None = None
        self._connections: set[sockets.Connection] = set()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self.stop(error or InterruptedRunError("the pull is over"))
        self._thread.join()

    def stop(self, reason: BaseException) -> None:
        """From now on `check` raises `reason`; the first one counts."""
        with self._guard:
            self._reason = self._reason or reason
            self._stopped.set()
            for connection in self._connections:
                sockets.interrupt(connection)

    def check(self) -> None:
        """Raise why it was stopped, if it was."""
        if self._reason is not None:
            raise self._reason

    def sleep(self, seconds: float) -> None:
        """Wait, unless it is stopped."""
        self._stopped.wait(seconds)
        self.check()

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()

    def guard(self, connection: sockets.Connection) -> None:
        """Cut this connection when it is stopped."""
        with self._guard:
            self._connections.add(connection)
            if self._reason is not None:
                sockets.interrupt(connection)

    def release(self, connection: sockets.Connection) -> None:
        """The connection is about to be closed."""
        with self._guard:
            self._connections.discard(connection)

    def _look(self) -> None:
        while not self._stopped.wait(max(0.0, min(_LOOKS, self.left))):
            if self._cancelled():
                self.stop(InterruptedRunError("the pull was interrupted; what came so far is kept for the next"))
            elif self.left <= 0:
                self.stop(
                    ReconcilerError(
                        f"the registry is not done after {human_duration(round(self._seconds)).lower()}",
                        code="deadline",
                        hint="what came so far is kept: pull again to go on; pull.time_limit in config.yaml allows more",
                    )
                )
