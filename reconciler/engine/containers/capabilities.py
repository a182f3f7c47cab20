"""Linux capabilities of a container: which it gets of what its configuration adds and drops, as Docker resolves it.

Reads what this process has; changes nothing. Source: capabilities(7); moby, oci/caps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.capabilities import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.engine.records import SecurityConfig

KNOWN = tuple(f"CAP_{name}" for name in NAMES)
"""By their numbers."""

DEFAULT = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""Docker's default set: 00000000a80425fb."""

ALL = "ALL"


def available() -> tuple[str, ...]:
    """Those that this process has and could hand on; the kernel may not know all, and a machine need not have all."""
    with open("/proc/self/status", encoding="ascii") as file:
        facts = dict(line.rstrip().split(":\t", 1) for line in file if line.startswith("Cap"))
    mask = int(facts["CapEff"], 16) & int(facts["CapBnd"], 16)
    return tuple(name for number, name in enumerate(KNOWN) if mask >> number & 1)


def missing(added: Iterable[str]) -> list[str]:
    """What of `added` this machine can't give. ALL is what there is."""
    named = [name for name in added if name != ALL]
    return [name for name in named if name not in available()] if named else []


def effective(security: SecurityConfig) -> tuple[str, ...]:
    """What a container's processes get, at the most: root has it, and others what a program's file gives them of it.

    As Docker: an added ALL is all that are not dropped by name, a dropped ALL leaves only what is added. Unlike there,
    what is dropped by name is dropped from a privileged container as well.
    """
    added, dropped = security.capabilities_add, security.capabilities_drop
    if security.privileged or ALL in added:
        return tuple(name for name in available() if name not in dropped)
    kept = () if ALL in dropped else tuple(name for name in DEFAULT if name not in dropped)
    return tuple(dict.fromkeys((*kept, *added)))
