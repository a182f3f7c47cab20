"""Advisory locks between processes and threads: flock(2) on a file of ours. The kernel frees them at a SIGKILL.

Not fcntl locks: those vanish when any descriptor of the file is closed and do not exclude threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def held(path: str, *, shared: bool = False) -> Iterator[None]:
    """Wait for the lock and hold it for the block; the folder is made when it is missing, the file stays."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_hold(path: str) -> int | None:
    """Take the lock now: a descriptor that holds it until it is closed, or None when somebody else has it."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def is_held(path: str) -> bool:
    """Whether somebody holds the lock exclusively right now; changes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _open(path: str) -> int:
    try:
        return files.create(path, 0o600, 0)
    except FileNotFoundError:
        files.make_folders(os.path.dirname(path))
        return files.create(path, 0o600, 0)
