"""Runs the builder's programs: output into a log, progress on the terminal, and nothing that outlives the builder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_started = time.monotonic()
_running: set[subprocess.Popen[str]] = set()
_guard = threading.Lock()
_ending = threading.Event()

# The program gets a mount and a process namespace of its own: when it ends, in whatever way, its mounts and its children
# are gone. The signal of the first command ends all of it when the builder dies, even by SIGKILL.
CONFINED = [
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
]


class BuildError(Exception):
    """An image that could not be built; the text says what failed and what to do."""


def say(image: str, message: str) -> None:
    print(f"[{time.monotonic() - _started:5.1f} s] {image}: {message}", flush=True)


def run(
    command: list[str],
    *,
    log: str,
    environment: dict[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Runs `command` with its output appended to the file `log`; raises CalledProcessError."""
    with open(log, "a", encoding="utf-8") as file, _guard:
        if _ending.is_set():
            raise KeyboardInterrupt
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | (environment or {}),
            start_new_session=True,  # Ctrl-C reaches only the builder, which ends the others itself
        )
        _running.add(process)
    try:
        with open(log, "a", encoding="utf-8") as file:
            for line in process.stdout or ():
                file.write(line)
                if on_line:
                    on_line(line.rstrip())
        if process.wait() != 0:
            raise KeyboardInterrupt if _ending.is_set() else subprocess.CalledProcessError(process.returncode, command)
    finally:
        with _guard:
            _running.discard(process)


def end_all() -> None:
    """Kills what runs; what would start later raises KeyboardInterrupt instead."""
    _ending.set()
    with _guard:
        for process in _running:
            process.kill()


def end_on_signals() -> None:
    """SIGTERM and SIGHUP end the builder as Ctrl-C does."""

    def stop(number: int, _frame: object) -> None:
        sys.stderr.write(f"ended by {signal.Signals(number).name}\n")
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
