"""Kernel parameters below /proc/sys. `net/...` is the network namespace of the calling thread, not of the process."""

from __future__ import annotations

import os

from reconciler.engine.kernel.effects import effect


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
