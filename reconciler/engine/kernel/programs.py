"""Starting programs. Each is its own session, unless it shall share our terminal.

A terminal's Ctrl-C so reaches only the command line itself, which ends at a safe point; what it started ends its work.
Apart from `kernel.processes`, because `subprocess` takes its time to load and a look at the machine needs none of it.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from reconciler.engine.kernel.effects import effect
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    )


def spawn_detached(argv: Sequence[str]) -> Started:
    """Start a program that goes on without us: own session, cwd /, nothing on its standard streams."""
    process = spawn(argv, cwd="/")
    # Nobody waits for it here; without this the interpreter warns of a child that still runs.
    process.returncode = 0
    return process


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
