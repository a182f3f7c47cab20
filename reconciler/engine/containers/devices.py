"""Devices of the host in a container: their nodes, and the rules of the devices controller that go with them.

Looks at the host's /dev; makes nothing, the OCI runtime does. Source: runtime-spec config-linux.md, Devices; moby,
oci/devices_linux.go (a folder stands for all devices below it, a link for what it leads to).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.engine.records import DeviceConfig

DEFAULT_RULES: tuple[dict[str, Any], ...] = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
    ),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # every pseudo terminal
)
"""As in Docker: anything may be made, but only the harmless ones be used."""

EVERYTHING: tuple[dict[str, Any], ...] = ({"allow": True, "access": "rwm"},)

_OWN = frozenset(("console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"))
"""What every container has of its own in /dev."""


def nodes(devices: Sequence[DeviceConfig]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The `linux.devices` and `linux.resources.devices` of what a container asks for. Raises ReconcilerError."""
    made: dict[str, dict[str, Any]] = {}
    rules = []
    for device in devices:
        for path, facts in _found(device):
            inside = device.target + path
            made[inside] = node = _node(inside, facts)
            rules.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": device.permissions,
                }
            )
    return list(made.values()), rules


def of_host() -> list[dict[str, Any]]:
    """The nodes of all devices of the host, for a privileged container, without those that it has of its own."""
    found = _walk("/dev", "", _OWN)
    return [_node("/dev" + path, facts) for path, facts in found if not stat.S_ISLNK(facts.st_mode)]


def rule(text: str) -> dict[str, Any]:
    """A rule as `linux.resources.devices` has it: "c 10:* rwm"."""
    kind, numbers, access = text.split()
    major, _, minor = numbers.partition(":")
    found: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    for name, number in (("major", major), ("minor", minor)):
        if number != "*":
            found[name] = int(number)
    return found


def _found(device: DeviceConfig) -> Iterator[tuple[str, os.stat_result]]:
    """(path below the target, facts) of each device that it stands for."""
    try:
        facts = os.stat(device.source)
    except OSError as error:
        raise ReconcilerError(
            f"there is no device {device.source} on this machine: {error.strerror}",
            code="device",
            hint="`ls -l` its folder; a device may need a kernel module, or a cable",
        ) from error
    if _is_device(facts):
        yield "", facts
        return
    inside = list(_walk(device.source, "", frozenset())) if stat.S_ISDIR(facts.st_mode) else []
    if not inside:
        what = "a folder without devices" if stat.S_ISDIR(facts.st_mode) else "not a device"
        raise ReconcilerError(
            f"{device.source} is {what}",
            code="device",
            hint="for files and folders use `volumes`; devices are below /dev",
        )
    yield from inside


def _walk(folder: str, below: str, left_out: frozenset[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.name in left_out or entry.name.startswith((".lxc", ".lxd", ".udev")):
                continue
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                yield from _walk(entry.path, f"{below}/{entry.name}", frozenset())
            elif _is_device(facts):
                yield f"{below}/{entry.name}", facts


def _is_device(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode)


def _node(path: str, facts: os.stat_result) -> dict[str, Any]:
    return {
        "path": path,
        "type": "c" if stat.S_ISCHR(facts.st_mode) else "b",
        "major": os.major(facts.st_rdev),
        "minor": os.minor(facts.st_rdev),
        "fileMode": stat.S_IMODE(facts.st_mode),
        "uid": facts.st_uid,
        "gid": facts.st_gid,
    }
