"""What a container may do and what is kept from it, as parts of its OCI configuration: one answer for run and exec.

Capabilities, seccomp filter, hidden and read-only paths, devices; as Docker makes them of the same settings, tighter
where docs/security.md says so. Reads the host's devices and this process's capabilities; changes nothing but its cache.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import capabilities, devices
from reconciler.engine.containers.seccomp import Filter, filter_for
from reconciler.engine.records import UNCONFINED
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from reconciler.engine.records import SecurityConfig

MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
"""Beside them what tells of other containers by heat, for each processor (see `masked_paths`)."""

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_PROCESSORS = "/sys/devices/system/cpu"


class Privileges(Frozen):
    """What a process inside may do: the same for the first one and for those of exec. `apparmor` is loaded, or ""."""

    capabilities: tuple[str, ...] = capabilities.DEFAULT
    no_new_privileges: bool = False
    apparmor: str = ""


class Confinement(Frozen):
    """`nodes` and `rules` are the OCI configuration's `devices`; `system_writable`: /sys and the cgroups are."""

    seccomp: Filter
    masked: tuple[str, ...]
    unwritable: tuple[str, ...]
    nodes: tuple[dict[str, Any], ...]
    rules: tuple[dict[str, Any], ...]
    read_only: bool
    system_writable: bool


def privileges_of(security: SecurityConfig, profile: str, *, privileged: bool = False) -> Privileges:
    """Of a container's processes, with this AppArmor profile; `privileged` is one process's own (`exec --privileged`)."""
    held = capabilities.available() if privileged else capabilities.effective(security)
    return Privileges(held, security.no_new_privileges, profile)


def of(security: SecurityConfig, held: tuple[str, ...], cache: str) -> Confinement:
    """A container's, whose capabilities are `held`; raises ReconcilerError for a device that is not there.

    `cache` is a folder of ours for compiled filters.
    """
    bare = security.privileged or security.unmasked
    nodes, rules = devices.nodes(security.devices)
    if security.privileged:
        # What is asked for under another name comes on top.
        taken = {node["path"] for node in nodes}
        nodes = [*(node for node in devices.of_host() if node["path"] not in taken), *nodes]
        rules = list(devices.EVERYTHING)
    else:
        rules = [*devices.DEFAULT_RULES, *rules, *(devices.rule(text) for text in security.device_rules)]
    return Confinement(
        seccomp=_filter(security, held, cache),
        masked=() if bare else masked_paths(),
        unwritable=() if bare else READ_ONLY,
        nodes=tuple(nodes),
        rules=tuple(rules),
        read_only=security.read_only,
        system_writable=security.privileged,
    )


def _filter(security: SecurityConfig, held: tuple[str, ...], cache: str) -> Filter:
    """As in Docker a privileged container has no filter, unless a profile is named."""
    if security.seccomp == UNCONFINED or (security.privileged and not security.seccomp):
        return Filter(None, "")
    return filter_for(held, cache, security.seccomp)


def masked_paths() -> tuple[str, ...]:
    """What is hidden on this machine."""
    try:
        names = sorted(os.listdir(_PROCESSORS))
    except OSError:
        names = []
    throttles = [f"{_PROCESSORS}/{name}/thermal_throttle" for name in names if name[:3] == "cpu" and name[3:].isdigit()]
    return (*MASKED, *(path for path in throttles if os.path.isdir(path)))
