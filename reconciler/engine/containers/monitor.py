"""conmon, the one process that stays beside a container: it holds stdio, log, exit code and the published ports.

How it is started so that a client killed at any moment leaves nothing deaf or undead: its report goes into a regular
file (a pipe would break it), where the next run finds it (conmon(8)).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import ending
from reconciler.engine.containers.runtime import message_of, need_program
from reconciler.engine.kernel import cgroups, files, processes, programs
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.engine.containers.runtime import OciRuntime
    from reconciler.engine.paths import Paths

_REPORT = "report"


class Launched(Frozen):
    """The container's first process, waiting to be let go, and its monitor; with their start times."""

    pid: int
    pid_start: int
    monitor: int
    monitor_start: int


def launch(
    paths: Paths,
    runtime: OciRuntime,
    container_id: str,
    name: str,
    hook: Sequence[str],
    ports: Sequence[int],
    meanwhile: Callable[[], None],
    *,
    terminal: bool = False,
    interactive: bool = False,
) -> Launched:
    """Start conmon, have it create the container from its bundle, and wait for its report.

    `ports` are bound sockets that conmon keeps for the container's life; `hook` is run after the container's end;
    `meanwhile` is called once the runtime is at work. With `terminal` the process has one, and its standard input is
    open; with `interactive` it is open without one, also when nobody is attached, or no longer. Raises ReconcilerError
    with the runtime's own words.
    """
    bundle = paths.bundle(container_id)
    if cgroups.form() == "hybrid":
        files.make_folders(cgroups.unified(paths.group(container_id)), 0o755)  # the wrapped runtime enters it
    report = files.create(os.path.join(bundle, _REPORT), 0o600, os.O_TRUNC | os.O_APPEND)
    folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        process = programs.spawn(
            [
                *_command_line(paths, runtime, container_id, name),
                *_stdio(terminal=terminal, interactive=interactive),
                *_hook_options(hook),
            ],
            env={
                "_OCI_SYNCPIPE": str(report),
                "PATH": ":".join(filter(None, (os.environ.get("PATH"), "/usr/sbin:/usr/bin:/sbin:/bin"))),
                # For the socket by which a terminal is handed over: a socket's path is 107 bytes at the most.
                "TMPDIR": f"/proc/{os.getpid()}/fd/{folder}" if terminal else bundle,
            },
            cwd=bundle,
            pass_fds=[report, *ports],
        )
        os.close(report)
        report = -1
        try:
            process.wait()
            meanwhile()
            # Out of the caller's session or unit, so as not to end with it; the kernel takes up to 10 ms for this.
            cgroups.enter(paths.monitors, _monitor_pid(bundle))
        finally:
            pid = _read_report(bundle)
    finally:
        os.close(folder)
        if report >= 0:
            os.close(report)
    monitor = _monitor_pid(bundle)
    return Launched(pid, processes.start_time(pid), monitor, processes.start_time(monitor))


def was_launched(paths: Paths, container_id: str) -> bool:
    """Whether a launch was begun of which something may still be there."""
    return os.path.lexists(os.path.join(paths.bundle(container_id), _REPORT))


def _command_line(paths: Paths, runtime: OciRuntime, container_id: str, name: str) -> list[str]:
    bundle = paths.bundle(container_id)
    program, *words = runtime.arguments()
    return [
        need_program("conmon", "conmon"),
        *("--api-version", "1", "-c", container_id, "-u", container_id, "-n", name),
        *("-r", program, "-b", bundle, "-p", os.path.join(bundle, "pidfile")),
        *("-P", os.path.join(bundle, "conmon.pid")),
        *("-l", f"k8s-file:{paths.log(container_id)}"),
        *("--exit-dir", paths.exits, "--persist-dir", bundle, "--full-attach"),
        *(f"--runtime-arg={word}" for word in words),
    ]


def _stdio(*, terminal: bool, interactive: bool) -> list[str]:
    """What is said of stdin is for a pipe; a terminal's stays open in any case (conmon(8), -i, -t)."""
    if terminal:
        return ["-t"]
    return ["-i", "--leave-stdin-open"] if interactive else []


def _hook_options(hook: Sequence[str]) -> list[str]:
    if not hook:
        return []
    return ["--exit-command", hook[0], *(part for word in hook[1:] for part in ("--exit-command-arg", word))]


def _read_report(bundle: str) -> int:
    """Wait for conmon's one line: {"data": PID}, or {"data": -1, "message": ...}."""
    text = wait_for_report(bundle)
    if not text:
        raise ReconcilerError(
            "conmon, the container's monitor, ended before the container was made",
            code="monitor",
            hint="see the system's log; the next try starts afresh",
        )
    try:
        answer = json.loads(text.decode("utf-8", "replace"), strict=False)
    except ValueError:
        answer = {"data": -1, "message": text.decode("utf-8", "replace")}
    if answer["data"] > 0:
        return int(answer["data"])
    raise ReconcilerError(message_of(str(answer.get("message", ""))), code="oci-runtime")


def wait_for_report(bundle: str, timeout: float = 120.0) -> bytes:
    """Conmon's report, once it is there; b"" when there is no monitor (any more) to write one."""
    path = os.path.join(bundle, _REPORT)

    def report() -> bytes:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            return file.read()
        return b""

    _wait(bundle, lambda: report().endswith(b"\n"), timeout)
    return report()


def wait_for_end(paths: Paths, container_id: str, timeout: float = 30.0) -> None:
    """Wait until the monitor has written the exit file or is gone; by then it holds no port and no log.

    Not until it is gone: it waits for its exit hook, and that may wait for a lock that the caller holds. One that
    does neither in time (nobody was there to report to) is killed.
    """
    bundle = paths.bundle(container_id)
    if _wait(bundle, lambda: ending.exit_code(paths, container_id) is not None, timeout):
        return
    fd = processes.open_monitor(_monitor_pid(bundle), bundle)
    if fd >= 0:
        with contextlib.suppress(ProcessLookupError):
            processes.send_signal(fd, signal.SIGKILL)
        os.close(fd)


def wait_for_code(paths: Paths, container_id: str, timeout: float = 30.0) -> None:
    """Wait until the monitor has drained the log and written the exit file; not for one that is gone."""
    _wait(paths.bundle(container_id), lambda: ending.exit_code(paths, container_id) is not None, timeout)


def _wait(bundle: str, done: Callable[[], bool], timeout: float) -> bool:
    """Wait until `done()`, or until there is no monitor (any more); False after `timeout` seconds with neither.

    It looks again and again: inotify(7) would tell when to, but to close one waits 10 ms for the kernel (SRCU), which is
    as long as the whole wait.
    """
    if done():
        return True
    fd = processes.open_monitor(_monitor_pid(bundle), bundle)
    if fd < 0:
        return True
    end = time.monotonic() + timeout
    pause = 0.0005
    try:
        while not done():
            if processes.wait_for_end(fd, 0.0):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.001)  # a start waits here: longer steps would overshoot by as much
    finally:
        os.close(fd)
    return True


def _monitor_pid(bundle: str) -> int:
    """From the file that conmon wrote before it went to the background; 0 if it did not."""
    try:
        with open(os.path.join(bundle, "conmon.pid"), encoding="ascii") as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


@contextlib.contextmanager
def controlled(paths: Paths, container_id: str) -> Iterator[Callable[[], None]]:
    """A function that tells conmon to open its log anew, after it was renamed. Raises OSError when no monitor listens.

    One control line a write: conmon loses the second of two (conmon 2.1).
    """
    fd = files.open_for_writing(os.path.join(paths.bundle(container_id), "ctl"), os.O_WRONLY | os.O_NONBLOCK)
    try:
        yield lambda: files.write_all(fd, b"2 0 0\n")
    finally:
        os.close(fd)
