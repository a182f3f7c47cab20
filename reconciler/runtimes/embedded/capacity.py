"""Which limits this machine can give a container: judges for `refusals`, each asked only where its field is set.

Messages are Docker's where it has one. They look at control groups, rights and kernel parameters, and change nothing.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from reconciler.engine.kernel import cgroups, processes, sysctl

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.desired import Ulimit

    _Found = tuple[str, str] | None
    """(message, hint), or None where it can be done."""

_WITHOUT_LIMIT = -1


def _needs(controller: str) -> Callable[[Any], _Found]:
    return lambda _value: _missing(controller)


def _missing(controller: str) -> _Found:
    """What is wrong with a controller that limits need."""
    if not cgroups.form():
        return "it can't be limited: no control groups are mounted at /sys/fs/cgroup", "mount cgroup2 there"
    if not cgroups.controller(controller):
        hint = "boot the kernel with cgroup_enable=memory" if controller == "memory" else "it needs another kernel"
        return f"it can't be limited: this machine has no {controller} controller for control groups", hint
    if not cgroups.is_delegated(controller):
        return (
            f"it can't be limited: the {controller} controller is not enabled for groups below the one we are in",
            "run reconciler outside of that group, or move its processes into a group of their own",
        )
    return None


def _swap(_value: int) -> _Found:
    if found := _missing("memory"):
        return found
    if not cgroups.counts_swap():
        return (
            "this kernel does not count swap, so memory and swap together can't be limited",
            "leave memswap_limit out",
        )
    return None


def _only_v1(name: str) -> Callable[[Any], _Found]:
    def judge(_value: Any) -> _Found:
        if cgroups.form() == "v2":
            return f"{name} is of cgroup v1, and this machine has v2", f"leave {name} out"
        return _missing("memory")

    return judge


def _cpus(value: float) -> _Found:
    there = len(cgroups.processors())
    if value > there:
        available = "as there is only 1 CPU" if there == 1 else f"as there are only {there} CPUs"
        return f"cpus is {value:g}: Range of CPUs is from 0.01 to {there:.2f}, {available} available", "give it less"
    return _missing("cpu")


def _cpuset(value: str) -> _Found:
    there = cgroups.processors()
    if cgroups.numbers(value) - there:
        spelled = _spelled(there)
        return f"Requested CPUs are not available - requested {value}, available: {spelled}", f"choose of {spelled}"
    return _missing("cpuset")


def _spelled(numbers: set[int]) -> str:
    """A set as in cpuset(7)."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _oom_score(value: int) -> _Found:
    if processes.lowest_oom_score(value) == value:
        return None
    return f"oom_score_adj can't be lowered to {value} without CAP_SYS_RESOURCE", "give it 0 or more"


def _ulimits(value: tuple[Ulimit, ...]) -> _Found:
    for one in value:
        if one.name == "nofile" and _above(one, _most_files()):
            return f"ulimit {one}: this kernel gives a process at most {_most_files()} open files", "give it less"
        number = _NUMBERS.get(one.name) or getattr(resource, f"RLIMIT_{one.name.upper()}")
        own = resource.getrlimit(number)[1]
        raised = own != resource.RLIM_INFINITY and _above(one, own)
        if raised and not processes.has_capability(processes.CAP_SYS_RESOURCE):
            hint = "give it no more, or run reconciler with CAP_SYS_RESOURCE"
            return f"ulimit {one} is above our own hard limit of {own}", hint
    return None


def _above(one: Ulimit, most: int) -> bool:
    return one.hard == _WITHOUT_LIMIT or one.hard > most


_NUMBERS = {"locks": 10}
"""Those that Python has no name for (asm-generic/resource.h)."""


def _most_files() -> int:
    return int(sysctl.read("fs/nr_open") or 1048576)


def _sysctls(value: dict[str, str]) -> _Found:
    for name, error in sysctl.refused(value).items():
        if isinstance(error, FileNotFoundError):
            return f"this kernel has no parameter {name} that a container could have of its own", "leave it out"
        if isinstance(error, PermissionError):
            return f"the kernel parameter {name} is the whole machine's, and read-only for a container", "leave it out"
        return f"this kernel does not take {value[name]!r} for {name}: {error.strerror}", "give it another value"
    return None


JUDGES: dict[str, Callable[[Any], _Found]] = {
    "mem_limit": _needs("memory"),
    "mem_reservation": _needs("memory"),
    "memswap_limit": _swap,
    "mem_swappiness": _only_v1("mem_swappiness"),
    "oom_kill_disable": _only_v1("oom_kill_disable"),
    "oom_score_adj": _oom_score,
    "cpus": _cpus,
    "cpu_shares": _needs("cpu"),
    "cpu_period": _needs("cpu"),
    "cpu_quota": _needs("cpu"),
    "cpuset": _cpuset,
    "pids_limit": _needs("pids"),
    "ulimits": _ulimits,
    "sysctls": _sysctls,
}
