"""Waiting for something to appear in a folder: inotify(7). A hint only: who wakes up looks for himself."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files

if TYPE_CHECKING:
    from typing import Self

_IN_CLOEXEC_NONBLOCK = 0o2004000
_IN_MODIFY = 0x2
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("iIII")
"""struct inotify_event: watch descriptor, mask, cookie, length of the name that follows."""

_libc = ctypes.CDLL(None, use_errno=True)


class Folder:
    """Wakes up when a file is made in, or moved into, the folder, which is made when it is missing."""

    def __init__(self, path: str, *, modified: bool = False) -> None:
        """With `modified`, also when a file in it is written to."""
        files.make_folders(path)
        self._fd = _libc.inotify_init1(_IN_CLOEXEC_NONBLOCK)
        mask = _IN_MOVED_TO | _IN_CREATE | (_IN_MODIFY if modified else 0)
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        self._own = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._own, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def descriptor(self) -> int:
        """For who polls others too: readable when something has happened, and `names` tells what."""
        return int(self._fd)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._fd)
        os.close(self._own)

    def wake(self) -> None:
        """End a wait, from another thread."""
        os.eventfd_write(self._own, 1)

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; returns whether something happened since the last call."""
        return bool(self.names(timeout))

    def names(self, timeout: float) -> set[str]:
        """Wait as `wait` does; the names of what has appeared (or was written to), "" where the kernel lost count.

        Empty after `timeout`, and after a `wake`.
        """
        found: set[str] = set()
        for fd, _ in self._poll.poll(max(0.0, timeout) * 1000):
            if fd == self._own:
                os.eventfd_read(fd)
                continue
            data = os.read(fd, 1 << 16)
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                name = os.fsdecode(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0"))
                found.add("" if mask & _IN_Q_OVERFLOW else name)
                data = data[_EVENT.size + length :]
        return found
