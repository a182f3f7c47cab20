"""Logs as conmon writes them (format "k8s-file"): reading, following over rotations, rotating without loss.

Each line is `TIME STREAM F|P TEXT`; P is a piece of a line that goes on. Rotation renames LOG to LOG.1 (LOG.1 to LOG.2
...) and has conmon reopen: nothing is lost, unlike conmon's own limit, which throws the old file away.
"""

from __future__ import annotations

import collections
import itertools
import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import monitor
from reconciler.engine.kernel import files, locks, notify
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.paths import Paths

_CHUNK = 1 << 16


class Line(Frozen):
    """`stream` is stdout or stderr; `time` as written (RFC 3339, local offset); `partial`: the line goes on."""

    time: str
    stream: str
    data: bytes
    partial: bool


def parse(raw: bytes) -> Line | None:
    """One line of a log file without its newline; None for one that conmon did not write."""
    parts = raw.split(b" ", 3)
    if len(parts) < 4 or parts[2] not in (b"F", b"P"):
        return None
    return Line(parts[0].decode("ascii", "replace"), parts[1].decode("ascii", "replace"), parts[3], parts[2] == b"P")


def read(
    paths: Paths,
    container_id: str,
    *,
    tail: int | None = None,
    follow: bool = False,
    ended: Callable[[], bool] = lambda: True,
) -> Iterator[Line]:
    """What is kept (the last `tail` lines of it), oldest first; with `follow` also what is to come.

    Following ends once `ended()` and all is read. A rotation meanwhile is noticed by the file's inode: the old file is
    read to its end first.
    """
    if not os.path.isdir(paths.container(container_id)):
        return  # nothing was ever written, or it is gone
    log = _Log(paths.log(container_id))
    try:
        over = ended()
        yield from log.old() if tail is None else log.last(tail)
        yield from log.current()
        if not follow:
            return
        with notify.Folder(os.path.dirname(log.path), modified=True) as changes:
            while not over:
                over = ended()
                yield from log.current()
                if not over:
                    changes.wait(0.5)
    finally:
        log.close()


def _backwards(fd: int) -> Iterator[bytes]:
    """The lines of a file from its end, without their newlines."""
    position = os.fstat(fd).st_size
    rest = b""
    while position > 0:
        length = min(_CHUNK, position)
        position -= length
        first, *others = (os.pread(fd, length, position) + rest).split(b"\n")
        yield from reversed(others)
        rest = first
    yield rest


class _Log:
    """Reads a log file and its rotated predecessors once each, in order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._rest = b""

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def old(self) -> Iterator[Line]:
        """What was rotated away already, oldest first."""
        for fd in reversed(self._open_all()):
            yield from self._lines(fd)
            os.close(fd)

    def last(self, count: int) -> list[Line]:
        """The last `count` lines of all there is, read from the end; `current` goes on after them.

        The pieces of a line count as one.
        """
        older = self._open_all()
        found: collections.deque[Line] = collections.deque()
        if self._fd >= 0:
            os.lseek(self._fd, 0, os.SEEK_END)
        for raw in itertools.chain.from_iterable(_backwards(fd) for fd in (self._fd, *older) if fd >= 0):
            if line := parse(raw):
                if not line.partial or not found:  # the end of a line, or of one that is not finished yet
                    count -= 1
                if count < 0:
                    break
                found.appendleft(line)
        for fd in older:
            os.close(fd)
        return list(found)

    def _open_all(self) -> list[int]:
        """Open the current file; returns the rotated ones, newest first.

        Under the rotation's lock, so that no file is read twice or missed.
        """
        with locks.held(self.path + ".lock"):
            self._open()
            older: list[int] = []
            while os.path.exists(path := f"{self.path}.{len(older) + 1}"):
                older.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return older

    def current(self) -> Iterator[Line]:
        """What has come since the last call, over rotations."""
        while True:
            if self._fd < 0 and not self._open():
                return
            yield from self._lines(self._fd)
            if not self._moved():
                return
            # The writer turned to the new file before this one was renamed out of reach of its last lines: read again.
            yield from self._lines(self._fd)
            self._advance()

    def _advance(self) -> None:
        """Go on with the file that followed ours; there may be several by now."""
        ours = os.fstat(self._fd).st_ino
        with locks.held(self.path + ".lock"):
            number = 1
            while os.path.exists(f"{self.path}.{number}") and os.stat(f"{self.path}.{number}").st_ino != ours:
                number += 1
            # Ours may have been thrown away by now: then the oldest that is left comes next.
            lost = not os.path.exists(f"{self.path}.{number}")
            older = number - 1
            successor = f"{self.path}.{older}" if older and (lost or number > 1) else self.path
            fd = os.open(successor, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._fd = fd

    def _open(self) -> bool:
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def _moved(self) -> bool:
        try:
            return os.stat(self.path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return False

    def _lines(self, fd: int) -> Iterator[Line]:
        while data := os.read(fd, _CHUNK):
            *whole, self._rest = (self._rest + data).split(b"\n")
            for raw in whole:
                if line := parse(raw):
                    yield line


def rotate_if_due(paths: Paths, record: Record) -> bool:
    """Rotate the log of a running container when it has reached its limit; returns whether it was.

    `log_max_file` files stay, the one being written to included; with one, the file just filled stays beside it all
    the same: at least the last `log_max_size` bytes can be read at any time.
    """
    limit, path = record.config.log_max_size, paths.log(record.id)
    if not limit or _size(path) < limit:
        return False
    with locks.held(path + ".lock"):
        if _size(path) < limit:
            return False
        keep = max(2, record.config.log_max_file)
        files.remove_file(f"{path}.{keep - 1}")
        for number in range(keep - 2, 0, -1):
            if os.path.exists(f"{path}.{number}"):
                files.rename(f"{path}.{number}", f"{path}.{number + 1}")
        with monitor.controlled(paths, record.id) as reopen:
            files.rename(path, f"{path}.1")
            reopen()
        _wait_until(lambda: os.path.exists(path))
    return True


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _wait_until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Conmon opens its new file within moments; its old one takes the lines until then."""
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
