"""One probe, from its start to what came of it, without ever waiting: whoever has its descriptors polled calls `advance`.

All that it started ends with it: it is a part of the container's control group, which is emptied.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers.health.verdict import FAILED, Result
from reconciler.engine.kernel import cgroups, inside, processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.containers.health.check import Check
    from reconciler.engine.kernel.inside import Confinement

MOST_OUTPUT = 4096
"""Bytes of a probe's output that are kept (Docker)."""

PART = "probe"
"""The part of a container's control group that its probe is."""

_AT_ONCE = 1 << 16
_READS = 16
"""Reads before others have their turn."""

_AGAIN = 0.01
"""Seconds until what is to be killed is looked at again, and until more is read of a flood that nobody wants."""

_MORE_EACH_TIME = 4.0
_SELDOM = 5.0
"""Seconds: what does not die of being killed is killed again after longer and longer pauses, up to that."""

_PATIENCE = 1.0
"""Seconds that the result of a probe waits for its processes to be gone. One that waits for a disk does not die."""


class Probe:
    """A probe that was started; `started` in seconds since the epoch."""

    def __init__(self, pidfd: int, confinement: Confinement, check: Check, group: str) -> None:
        """`pidfd` is the container's first process, `group` the part of its control group. Raises OSError."""
        self.started = time.time()
        self._deadline = time.monotonic() + check.timeout
        self._timeout = check.timeout
        self._group = group
        self._said = b""
        self._kept = b""
        self._cut = False
        self._child = 0
        self._pid = 0
        self._pidfd = self._output = self._report = -1
        self._code: int | None = None
        self._why = ""
        self._impatient_at = math.inf
        self._sweep_at = 0.0
        self._pause = _AGAIN
        self._is_gone = False
        self._is_traced = False
        self._start(pidfd, confinement, check.arguments)

    def _start(self, pidfd: int, confinement: Confinement, arguments: tuple[str, ...]) -> None:
        output = report = -1
        try:
            self._output, output = _pipe()
            self._report, report = _pipe()
            self._child = inside.start(pidfd, confinement, arguments, output, report)
        except OSError:
            self.close()
            raise
        finally:
            for fd in (output, report):
                if fd >= 0:
                    os.close(fd)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to poll for reading; another set after each `advance`."""
        output = -1 if self._cut else self._output
        pidfd = -1 if self._is_traced else self._pidfd
        return tuple(fd for fd in (self._report, output, pidfd) if fd >= 0)

    @property
    def wakes_at(self) -> float:
        """When to call `advance` whatever was polled, in monotonic seconds."""
        if self._code is not None:
            return min(self._sweep_at, self._impatient_at)
        floods = self._cut and self._output >= 0
        return time.monotonic() + _AGAIN if floods or self._is_reapable else self._deadline

    @property
    def _is_reapable(self) -> bool:
        """Whether a child of ours is about to end, or has, without a descriptor that tells."""
        return (self._child > 0 and self._report < 0) or self._is_traced

    def advance(self, frozen: Callable[[], bool] = bool) -> Result | None:
        """Take note of what has happened; the result once all is over. In a frozen container time stands still.

        Processes may be left then that can't be killed just now: `leave` tells.
        """
        self._look()
        if self._code is None and time.monotonic() >= self._deadline:
            if frozen():
                self._deadline = time.monotonic() + 1.0
            else:
                self._why = f"Health check exceeded timeout ({self._timeout:g}s)"
                self.give_up()
        if self._code is None or not (self._sweep() or time.monotonic() >= self._impatient_at):
            return None
        self._impatient_at = math.inf
        said = self._kept.decode("utf-8", "replace") + ("..." if self._cut else "")
        output = ": ".join(filter(None, (self._why, said))) if self._why else said
        return Result(self.started, time.time(), self._code, output)

    def leave(self) -> bool:
        """End what is left of a probe that is over; returns whether nothing is, and then the descriptors are given back."""
        self._look()
        return self._sweep()

    def give_up(self) -> None:
        """It is over, whatever it does: nobody wants to know any more, or it takes too long."""
        self._end(FAILED)

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self._report, self._output, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._report = self._output = self._pidfd = -1

    def _end(self, code: int) -> None:
        if self._code is None:
            self._code = code
            self._impatient_at = time.monotonic() + _PATIENCE
        self._sweep_at = 0.0

    def _look(self) -> None:
        """Take what there is of output and report, and our children that have ended."""
        self._read_output()
        if self._report >= 0:
            self._read_report()
        if self._child and (self._report < 0 or self._code is not None):
            self._reap_child()
        if self._pidfd >= 0 and not self._child and processes.wait_for_end(self._pidfd, 0.0):
            self._reap()

    def _sweep(self) -> bool:
        """Kill all that it has started, where that is due; returns whether nothing is left of it."""
        now = time.monotonic()
        if self._is_gone or now < self._sweep_at:
            return self._is_gone
        empty = cgroups.kill_part(self._group)
        if empty and not self._child and self._pidfd < 0:
            self._read_output()
            self.close()
            self._is_gone = True
            return True
        self._sweep_at = now + self._pause
        self._pause = min(self._pause * _MORE_EACH_TIME, _SELDOM)
        return False

    def _read_output(self) -> None:
        for _ in range(_READS):
            try:
                data = os.read(self._output, _AT_ONCE) if self._output >= 0 else b""
            except BlockingIOError:
                return
            if not data:
                break
            room = MOST_OUTPUT - len(self._kept)
            self._cut = self._cut or len(data) > room
            self._kept += data[:room]
        else:
            return
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def _read_report(self) -> None:
        """Its end: the command runs, or could not be started."""
        try:
            while data := os.read(self._report, _AT_ONCE):
                self._said += data
        except BlockingIOError:
            pass
        else:
            os.close(self._report)
            self._report = -1
        pid, why = inside.read_report(self._said)
        if pid and not self._pid:  # ours until it is reaped, so the number means nobody else
            self._pidfd = os.pidfd_open(pid)
            self._pid = pid
        if self._report >= 0:
            return
        if why or not pid:
            self._why = self._why or why or "the probe was killed before it began"
            self._end(FAILED)

    def _reap_child(self) -> None:
        """The first of the two; the other one then becomes our child."""
        try:
            ended = processes.try_reap(self._child) is not None
        except ChildProcessError:
            ended = True
        if ended:
            self._child = 0
            self._sweep_at = 0.0

    def _reap(self) -> None:
        try:
            code = processes.try_reap(self._pid)
        except ChildProcessError:
            code = FAILED
        if code is None:  # a tracer in the container has not let it go (ptrace(2)): its descriptor would keep us awake
            self._is_traced = True
            return
        self._is_traced = False
        os.close(self._pidfd)
        self._pidfd = -1
        self._end(128 - code if code < 0 else code)


def _pipe() -> tuple[int, int]:
    """Its reading end does not block."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    return reading, writing
