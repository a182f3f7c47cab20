"""What a running container has used so far and holds now, read from its cgroup and its network namespace.

Counters as the kernel has them; rates are made by whoever looks twice. Changes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING

from reconciler.engine.kernel import cgroups
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.paths import Paths


class Reading(Frozen):
    """One look, `at` monotonic seconds. `processor` is in seconds of one processor, all else in bytes but `processes`.

    `memory` is without the page cache that can be given up at once; `memory_limit` is the machine's where there is none.
    """

    at: float
    processor: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    received: int = 0
    sent: int = 0
    read: int | None = 0
    written: int | None = 0
    processes: int = 0


def read(paths: Paths, record: Record) -> Reading:
    """Look at a container that runs; what is gone in this moment counts as 0."""
    group = paths.group(record.id)
    at = time.monotonic()
    v2 = cgroups.form() == "v2"
    processor = _processor_v2(group) if v2 else _number(cgroups.read(group, "cpuacct.usage")) / 1e9
    used = _number(cgroups.read(group, "memory.current" if v2 else "memory.usage_in_bytes"))
    cache = _field(cgroups.read(group, "memory.stat"), "inactive_file" if v2 else "total_inactive_file")
    limit = _number(cgroups.read(group, "memory.max" if v2 else "memory.limit_in_bytes")) or machine_memory()
    received, sent = _network(record.pid)
    taken, given = _blocks_v2(group) if v2 else _blocks_v1(group)
    return Reading(
        at,
        processor,
        max(0, used - cache),
        min(limit, machine_memory()),
        received,
        sent,
        taken,
        given,
        _number(cgroups.read(group, "pids.current")),
    )


def _number(text: str) -> int:
    """0 for nothing and for "max"."""
    return int(text) if text.isdecimal() else 0


def _field(text: str, name: str) -> int:
    """A line `name number` of a file of such lines."""
    return next((int(line[len(name) + 1 :]) for line in text.splitlines() if line.startswith(f"{name} ")), 0)


def _processor_v2(group: str) -> float:
    return _field(cgroups.read(group, "cpu.stat"), "usage_usec") / 1e6


def _blocks_v1(group: str) -> tuple[int | None, int | None]:
    """Lines `8:0 Read 4096`, of all devices; None where no device is told of: not all kernels count them."""
    sums: dict[str, int] = {}
    for line in cgroups.read(group, "blkio.throttle.io_service_bytes_recursive").splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in ("Read", "Write"):
            sums[words[1]] = sums.get(words[1], 0) + int(words[2])
    return sums.get("Read"), sums.get("Write")


def _blocks_v2(group: str) -> tuple[int | None, int | None]:
    """Lines `8:0 rbytes=4096 wbytes=0 ...`, of all devices; None where no device is told of."""
    sums: dict[str, int] = {}
    for line in cgroups.read(group, "io.stat").splitlines():
        for word in line.split()[1:]:
            name, _, count = word.partition("=")
            if name in ("rbytes", "wbytes"):
                sums[name] = sums.get(name, 0) + int(count)
    return sums.get("rbytes"), sums.get("wbytes")


def _network(pid: int) -> tuple[int, int]:
    """Bytes received and sent by all interfaces of the process's network namespace but the loopback one (proc(5))."""
    received = sent = 0
    for name, counts in _interfaces(pid):
        if name != "lo":
            received, sent = received + int(counts[0]), sent + int(counts[8])
    return received, sent


def _interfaces(pid: int) -> Iterator[tuple[str, list[str]]]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as file:
        for line in file:
            name, colon, counts = line.partition(":")
            if colon:
                yield name.strip(), counts.split()


@functools.cache
def machine_memory() -> int:
    """Bytes of memory that the machine has."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("MemTotal:")), 0)
