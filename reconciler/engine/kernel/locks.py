"""Advisory locks between processes and threads: flock(2) on a file of ours. The kernel frees them at a SIGKILL.

Not fcntl locks: those vanish when any descriptor of the file is closed and do not exclude threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_LOOKS = 0.05
"""Seconds between two looks at a lock, where whoever waits wants to be asked."""


@contextlib.contextmanager
def held(path: str, *, shared: bool = False, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Wait for the lock and hold it for the block; the folder is made when it is missing, the file stays.

    `waiting` is called again and again meanwhile, and ends the wait by raising.
    """
    fd = _open(path)
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        while not (waiting is None or take(fd, how)):
            waiting()
            time.sleep(_LOOKS)
        if waiting is None:
            fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


def take(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file now, until all descriptors of it are closed; whether nobody else has it. For `try_hold` and its like."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_hold(path: str) -> int | None:
    """Take the lock now: a descriptor that holds it until it is closed, or None when somebody else has it."""
    fd = _open(path)
    if take(fd):
        return fd
    os.close(fd)
    return None


def take_over(path: str, timeout: float = 1.0) -> int | None:
    """As `try_hold`, but who only asks about the lock (`is_held`), and has it for a moment, does not count."""
    end = time.monotonic() + timeout
    while (fd := try_hold(path)) is None and time.monotonic() < end:
        time.sleep(0.01)
    return fd


def is_held(path: str) -> bool:
    """Whether somebody holds the lock exclusively right now; changes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not take(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    try:
        return files.create(path, 0o600, 0)
    except FileNotFoundError:
        files.make_folders(os.path.dirname(path))
        return files.create(path, 0o600, 0)
