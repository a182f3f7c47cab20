"""Ending a container's first process: signal, grace period, SIGKILL. Knows processes, not records' states. For `lifecycle`."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from reconciler.engine.kernel import cgroups, processes
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ContainerConfig, ImageConfig

_PATIENCE = 60.0
"""Seconds after SIGKILL: a process in the middle of a disk operation ends when that does."""

_REAL_TIME = signal.SIGRTMAX - signal.SIGRTMIN
"""Signals are called RTMIN+0 up to this, and RTMAX-0 up to this."""


def end(
    paths: Paths,
    record: Record,
    number: int,
    grace: float,
    shut: Callable[[], None],
    cancelled: Callable[[], bool],
) -> bool:
    """Signal, wait `grace` seconds, kill; returns whether it has ended, False when `cancelled()` came first.

    A first process without a handler never sees the signal: the kernel drops it. One that is still young may
    install its handler yet, and gets the signal again then; one that has had as long as its grace period is not
    waited for, because nothing would come of it. `shut` is called once the signal is out.
    """
    fd = processes.open_process(record.pid, record.pid_start)
    if fd < 0:
        return True
    try:
        settled_down = time.time() - record.started > grace
        heard = processes.receives(record.pid, number)
        if not _send(fd, number):
            return True
        deadline = time.monotonic() + grace
        _thaw(paths, record)
        shut()
        while time.monotonic() < deadline and (heard or not settled_down):
            if processes.wait_for_end(fd, min(0.1, max(0.0, deadline - time.monotonic()))):
                return True
            if cancelled():
                return False
            if not heard:
                heard = processes.receives(record.pid, number)
                _send(fd, number)
        return _kill(paths, record, fd)
    finally:
        os.close(fd)


def kill(paths: Paths, record: Record) -> bool:
    """SIGKILL and wait; returns whether it has ended."""
    fd = processes.open_process(record.pid, record.pid_start)
    if fd < 0:
        return True
    try:
        return _kill(paths, record, fd)
    finally:
        os.close(fd)


def send(record: Record, number: int) -> None:
    """Send a signal to exactly the recorded process; one that is gone gets none."""
    fd = processes.open_process(record.pid, record.pid_start)
    if fd >= 0:
        try:
            _send(fd, number)
        finally:
            os.close(fd)


def _kill(paths: Paths, record: Record, fd: int) -> bool:
    _send(fd, signal.SIGKILL)
    _thaw(paths, record)
    return processes.wait_for_end(fd, _PATIENCE)


def _thaw(paths: Paths, record: Record) -> None:
    """A paused container runs on: frozen, it would neither hear a signal nor, on cgroup v1, die."""
    cgroups.thaw(paths.group(record.id))


def _send(fd: int, number: int) -> bool:
    """Send a signal; returns whether there was still a process to get it."""
    try:
        processes.send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def stop_signal(config: ContainerConfig, image: ImageConfig) -> int:
    """The number of the signal that asks a container to end: its own, else its image's, else SIGTERM.

    What an image calls one and is none counts for nothing, as in Docker: its container could never be stopped.
    """
    if config.stop_signal:
        return signal_number(config.stop_signal)
    try:
        return signal_number(image.stop_signal or "TERM")
    except ReconcilerError:
        return signal.SIGTERM


def signal_number(name: str) -> int:
    """15 from TERM, SIGTERM or 15; 37 from RTMIN+3; raises ReconcilerError for what is no signal."""
    text = name.upper().removeprefix("SIG")
    if text.isdecimal() and len(text) < 4 and 0 < int(text) <= signal.SIGRTMAX:
        return int(text)
    try:
        return signal.Signals[f"SIG{text}"].value
    except KeyError:
        pass
    for base, first, sign in (("RTMIN+", signal.SIGRTMIN, 1), ("RTMAX-", signal.SIGRTMAX, -1)):
        offset = text.removeprefix(base)
        if offset != text and offset.isdecimal() and len(offset) < 3 and int(offset) <= _REAL_TIME:
            return first + sign * int(offset)
    raise ReconcilerError(f"Invalid signal: {printable(name)}", code="signal", hint="for example TERM, KILL or 15")
