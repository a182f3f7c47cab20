"""One probe, from its start to what came of it, without ever waiting: whoever has its descriptors polled calls `advance`.

All that it started ends with it: it is a part of the container's control group, which is emptied.
"""

from __future__ import annotations

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


class Probe:
    """A probe that was started; `started` in seconds since the epoch."""

    def __init__(self, pidfd: int, confinement: Confinement, check: Check, group: str) -> None:
        """`pidfd` is the container's first process, `group` the part of its control group. Raises OSError."""
        self.started = time.time()
        self._deadline = time.monotonic() + check.timeout
        self._timeout = check.timeout
        self._group = group
        self._output, output = _pipe()
        self._report, report = _pipe()
        try:
            self._child = inside.start(pidfd, confinement, check.arguments, output, report)
        finally:
            os.close(output)
            os.close(report)
        self._said = b""
        self._kept = b""
        self._cut = False
        self._pid = 0
        self._pidfd = -1
        self._code: int | None = None
        self._why = ""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What to poll for reading; another set after each `advance`."""
        output = -1 if self._cut else self._output
        return tuple(fd for fd in (self._report, output, self._pidfd) if fd >= 0)

    @property
    def wakes_at(self) -> float:
        """When to call `advance` whatever was polled, in monotonic seconds."""
        floods = self._cut and self._output >= 0
        return time.monotonic() + _AGAIN if self._over or floods else self._deadline

    @property
    def _over(self) -> bool:
        return self._code is not None

    def advance(self, frozen: Callable[[], bool] = bool) -> Result | None:
        """Take note of what has happened; the result once all is over. In a frozen container time stands still."""
        self._read_output()
        if self._report >= 0:
            self._read_report()
        if self._pidfd >= 0 and processes.wait_for_end(self._pidfd, 0.0):
            self._end(_status(self._pid))
        if not self._over and time.monotonic() >= self._deadline:
            if frozen():
                self._deadline = time.monotonic() + 1.0
            else:
                self._why = f"Health check exceeded timeout ({self._timeout:g}s)"
                self._code = FAILED
        if not self._over or not cgroups.kill_part(self._group):
            return None
        return self._result()

    def give_up(self) -> None:
        """Nobody wants to know any more; what is left is ended by `advance`."""
        if self._code is None:
            self._code = FAILED

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self._report, self._output, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._report = self._output = self._pidfd = -1

    def _end(self, code: int) -> None:
        self._code = code if self._code is None else self._code
        os.close(self._pidfd)
        self._pidfd = -1

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
            return
        os.close(self._report)
        self._report = -1
        processes.reap(self._child)
        for line in self._said.decode("utf-8", "replace").splitlines():
            if line.startswith("!"):
                self._why = self._why or line[1:]
            elif line.isdecimal():
                self._pid = int(line)
        if self._pid:
            self._pidfd = os.pidfd_open(self._pid)
            if self._why:  # it has ended, or is about to
                self._code = FAILED
        elif self._code is None:
            self._code = FAILED
            self._why = self._why or "the probe was killed before it began"

    def _result(self) -> Result:
        if self._report >= 0:
            self._read_report()
        if self._pidfd >= 0:
            self._end(_status(self._pid))
        self._read_output()
        self.close()
        said = self._kept.decode("utf-8", "replace") + ("..." if self._cut else "")
        output = ": ".join(filter(None, (self._why, said))) if self._why else said
        return Result(self.started, time.time(), FAILED if self._code is None else self._code, output)


def _pipe() -> tuple[int, int]:
    """Its reading end does not block."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    return reading, writing


def _status(pid: int) -> int:
    code = processes.reap(pid)
    return 128 - code if code < 0 else code
