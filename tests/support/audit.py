"""Watches for effects that do not come from `reconciler.engine.kernel`: an audit hook (PEP 578), for tests only.

Python announces what it is about to do to the system. The innermost frame that belongs to the project, to a test or to
the import system answers for it: the project may change something only from the kernel (the store opens its database
and commits, too). What Python announces nothing of (mknod, write, pidfd_send_signal) is held by ruff's banned calls.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
PACKAGE = os.path.join(os.path.dirname(os.path.dirname(TESTS)), "reconciler") + os.sep
KERNEL = os.path.join(PACKAGE, "engine", "kernel") + os.sep
STORE = os.path.join(PACKAGE, "engine", "store.py")
GENERATOR = os.path.join(PACKAGE, "spec", "generate.py")  # a developer's tool: writes into the source tree

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MUTATING = frozenset(
    (
        *("os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.link"),
        *("os.lockf", "os.mkdir", "os.posix_spawn", "os.remove", "os.removexattr", "os.rename", "os.rmdir"),
        *("os.setxattr", "os.spawn", "os.symlink", "os.system", "os.truncate", "os.utime", "shutil.copyfile"),
        *("shutil.copytree", "shutil.move", "shutil.rmtree", "signal.pthread_kill", "subprocess.Popen"),
        *("sqlite3.connect", "ctypes.dlopen", "socket.bind", "socket.connect", "socket.sendmsg", "socket.sendto"),
        *("tempfile.mkdtemp", "tempfile.mkstemp"),
    )
)
"""The events that CPython 3.11 to 3.14 raise for changes to the system."""

found: list[str] = []
"""What was seen from elsewhere: the event, its arguments, and the stack."""


def _changes(event: str, arguments: tuple[object, ...]) -> bool:
    if event == "open":
        path, mode, flags = arguments
        if path == os.devnull or isinstance(path, int):
            return False
        if isinstance(flags, int) and flags & WRITES:
            return True
        return isinstance(mode, str) and any(letter in mode for letter in "wax+")
    return event in MUTATING


def _allowed(event: str, name: str) -> bool:
    return name.startswith(KERNEL) or name == GENERATOR or (name == STORE and event == "sqlite3.connect")


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _changes(event, arguments):
        return
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            if not _allowed(event, name):
                stack = "".join(traceback.format_stack(frame, 6))
                found.append(f"{event}{arguments!r} from outside engine/kernel:\n{stack}")
            return
        if name.startswith((TESTS, "<frozen importlib")):
            return
        frame = frame.f_back


@functools.cache
def install() -> None:
    """For this process, for good: an audit hook can't be removed."""
    sys.addaudithook(_hook)


def take() -> list[str]:
    """What was found since the last call."""
    taken = found[:]
    found.clear()
    return taken
