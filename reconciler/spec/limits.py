"""What limits a spec gives a container: memory, processors, processes, ulimits, kernel parameters.

Text in, value out; `BadValueError` says what is wrong with a text. What this machine can give is not known here: the
runtime says so in the plan. For the spec room only. Source: Compose specification, services; docker run(1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.kits.text import quote
from reconciler.model.desired import Ulimit
from reconciler.spec import values
from reconciler.spec.findings import BadValueError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.model.desired import Container

LEAST_MEMORY = 6 << 20
"""Docker's own least; with less, the OCI runtime itself is killed."""

LEAST_PERIOD, MOST_PERIOD, LEAST_QUOTA = 1_000, 1_000_000, 1_000
"""Microseconds (sched-bwc in the kernel's documentation)."""

_ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack",
)  # fmt: skip
_CPUS = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", re.ASCII)
_DECIMAL = re.compile(r"[0-9]*\.?[0-9]+", re.ASCII)
_MOST_CPUS = 4096

_IPC_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    "kernel.shm_rmid_forced",
)  # fmt: skip
_SYSCTL = re.compile(r"[a-z0-9_]+([./][a-zA-Z0-9_-]+)+", re.ASCII)


def memory(text: str) -> int:
    """Bytes of memory, enough to start a process in."""
    size = values.size(text)
    if 0 < size < LEAST_MEMORY:
        raise BadValueError(f"{quote(text)} of memory is too little to start in", "6m is the least")
    return size


def memory_and_swap(text: str) -> int:
    """Bytes, or -1 for all swap there is."""
    return -1 if text == "-1" else memory(text)


def processors(text: str) -> float:
    """How many processors' time, in hundredths at the finest; 0 = no limit."""
    if not _DECIMAL.fullmatch(text) or float(text) > _MOST_CPUS or 0 < float(text) < 0.01:
        raise BadValueError(f"{quote(text)} is not a number of processors", "write it as 0.5 or 2; 0.01 is the least")
    return float(text)


def processor_set(text: str) -> str:
    """Numbers of processors and ranges of them, as in cpuset(7)."""
    if not _CPUS.fullmatch(text):
        raise BadValueError(f"{quote(text)} is no list of processors", "write it as 0-3 or 0,2")
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if int(last if dash else first) >= _MOST_CPUS or (dash and int(last) < int(first)):
            raise BadValueError(f"{quote(part)} in {quote(text)} is no range of processors", "write it as 0-3")
    return text


def shares(text: str) -> int:
    """A weight from 2 to 262144; 0 = as everybody."""
    number = values.count(text)
    if number and not 2 <= number <= 262_144:
        raise BadValueError(f"cpu_shares {quote(text)} is out of range", "from 2 to 262144; 1024 is everybody's")
    return number


def _microseconds(text: str) -> int:
    """A duration ("50ms"), or a bare number, which is of microseconds as in Docker."""
    if text.isascii() and text.isdigit():
        return values.count(text)
    return round(values.duration(text) * 1e6)


def period(text: str) -> int:
    """Microseconds of a period of the scheduler."""
    number = _microseconds(text)
    if number and not LEAST_PERIOD <= number <= MOST_PERIOD:
        raise BadValueError(f"the period {quote(text)} is out of range", "from 1ms to 1s")
    return number


def quota(text: str) -> int:
    """Microseconds of processor time in a period; -1 and 0 = no limit."""
    number = 0 if text == "-1" else _microseconds(text)
    if 0 < number < LEAST_QUOTA:
        raise BadValueError(f"the quota {quote(text)} is out of range", "1ms is the least")
    return number


def processes(text: str) -> int:
    """How many processes and threads; -1 and 0 = no limit."""
    if text.startswith("-") and text != "-1":
        raise BadValueError(f"{quote(text)} is no number of processes", "a whole number; 0 and -1 are no limit")
    return 0 if text == "-1" else values.count(text)


def swappiness(text: str) -> int:
    """A percentage."""
    number = values.count(text)
    if number > 100:
        raise BadValueError(f"mem_swappiness {quote(text)} is out of range", "from 0 to 100")
    return number


def oom_score(text: str) -> int:
    """What is added to a process's score when the kernel looks for one to kill (proc(5), oom_score_adj)."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 4 or abs(int(digits)) > 1000:
        raise BadValueError(f"oom_score_adj {quote(text)} is out of range", "a whole number from -1000 to 1000")
    return int(text)


def ulimit(name: str, soft: str, hard: str) -> Ulimit:
    """One limit; the texts are numbers, or -1 or "unlimited"."""
    if name not in _ULIMITS:
        raise BadValueError(f"unknown ulimit {quote(name)}{did_you_mean(name, _ULIMITS)}", ", ".join(_ULIMITS))
    low, high = _limit(name, soft), _limit(name, hard)
    if high != -1 and (low == -1 or low > high):
        raise BadValueError(f"the soft limit of {name} ({soft}) is above the hard one ({hard})")
    return Ulimit(name, low, high)


def _limit(name: str, text: str) -> int:
    if text in ("-1", "unlimited"):
        return -1
    if not (text.isascii() and text.isdigit()) or int(text[:20]) >= 1 << 63:
        raise BadValueError(f"{quote(text)} is no limit for {name}", "a whole number, or -1 for none")
    return int(text)


def sysctl(name: str) -> str:
    """A kernel parameter that belongs to a namespace of the container, so that setting it concerns nobody else."""
    if not _SYSCTL.fullmatch(name):
        raise BadValueError(f"{quote(name)} is no name of a kernel parameter", "write it as net.core.somaxconn")
    dotted = name.replace("/", ".") if "." not in name.partition("/")[0] else name
    if dotted not in _IPC_SYSCTLS and not dotted.startswith(("net.", "fs.mqueue.")):
        raise BadValueError(
            f"the kernel parameter {quote(name)} belongs to the whole machine",
            "those of a container begin with net. or fs.mqueue., or are of System V IPC (kernel.sem, kernel.shmmax ...)",
        )
    return dotted


def contradictions(container: Container) -> Iterator[tuple[str, str, str]]:
    """(key, message, hint) for each limit that does not go with another one of the container."""
    limit, both = container.mem_limit, container.memswap_limit
    if both and not limit:
        yield "memswap_limit", "memswap_limit needs mem_limit", "add mem_limit: it is of memory and swap together"
    elif 0 < both < limit:
        yield "memswap_limit", "memswap_limit is below mem_limit", "it is of memory and swap together"
    if limit and container.mem_reservation > limit:
        yield "mem_reservation", "mem_reservation is above mem_limit", ""
    if container.cpus and (container.cpu_quota or container.cpu_period):
        key = "cpu_quota" if container.cpu_quota else "cpu_period"
        yield key, f"cpus and {key} exclude each other", "cpus is the quota divided by the period"
    if container.oom_kill_disable and not limit:
        yield "oom_kill_disable", "oom_kill_disable needs mem_limit", "else it could take all memory of the machine"
