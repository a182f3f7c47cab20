"""One run a stack at a time: a flock(2) in RUN/locks, held by a descriptor, so that a killed run lets go of it.

Not for the engine's records (they have locks of their own). May be imported by `loop`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files, locks, processes
from reconciler.kits.errors import LockedError
from reconciler.state import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOTE_SIZE = 1024
"""The holder's note fills exactly this much, so that one pwrite(2) replaces the note before it as a whole."""


class Holder:
    """Who holds a lock: process id, its command line and since when (seconds since the epoch)."""

    def __init__(self, pid: int, command: str, since: float) -> None:
        self.pid = pid
        self.command = command
        self.since = since

    def __str__(self) -> str:
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"pid {self.pid} ({self.command}) since {clock}"


@contextlib.contextmanager
def stack_lock(
    stack: str, command: str, *, wait: bool = True, on_wait: Callable[[str], None] | None = None
) -> Iterator[bool]:
    """Hold the lock of `stack`; `command` is what others read about us. Yields whether there was a wait.

    Held by somebody else: `on_wait` gets one line that names the holder, then this waits for as long as it takes; a
    KeyboardInterrupt ends the wait. Without `wait` it raises LockedError instead.
    """
    path = _path(stack)
    with contextlib.ExitStack() as held:
        fd = locks.try_hold(path)
        if fd is None:
            holder = _read_note(path)
            text = f"held by {holder}" if holder else "held by another process"
            if not wait:
                raise LockedError(f"stack {stack} is {text}", hint="leave out --no-wait to wait for it")
            if on_wait:
                on_wait(f"waiting for stack {stack}, {text}")
            held.enter_context(locks.held(path))
        else:
            held.callback(os.close, fd)
        _write_note(path, command)
        yield fd is None


def holder_of(stack: str) -> Holder | None:
    """Who holds the lock of `stack` now, None if nobody does."""
    path = _path(stack)
    return _read_note(path) if locks.is_held(path) else None


def _path(stack: str) -> str:
    return os.path.join(places.locks_folder(), f"stack-{stack}.lock")


def _write_note(path: str, command: str) -> None:
    note = json.dumps(
        {
            "pid": os.getpid(),
            "started": processes.start_time(os.getpid()),
            "command": command[: _NOTE_SIZE // 8],  # at most six bytes a character in JSON
            "since": time.time(),
        }
    )
    fd = files.open_for_writing(path)
    try:
        files.pwrite(fd, note.encode().ljust(_NOTE_SIZE), 0)
    finally:
        os.close(fd)


def _read_note(path: str) -> Holder | None:
    """The holder, None when the note is an earlier holder's: the new one has the lock but has not signed yet."""
    try:
        with open(path, "rb") as file:
            note = json.loads(file.read(_NOTE_SIZE))
        if note["started"] != processes.start_time(note["pid"]):
            return None
        return Holder(int(note["pid"]), str(note["command"]), float(note["since"]))
    except (ValueError, KeyError, TypeError):
        return None
