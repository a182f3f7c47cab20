"""Control groups on v1, hybrid and v2: find the form, make and remove groups, move and kill processes.

Groups are named relative to every hierarchy ("reconciler/ID"). Limits are the OCI runtime's business.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import time

from reconciler.engine.kernel import files
from reconciler.engine.kernel.effects import effect

MOUNT = "/sys/fs/cgroup"
_NO_TASKS_WITHOUT_SETUP = frozenset({"cpuset"})
"""v1 controllers whose fresh groups take no process until they are configured."""


_ATTEMPTS = 100


@functools.cache
def form() -> str:
    """Tell v1, hybrid and v2 apart; an empty string where no cgroups are mounted."""
    kinds = _mounted()
    if kinds.get(MOUNT) == "cgroup2":
        return "v2"
    if kinds.get(MOUNT + "/unified") == "cgroup2":
        return "hybrid"
    return "v1" if "cgroup" in kinds.values() else ""


@functools.cache
def hierarchies() -> tuple[str, ...]:
    """The mount points of all hierarchies, v2 last."""
    kinds = _mounted()
    ones = sorted(path for path, kind in kinds.items() if kind == "cgroup")
    twos = sorted(path for path, kind in kinds.items() if kind == "cgroup2")
    return (*ones, *twos)


def _mounted() -> dict[str, str]:
    found = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            _, path, kind, *_ = line.split(" ")
            if kind in ("cgroup", "cgroup2") and path.startswith(MOUNT) and os.path.isdir(path):
                found[path] = kind
    return found


@effect
def _write_control(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def enter(group: str, pid: int) -> None:
    """Move a process into `group` in every hierarchy that takes it, making the group where it is missing.

    So a monitor leaves the session or unit that started it, and is not ended with it.
    """
    for hierarchy in hierarchies():
        if os.path.basename(hierarchy) in _NO_TASKS_WITHOUT_SETUP:
            continue
        path = os.path.join(hierarchy, group)
        for _ in range(_ATTEMPTS):
            try:
                _write_control(path + "/cgroup.procs", str(pid))
                break
            except FileNotFoundError:  # also when another process has just removed an empty one
                files.make_folders(path, 0o755)
            except ProcessLookupError:
                return


def members(group: str) -> set[int]:
    """The processes in `group`, in whatever hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        with (
            contextlib.suppress(OSError, ValueError),
            open(f"{hierarchy}/{group}/cgroup.procs", encoding="ascii") as file,
        ):
            found.update(int(line) for line in file)
    found.discard(0)
    return found


def kill(group: str, timeout: float = 10.0) -> bool:
    """SIGKILL everything in `group` and wait until it is empty; returns whether it is."""
    end = time.monotonic() + timeout
    while True:
        alive = members(group)
        if not alive:
            return True
        for pid in alive:
            with contextlib.suppress(OSError):
                fd = os.pidfd_open(pid)
                try:
                    _kill_member(fd)
                finally:
                    os.close(fd)
        thaw(group)
        if time.monotonic() > end:
            return False
        time.sleep(0.001)


@effect
def _kill_member(pidfd: int) -> None:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def thaw(group: str) -> None:
    """Let a frozen group run on: on v1 a frozen process does not even die."""
    for path, text in ((f"{MOUNT}/freezer/{group}/freezer.state", "THAWED"), (f"{MOUNT}/{group}/cgroup.freeze", "0")):
        with contextlib.suppress(OSError):
            if os.path.exists(path):
                _write_control(path, text)


def remove(group: str, timeout: float = 10.0) -> None:
    """Remove `group` and what is below it from every hierarchy; nothing there is fine.

    Waits while processes that have just ended still count. Raises OSError (EBUSY) when one lives on.
    """
    end = time.monotonic() + timeout
    for hierarchy in hierarchies():
        _remove(os.path.join(hierarchy, group), end)


def remove_empty(*groups: str) -> bool:
    """Remove groups, in this order, from every hierarchy where they are empty; returns whether any is left."""
    left = False
    for path in (os.path.join(hierarchy, group) for hierarchy in hierarchies() for group in groups):
        try:
            files.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            left = True
    return left


def _remove(path: str, end: float) -> None:
    while True:
        try:
            files.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            for name in os.listdir(path):
                if os.path.isdir(os.path.join(path, name)):
                    _remove(os.path.join(path, name), end)
            if time.monotonic() > end:
                raise
            time.sleep(0.001)
        else:
            return


def is_frozen(group: str) -> bool:
    """Whether the group's processes are frozen (paused)."""
    for path, word in (
        (f"{MOUNT}/freezer/{group}/freezer.state", "FROZEN"),
        (f"{MOUNT}/{group}/cgroup.freeze", "1"),
    ):
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip() == word
        except OSError:
            continue
    return False
