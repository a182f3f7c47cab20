"""Processes that run: who is who, signals, waiting for an end. Starting them is `kernel.programs`' business."""

from __future__ import annotations

import os
import select
import signal
import time

from reconciler.engine.kernel.effects import effect


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat (clock ticks since boot), 0 if there is no such process or only its zombie.

    (pid, start time, boot id) names a process for ever; a pid alone does not.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def process_state(pid: int) -> str:
    """The state letter of /proc/PID/stat (R, S, D, Z, T, ...), "" if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split(None, 1)[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def first_child(pid: int) -> int:
    """A process's oldest child, 0 if it has none."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return int(next(iter(file.read().split()), 0))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def receives(pid: int, number: int) -> bool:
    """Whether a signal would do something to the first process of a pid namespace: it is caught, or blocked for later.

    For such a process the default action of a signal is to ignore it (pid_namespaces(7)).
    """
    masks = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("SigCgt:", "SigBlk:")):
                    name, _, digits = line.partition(":")
                    masks[name] = int(digits, 16)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(mask >> (number - 1) & 1 for mask in masks.values())


CAP_SYS_RESOURCE = 24


def has_capability(number: int) -> bool:
    """Whether this process has a capability (capability(7)) in its effective set."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        digits = next((line for line in file if line.startswith("CapEff:")), "CapEff: 0").split()[1]
    return bool(int(digits, 16) >> number & 1)


def oom_score() -> int:
    """The oom_score_adj (proc(5)) of this process, which what it starts inherits."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        return int(file.read())


def lowest_oom_score(wanted: int) -> int:
    """The oom_score_adj nearest to `wanted` that this process may give: only a privileged one lowers it."""
    own = oom_score()
    return own if wanted < own and not has_capability(CAP_SYS_RESOURCE) else wanted


def machine_goes_down() -> bool:
    """Whether systemd is about to end all processes that are left: by then PID 1 is another program of its (bootup(7))."""
    try:
        with open("/proc/1/comm", "rb") as file:
            return file.read().startswith(b"systemd-shutdow")
    except OSError:
        return False


def boot_id() -> str:
    """The kernel's id of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def open_process(pid: int, started: int) -> int:
    """A pidfd for exactly that process, -1 if it is gone (or its pid belongs to somebody else by now)."""
    try:
        fd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return -1
    if started and start_time(pid) != started:
        os.close(fd)
        return -1
    return fd


@effect
def send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2); raises ProcessLookupError when it has ended."""
    signal.pidfd_send_signal(pidfd, number)


def wait_for_end(pidfd: int, timeout: float | None) -> bool:
    """Wait until the process has ended, at most `timeout` seconds (None: for ever); returns whether it has."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if timeout is None:
        return bool(poller.poll())
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        if poller.poll(max(0.0, left) * 1000):
            return True
        if left <= 0:
            return False


@effect
def try_reap(pid: int) -> int | None:
    """waitpid(2) for a child, without waiting: its exit code, negative for a signal; None while it has not ended.

    Raises ChildProcessError where it is no child of ours.
    """
    ended, code = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(code) if ended else None


def open_monitor(pid: int, argument: str) -> int:
    """A pidfd for that process if `argument` is one of its command line's words, -1 otherwise.

    Tells the process from a stranger that got its pid, where no start time was recorded.
    """
    fd = open_process(pid, 0) if pid > 0 else -1
    if fd < 0:
        return -1
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if os.fsencode(argument) in file.read().split(b"\0"):
                return fd
    except (FileNotFoundError, ProcessLookupError):
        pass
    os.close(fd)
    return -1
