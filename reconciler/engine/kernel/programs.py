"""Starting programs. Each is its own session, unless it shall share our terminal.

A terminal's Ctrl-C so reaches only the command line itself, which ends at a safe point; what it started ends its work.
Apart from `kernel.processes`, because `subprocess` takes its time to load and a look at the machine needs none of it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

from reconciler.engine.kernel import processes
from reconciler.engine.kernel.effects import effect
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NR_OPEN_TREE = 428
_NR_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOUNT_ATTR_RDONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)

NULL = subprocess.DEVNULL
"""For a standard stream: nothing to read, what is written vanishes. None means ours."""

TimeoutExpired = subprocess.TimeoutExpired
"""A program took longer than it may."""

Started = subprocess.Popen[bytes]
"""A process that was started; `wait()` for its exit code, negative for a signal."""


class Finished(Frozen):
    """How a process ended; output as text with undecodable bytes replaced."""

    code: int
    out: str
    err: str


@effect
def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    new_session: bool = True,
    executable: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program; raises FileNotFoundError where it is not installed."""
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=new_session,
        executable=executable,
    )


def spawn_detached(argv: Sequence[str]) -> Started:
    """Start a program that goes on without us: own session, cwd /, nothing on its standard streams."""
    return _detach(spawn(argv, cwd="/"))


_detached: set[int] = set()
"""Children that nobody waits for."""


def _detach(process: Started) -> Started:
    _detached.add(process.pid)
    process.returncode = 0  # without this the interpreter warns of a child that still runs
    return process


def reap_detached() -> None:
    """Take leave of what was started detached and has ended: until then it is a zombie. For who goes on for long."""
    for pid in tuple(_detached):
        try:
            if processes.try_reap(pid) is None:
                continue
        except ChildProcessError:
            pass  # another thread was quicker
        _detached.discard(pid)


def run(
    argv: Sequence[str],
    *,
    data: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    timeout: float = 120.0,
) -> Finished:
    """Start a program, feed it `data`, wait for its end. A program over its time is killed and TimeoutExpired raised."""
    process = spawn(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = process.communicate(data, timeout=timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Finished(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def spawn_sealed(argv: Sequence[str]) -> Started:
    """Like `spawn_detached`, from a read-only mount of the program that nobody has anywhere.

    A process in a container can have us execute `/proc/self/exe`, and open what that stands for, also once we are gone;
    it must not be able to write to it (CVE-2019-5736). Raises OSError where the kernel can't (before 5.12).
    """
    fd = _sealed(os.path.realpath(argv[0]))
    try:
        return _detach(spawn(argv, cwd="/", executable=f"/proc/self/fd/{fd}", pass_fds=(fd,)))
    finally:
        os.close(fd)


@effect
def _sealed(path: str) -> int:
    """open_tree(2) and mount_setattr(2): a descriptor of the file on a mount of its own, which is read-only."""
    fd = _libc.syscall(
        ctypes.c_long(_NR_OPEN_TREE), _AT_FDCWD, os.fsencode(path), ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    )
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"open_tree: {os.strerror(ctypes.get_errno())}", path)
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY)
    call = (ctypes.c_long(_NR_MOUNT_SETATTR), fd, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), ctypes.c_size_t(32))
    if _libc.syscall(*call) < 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, f"mount_setattr: {os.strerror(number)}", path)
    return int(fd)
