"""Control groups on v1, hybrid and v2: find the form and the controllers, make and remove groups, move and kill processes.

Groups are named relative to every hierarchy ("reconciler/ID"). Limits are set by the OCI runtime when it makes a group,
and changed by `limits` in the engine's containers; here are only the files.
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
_FREEZING = 0.05
"""Seconds that a group is given to freeze before it is killed all the same."""


@functools.cache
def form() -> str:
    """Tell v1, hybrid and v2 apart; an empty string where no cgroups are mounted."""
    kinds = {path: kind for path, (kind, _) in _mounted().items()}
    if kinds.get(MOUNT) == "cgroup2":
        return "v2"
    if kinds.get(MOUNT + "/unified") == "cgroup2":
        return "hybrid"
    return "v1" if "cgroup" in kinds.values() else ""


@functools.cache
def hierarchies() -> tuple[str, ...]:
    """The mount points of all hierarchies, v2 last."""
    mounted = _mounted()
    ones = sorted(path for path, (kind, _) in mounted.items() if kind == "cgroup")
    twos = sorted(path for path, (kind, _) in mounted.items() if kind == "cgroup2")
    return (*ones, *twos)


def _mounted() -> dict[str, tuple[str, list[str]]]:
    """Kind and options of each hierarchy that is mounted, by its path."""
    found = {}
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            _, path, kind, options, *_ = line.split(" ")
            if kind in ("cgroup", "cgroup2") and path.startswith(MOUNT) and os.path.isdir(path):
                found[path] = (kind, options.split(","))
    return found


@functools.cache
def controller(name: str) -> str:
    """The mount point of the hierarchy that a controller ("memory", "cpu", ...) is on, "" where there is none."""
    if form() == "v2":
        return MOUNT if name in files.read_text(f"{MOUNT}/cgroup.controllers").split() else ""
    mounted = _mounted().items()
    return next((path for path, (kind, options) in mounted if kind == "cgroup" and name in options), "")


def is_delegated(name: str) -> bool:
    """Whether groups below the top can have the controller: on v2 not where we are inside a group with processes.

    cgroup v2's rule of no internal processes; the machine's real top is free of it (cgroups(7)).
    """
    if not controller(name):
        return False
    if form() != "v2" or not os.path.exists(f"{MOUNT}/cgroup.type"):
        return True
    return (
        name in files.read_text(f"{MOUNT}/cgroup.subtree_control").split()
        or not files.read_text(f"{MOUNT}/cgroup.procs").strip()
    )


@functools.cache
def counts_swap() -> bool:
    """Whether memory and swap together can be limited: kernels can be built or booted without that."""
    folder = controller("memory")
    if form() != "v2":
        return bool(folder) and os.path.exists(f"{folder}/memory.memsw.limit_in_bytes")
    with os.scandir(MOUNT) as entries:
        groups = [entry.path for entry in entries if os.path.exists(f"{entry.path}/memory.max")]
    return not groups or any(os.path.exists(f"{group}/memory.swap.max") for group in groups)


def processors() -> set[int]:
    """The numbers of the processors that groups may run on."""
    folder = controller("cpuset")
    name = "cpuset.cpus.effective" if form() == "v2" else "cpuset.effective_cpus"
    text = files.read_text(f"{folder}/{name}") if folder else ""
    return numbers(text or files.read_text("/sys/devices/system/cpu/online"))


def numbers(text: str) -> set[int]:
    """The numbers of a list as in cpuset(7): "0-2,7"."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found


def read(group: str, name: str) -> str:
    """The content of a controller's file ("memory.max") of a group, "" where there is no such file."""
    return files.read_text(_file(group, name)).strip()


def write(group: str, name: str, text: str) -> None:
    """Write to a controller's file of a group. Raises OSError: FileNotFoundError without the group or the file."""
    path = _file(group, name)
    try:
        _write_control(path, text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _file(group: str, name: str) -> str:
    """On v2 some files are there without their controller (cpu.stat)."""
    folder = MOUNT if form() == "v2" else controller(name.partition(".")[0])
    return f"{folder or MOUNT}/{group}/{name}"


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


def unified(group: str) -> str:
    """The path of a group in the v2 hierarchy of a hybrid machine."""
    return f"{MOUNT}/unified/{group}"


def rouse() -> None:
    """Have the kernel ready to move processes: the first move after a rest waits some 10 ms for RCU, those soon after don't.

    It takes that time itself (run it ahead, beside other work), and puts us where we are: nothing changes.
    """
    with contextlib.suppress(OSError):
        _write_control(_own_procs(), "0")


@functools.cache
def _own_procs() -> str:
    """The file that lists the processes of the group in which we are, in one hierarchy: one lock is for all of them."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        groups = {names: path for _, names, path in (line.rstrip("\n").split(":", 2) for line in file)}
    folder = {"v2": MOUNT, "hybrid": f"{MOUNT}/unified"}.get(form(), _tracking())
    return f"{folder}{groups.get('' if form() != 'v1' else 'freezer', '').rstrip('/')}/cgroup.procs"


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


def part(group: str, name: str) -> tuple[str, tuple[str, ...]]:
    """A part of `group` that only keeps track of processes, made where it is missing. Raises OSError without the group.

    Returns it, for `members` and `kill_part`, and the files that a process writes itself to so as to be in the group,
    with all its limits, and in that part. It lies in one hierarchy: v2's, else the freezer's.
    """
    tracking = _tracking()
    inner = f"{group}/{name}"
    with contextlib.suppress(FileExistsError):
        files.mkdir(f"{tracking}/{inner}", 0o755)
    paths = [f"{tracking}/{inner}/cgroup.procs"]
    for hierarchy in hierarchies():
        path = f"{hierarchy}/{group}/cgroup.procs"
        if hierarchy != tracking and os.path.exists(path):
            paths.append(path)
    return inner, tuple(paths)


def _tracking() -> str:
    return MOUNT if form() == "v2" else f"{MOUNT}/freezer"


def kill_part(inner: str) -> bool:
    """SIGKILL everything in a part, once; returns whether it was empty. Frozen meanwhile, it can't fork faster than that."""
    alive = members(inner)
    folder = f"{_tracking()}/{inner}"
    if alive and not _killed_by_kernel(folder):
        with contextlib.suppress(OSError):
            _write_control(f"{folder}/freezer.state", "FROZEN")
            end = time.monotonic() + _FREEZING
            while files.read_text(f"{folder}/freezer.state").strip() != "FROZEN" and time.monotonic() < end:
                time.sleep(0.001)
        _kill_all(members(inner))
        thaw(inner)
    return not alive


def _killed_by_kernel(folder: str) -> bool:
    """Have the kernel kill all in a group; whether it knows how to."""
    path = f"{folder}/cgroup.kill"
    if not os.path.exists(path):
        return False
    with contextlib.suppress(OSError):  # it is just going
        _write_control(path, "1")
    return True


def _kill_all(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            try:
                _kill_member(fd)
            finally:
                os.close(fd)


def kill(group: str, timeout: float = 10.0) -> bool:
    """SIGKILL everything in `group` and wait until it is empty; returns whether it is.

    Where the kernel does it (v2, since 5.14) no fork is quick enough, nested groups are in it, and no AppArmor profile
    is asked whether it takes signals.
    """
    end = time.monotonic() + timeout
    _killed_by_kernel(f"{MOUNT}/{group}")
    while alive := members(group):
        _kill_all(alive)
        thaw(group)
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


@effect
def _kill_member(pidfd: int) -> None:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def freeze(group: str, timeout: float = 10.0) -> bool:
    """Stop all processes of the group where they are, and wait until they have; returns whether they have.

    Where they have not in time, they run on: one that waits for a disk can't be frozen. Raises FileNotFoundError where
    nothing can freeze the group.
    """
    path, frozen, _ = _freezers(group)[form() == "v2"]
    _write_control(path, frozen)
    end = time.monotonic() + timeout
    while not _has_frozen(group):
        if time.monotonic() > end:
            thaw(group)
            return False
        time.sleep(0.001)
    return True


def _has_frozen(group: str) -> bool:
    """Not only told to freeze (`is_frozen` on v2), or about to (FREEZING on v1)."""
    if form() != "v2":
        return is_frozen(group)
    with open(f"{MOUNT}/{group}/cgroup.events", encoding="ascii") as file:
        return "frozen 1" in file.read().splitlines()


def thaw(group: str) -> None:
    """Let a frozen group run on: on v1 a frozen process does not even die."""
    for path, _, thawed in _freezers(group):
        with contextlib.suppress(OSError):
            if os.path.exists(path):
                _write_control(path, thawed)


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


def oom_kills(group: str) -> int:
    """How many processes of the group have been killed for want of memory, its own or the machine's; 0 if unknown."""
    for path in (f"{MOUNT}/memory/{group}/memory.oom_control", f"{MOUNT}/{group}/memory.events"):
        for line in files.read_text(path).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def is_frozen(group: str) -> bool:
    """Whether the group's processes are frozen (paused)."""
    return any(files.read_text(path).strip() == frozen for path, frozen, _ in _freezers(group))


def _freezers(group: str) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """The file that freezes a group on v1 and hybrid, and the one on v2, with what it holds when frozen and thawed."""
    return (
        (f"{MOUNT}/freezer/{group}/freezer.state", "FROZEN", "THAWED"),
        (f"{MOUNT}/{group}/cgroup.freeze", "1", "0"),
    )
