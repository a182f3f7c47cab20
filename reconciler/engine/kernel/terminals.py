"""Terminal sizes: a command in a container shall know when its user's window changes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios

from reconciler.engine.kernel.effects import effect


@effect
def _set_size(fd: int, size: bytes) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, size)


def copy_size(terminal: int, pid: int) -> None:
    """Give the terminal on a process's standard input the size of ours; nothing happens where either is none.

    The kernel tells the programs there (SIGWINCH). The process may be in other namespaces.
    """
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
        fd = os.open(f"/proc/{pid}/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            _set_size(fd, size)
        finally:
            os.close(fd)
