"""A container's limits as the OCI runtime is told them at create: cgroup, setrlimit(2), kernel parameters. Pure.

Sources: runtime-spec config-linux.md; Docker's rules for what is left out. Limits of a container that runs already are
`limits`' business.
"""

from __future__ import annotations

import resource
from math import ceil, log2
from typing import TYPE_CHECKING, Any

from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engine.records import ContainerConfig, ResourceConfig, UlimitConfig

PERIOD = 100_000
"""Microseconds of the scheduler's period, the kernel's default and what `cpus` is measured in."""

SHARES = 1024
"""Everybody's weight."""

UNLIMITED = -1

SHM_SIZE = 64 << 20

OPEN_FILES = 1048576
"""Files that a process may have open, soft and hard limit: what Docker's daemon gives, by its service file."""

_RLIM_INFINITY = (1 << 64) - 1


class Limits(Frozen):
    """What a cgroup is to hold: UNLIMITED or a number; `swap` is of memory and swap together, `cpuset` "" = all.

    Memory in bytes, quota and period in microseconds.
    """

    memory: int = UNLIMITED
    swap: int = UNLIMITED
    reservation: int = UNLIMITED
    shares: int = SHARES
    quota: int = UNLIMITED
    period: int = PERIOD
    cpuset: str = ""
    pids: int = UNLIMITED


def limits_of(config: ResourceConfig) -> Limits:
    """The limits with Docker's rules for what is left out: swap is as much as memory, `cpus` a share of 100 ms."""
    swap = config.memory_swap or 2 * config.memory
    quota = round(config.cpus * PERIOD) if config.cpus else config.cpu_quota
    return Limits(
        memory=config.memory or UNLIMITED,
        swap=swap if config.memory else UNLIMITED,
        reservation=config.memory_reservation or UNLIMITED,
        shares=config.cpu_shares or SHARES,
        quota=quota or UNLIMITED,
        period=config.cpu_period or PERIOD,
        cpuset=config.cpuset,
        pids=config.pids or UNLIMITED,
    )


def weight_of(shares: int) -> int:
    """The weight of cgroup v2 for shares of v1: 1, 100 and 10000 for 2, 1024 (everybody's) and 262144, and in between.

    OCI runtimes differ in it by release; older ones put 1024 far below a group that has no weight set.
    """
    exponent = log2(shares)
    return ceil(round(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34), 6))


def oci_resources(config: ResourceConfig, *, swap_counted: bool, v2: bool) -> dict[str, Any]:
    """The parts of `linux.resources` that are limits: only those that are set. `swap_counted`: swap can be limited."""
    limits = limits_of(config)
    memory: dict[str, Any] = {}
    if config.memory:
        memory["limit"] = limits.memory
        if swap_counted:
            memory["swap"] = limits.swap
    if config.memory_reservation:
        memory["reservation"] = limits.reservation
    if config.swappiness is not None:
        memory["swappiness"] = config.swappiness
    if config.oom_kill_disable:
        memory["disableOOMKiller"] = True
    cpu: dict[str, Any] = {}
    if config.cpu_shares and not v2:
        cpu["shares"] = limits.shares
    if config.cpus or config.cpu_quota or config.cpu_period:
        cpu["period"] = limits.period
        cpu["quota"] = limits.quota
    if config.cpuset:
        cpu["cpus"] = limits.cpuset
    pids = {"limit": limits.pids} if config.pids else {}
    unified = {"cpu.weight": str(weight_of(limits.shares))} if config.cpu_shares and v2 else {}
    parts = {"memory": memory, "cpu": cpu, "pids": pids, "unified": unified}
    return {name: part for name, part in parts.items() if part}


def oci_rlimits(ulimits: Sequence[UlimitConfig]) -> list[dict[str, Any]]:
    """The process's `rlimits`: those that are set, and Docker's for open files where that is not."""
    found = [
        {"type": f"RLIMIT_{one.name.upper()}", "soft": _amount(one.soft), "hard": _amount(one.hard)} for one in ulimits
    ]
    if all(one.name != "nofile" for one in ulimits):
        found.append(_open_files())
    return found


def _amount(number: int) -> int:
    return _RLIM_INFINITY if number == UNLIMITED else number


def _open_files() -> dict[str, Any]:
    """The same for every start, whatever soft limit the caller's shell or the exit hook has; no more than our hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    return {"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}


def oci_sysctls(config: ContainerConfig) -> dict[str, str]:
    """`linux.sysctl`. The domain name is one of them too: that field of the OCI's is younger than the runtimes."""
    domain = {"kernel.domainname": config.names.domain} if config.names.domain else {}
    return {**domain, **config.sysctls}
