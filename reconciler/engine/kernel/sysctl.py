"""Kernel parameters below /proc/sys. `net/...` is the network namespace of the calling thread, not of the process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel.effects import effect

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLONE_NEWIPC = 0x08000000
_CLONE_NEWNET = 0x40000000


def read(name: str) -> str:
    """The value of a parameter such as `net/ipv4/ip_forward`, "" where this kernel does not have it."""
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


@effect
def write(name: str, value: str) -> None:
    """Set a parameter; raises FileNotFoundError where this kernel does not have it."""
    fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    finally:
        os.close(fd)


def ensure(name: str, value: str) -> None:
    """Set a parameter unless it has that value already; one that this kernel does not have is left out."""
    if read(name) not in ("", value):
        write(name, value)


def refused(values: Mapping[str, str]) -> dict[str, OSError]:
    """Which of these parameters (`net.ipv4.ip_forward`) a container could not be given, and why.

    They are tried in namespaces of a thread that ends with it, so nobody else ever has them. What is no namespace's own
    must not be asked for.
    """
    from reconciler.engine.kernel.mounts import in_own_thread, unshare  # noqa: PLC0415 - where parameters are given only

    found: dict[str, OSError] = {}

    def attempt() -> None:
        unshare(_CLONE_NEWIPC | _CLONE_NEWNET)
        for name, value in values.items():
            try:
                write(name.replace(".", "/"), value)
            except OSError as error:
                found[name] = error

    in_own_thread(attempt)
    return found
