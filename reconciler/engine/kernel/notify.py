"""Waiting for something to appear in a folder: inotify(7). A hint only: who wakes up looks for himself."""

from __future__ import annotations

import ctypes
import os
import select
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files

if TYPE_CHECKING:
    from typing import Self

_IN_CLOEXEC_NONBLOCK = 0o2004000
_IN_MODIFY = 0x2
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100

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
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; returns whether something happened since the last call."""
        if not self._poll.poll(max(0.0, timeout) * 1000):
            return False
        os.read(self._fd, 1 << 16)
        return True
