"""The limits of a container that runs: what its cgroup holds, what it should hold, and the way from one to the other.

At create the OCI runtime sets them; here they are compared and changed while the container goes on. Sources: the kernel's
documentation, admin-guide/cgroup-v1 and cgroup-v2.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import status
from reconciler.engine.containers.resources import SHARES, UNLIMITED, Limits, limits_of, weight_of
from reconciler.engine.kernel import cgroups, files
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.units import binary_size

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ResourceConfig

_NO_LIMIT = 1 << 62
"""From here on a number of cgroup v1 stands for no limit."""

_NAMES = {
    "memory": "memory limit",
    "swap": "limit of memory and swap",
    "reservation": "memory reservation",
    "shares": "CPU weight in shares",
    "quota": "CPU quota",
    "period": "CPU period",
    "cpuset": "set of CPUs",
    "pids": "limit of processes",
}
_SIZES = ("memory", "swap", "reservation")

Write = tuple[str, str]
"""A controller's file and what is written to it."""


def drift(paths: Paths, record: Record) -> tuple[str, ...]:
    """What a running container's limits are and should not be, in words."""
    if status.limits_are_changing(paths, record):
        return ("a change of its limits was cut off",)
    wanted = limits_of(record.config.resources)
    now = _held(paths.group(record.id), wanted)
    return tuple(
        f"its {name} is {_spelled(field, getattr(now, field))}, not {_spelled(field, getattr(wanted, field))}"
        for field, name in _NAMES.items()
        if getattr(now, field) != getattr(wanted, field)
    )


def concerns(paths: Paths, record: Record, config: ResourceConfig) -> bool:
    """Whether there is anything to do to have a running container hold these limits: it shall have some, or had."""
    return (
        Limits() != limits_of(config)
        or Limits() != limits_of(record.config.resources)
        or status.limits_are_changing(paths, record)
    )


def begin(paths: Paths, container_id: str) -> None:
    """Note that limits are about to be changed; before the record is."""
    files.write_file(status.limits_mark(paths, container_id), b"")


def finish(paths: Paths, container_id: str) -> None:
    """And that they are."""
    files.remove_file(status.limits_mark(paths, container_id))


def change(paths: Paths, record: Record, config: ResourceConfig) -> None:
    """Have the cgroup of a running container hold these limits; nothing to do where it does.

    All or nothing: when one of them can't be set, those before are what they were again. Raises ReconcilerError.
    """
    group, wanted = paths.group(record.id), limits_of(config)
    before = _held(group, limits_of(record.config.resources))
    try:
        _change(group, _held(group, wanted), wanted)
    except OSError as error:
        with contextlib.suppress(OSError):
            _change(group, _held(group, before), before)
        raise _refused(record.name, group, wanted, error) from error


def _refused(name: str, group: str, wanted: Limits, error: OSError) -> ReconcilerError:
    if error.errno == errno.EBUSY:
        used = int(cgroups.read(group, "memory.current" if cgroups.form() == "v2" else "memory.usage_in_bytes") or 0)
        return ReconcilerError(
            f"the memory limit of {name} can't be lowered to {binary_size(wanted.memory)} while it runs: it uses"
            f" {binary_size(used)}, and the kernel can take no more from it",
            code="limit",
            hint="give it more, or stop it, apply, and so start it with the new limit",
        )
    file = os.path.basename(str(error.filename))
    return ReconcilerError(
        f"the limits of {name} can't be changed while it runs: {file}: {error.strerror}",
        code="limit",
        hint="stop it, apply, and so start it with the new limits",
    )


def _change(group: str, now: Limits, wanted: Limits) -> None:
    for file, text in _writes_v2(group, now, wanted) if cgroups.form() == "v2" else _writes_v1(group, now, wanted):
        cgroups.write(group, file, text)
    if cgroups.form() == "v2":
        _change_memory_v2(group, now, wanted)


def _writes_v1(group: str, now: Limits, wanted: Limits) -> list[Write]:
    """In an order in which each is allowed: memory never above memory and swap, no quota while the period changes."""
    writes = []
    if now.memory != wanted.memory:
        writes.append(("memory.limit_in_bytes", str(wanted.memory)))
    if now.swap != wanted.swap:
        grows = now.swap != UNLIMITED and (wanted.swap == UNLIMITED or wanted.swap > now.swap)
        writes.insert(0 if grows else len(writes), ("memory.memsw.limit_in_bytes", str(wanted.swap)))
    if now.reservation != wanted.reservation:
        writes.append(("memory.soft_limit_in_bytes", str(wanted.reservation)))
    if now.shares != wanted.shares:
        writes.append(("cpu.shares", str(wanted.shares)))
    if now.period != wanted.period:
        writes += [("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", str(wanted.period))]
    if (now.quota, now.period) != (wanted.quota, wanted.period):
        writes.append(("cpu.cfs_quota_us", str(wanted.quota)))
    if now.cpuset != wanted.cpuset:
        everything = cgroups.read(os.path.dirname(group), "cpuset.cpus")
        writes.append(("cpuset.cpus", wanted.cpuset or everything))
    if now.pids != wanted.pids:
        writes.append(("pids.max", _or_max(wanted.pids)))
    return writes


def _writes_v2(group: str, now: Limits, wanted: Limits) -> list[Write]:
    """All but memory. A controller that the group does not have, and is not to limit by, has no file."""
    writes = []
    if now.shares != wanted.shares:
        writes.append(("cpu.weight", str(weight_of(wanted.shares))))
    if (now.quota, now.period) != (wanted.quota, wanted.period):
        writes.append(("cpu.max", f"{_or_max(wanted.quota)} {wanted.period}"))
    if now.cpuset != wanted.cpuset:
        # Not emptied: kernels up to some after 6.1 refuse that to a group with processes (ENOSPC).
        writes.append(("cpuset.cpus", wanted.cpuset or _every_processor_v2(group)))
    if now.pids != wanted.pids:
        writes.append(("pids.max", _or_max(wanted.pids)))
    if now.reservation != wanted.reservation:
        writes.append(("memory.low", str(max(0, wanted.reservation))))
    return writes


def _every_processor_v2(group: str) -> str:
    """Those that a group without a set of its own has."""
    return cgroups.read(os.path.dirname(group), "cpuset.cpus.effective")


def _change_memory_v2(group: str, now: Limits, wanted: Limits) -> None:
    """Memory and swap. A limit below what is used would kill at once: what is above it is taken back first.

    Raises OSError (EBUSY) when that does not come down far enough.
    """
    lowers = wanted.memory != UNLIMITED and (now.memory == UNLIMITED or wanted.memory < now.memory)
    if not lowers and cgroups.read(group, "memory.high") not in ("", "max"):
        cgroups.write(group, "memory.high", "max")  # left by a lowering that was cut off
    if now.memory != wanted.memory:
        if lowers:
            cgroups.write(group, "memory.high", str(wanted.memory))  # tries to bring it down before it returns
        try:
            if lowers and int(cgroups.read(group, "memory.current")) > wanted.memory:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), "memory.max")
            cgroups.write(group, "memory.max", _or_max(wanted.memory))
        finally:
            if lowers:
                cgroups.write(group, "memory.high", "max")
    if (now.memory, now.swap) != (wanted.memory, wanted.swap) and cgroups.counts_swap():
        swap = UNLIMITED if wanted.swap == UNLIMITED else wanted.swap - wanted.memory
        cgroups.write(group, "memory.swap.max", _or_max(swap))


def _or_max(number: int) -> str:
    return "max" if number == UNLIMITED else str(number)


# --- what is held -----------------------------------------------------------------------------------------------------


def _held(group: str, wanted: Limits) -> Limits:
    """What the cgroup holds. What comes to the same as the wanted value, or can't be limited here, comes out as that."""
    found = _held_v2(group, wanted) if cgroups.form() == "v2" else _held_v1(group, wanted)
    if not cgroups.counts_swap():
        found["swap"] = wanted.swap
    return Limits(**{field: _alike(field, value, getattr(wanted, field)) for field, value in found.items()})


def _alike(field: str, value: Any, wanted: Any) -> Any:
    """The wanted value where the found one comes to it; where there is no such file nothing is limited."""
    found = getattr(Limits(), field) if value is None else value
    return wanted if _same(field, found, wanted) else found


def _same(field: str, value: int | str, wanted: int | str) -> bool:
    """The kernel counts memory in pages, and spells a set of CPUs in its own way."""
    if field in _SIZES:
        page = resource.getpagesize()
        return int(value) // page == int(wanted) // page  # no limit, which is -1, is below all pages
    if field == "cpuset":
        return cgroups.numbers(str(value)) == cgroups.numbers(str(wanted))
    return value == wanted


def _held_v1(group: str, wanted: Limits) -> dict[str, Any]:
    cpus = cgroups.read(group, "cpuset.cpus")
    return {
        "memory": _number(cgroups.read(group, "memory.limit_in_bytes")),
        "swap": _number(cgroups.read(group, "memory.memsw.limit_in_bytes")),
        "reservation": _number(cgroups.read(group, "memory.soft_limit_in_bytes")),
        "shares": _number(cgroups.read(group, "cpu.shares")),
        "quota": _number(cgroups.read(group, "cpu.cfs_quota_us")),
        "period": _number(cgroups.read(group, "cpu.cfs_period_us")),
        "cpuset": "" if not wanted.cpuset and cpus == cgroups.read(os.path.dirname(group), "cpuset.cpus") else cpus,
        "pids": _number(cgroups.read(group, "pids.max")),
    }


def _held_v2(group: str, wanted: Limits) -> dict[str, Any]:
    memory, swap = (_number(cgroups.read(group, file)) for file in ("memory.max", "memory.swap.max"))
    both = None if swap is None or memory is None else UNLIMITED if UNLIMITED in (swap, memory) else memory + swap
    low = _number(cgroups.read(group, "memory.low"))
    weight = _number(cgroups.read(group, "cpu.weight"))
    cpus = cgroups.read(group, "cpuset.cpus")
    quota, period = (*cgroups.read(group, "cpu.max").split(), "", "")[:2]
    return {
        "memory": memory,
        "swap": both,
        "reservation": UNLIMITED if low == 0 else low,
        "shares": weight and _shares(weight, wanted.shares),
        "quota": _number(quota),
        "period": _number(period),
        "cpuset": "" if not wanted.cpuset and cpus == _every_processor_v2(group) else cpus,
        "pids": _number(cgroups.read(group, "pids.max")),
    }


def _number(text: str) -> int | None:
    """None where there is no such file."""
    if not text:
        return None
    if text == "max":
        return UNLIMITED
    return UNLIMITED if int(text) >= _NO_LIMIT else int(text)


def _shares(weight: int, wanted: int) -> int:
    """The shares that come to a weight: the wanted ones, everybody's, or the fewest of those that do."""
    known = (shares for shares in (wanted, SHARES) if weight_of(shares) == weight)
    return next(known, 0) or bisect_left(range(2, 262_144), weight, key=weight_of) + 2


def _spelled(field: str, value: int | str) -> str:
    if value in (UNLIMITED, ""):
        return "none"
    if field in _SIZES:
        return binary_size(int(value))
    return f"{value} us" if field in ("quota", "period") else str(value)
