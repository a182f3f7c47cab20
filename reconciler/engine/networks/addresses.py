"""Leases of container addresses, in the caller's store transaction. The first free one from .2 upward.

An address is a container's from `lease` to `release`; the caller releases it when nothing uses it any more.
Networks are text here, `172.17.0.0/16`, and addresses numbers: importing ipaddress costs 2 ms at each start.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    import sqlite3


def number(address: str) -> int:
    """A dotted IPv4 address as a number; raises OSError for anything else."""
    return int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")


def dotted(value: int) -> str:
    """The inverse of `number`."""
    return socket.inet_ntoa(value.to_bytes(4, "big"))


class Subnet(Frozen):
    """An IPv4 network as the bridge has it: the gateway is its first address, containers get `first` to `last`."""

    base: int
    prefix: int

    @classmethod
    def of(cls, text: str) -> Subnet:
        """From `172.17.0.0/16`."""
        address, _, prefix = text.partition("/")
        return cls(number(address), int(prefix))

    def __str__(self) -> str:
        return f"{dotted(self.base)}/{self.prefix}"

    @property
    def gateway(self) -> str:
        return dotted(self.base + 1)

    @property
    def first(self) -> int:
        return self.base + 2

    @property
    def last(self) -> int:
        return self.base + (1 << (32 - self.prefix)) - 2

    def holds(self, address: str) -> bool:
        """Whether a container of this network could have the address."""
        return self.first <= number(address) <= self.last

    def whole(self) -> Subnet:
        """The network that its base is an address of."""
        return Subnet(self.base >> (32 - self.prefix) << (32 - self.prefix), self.prefix)

    def overlaps(self, other: Subnet) -> bool:
        """Whether they have an address in common."""
        shift = 32 - min(self.prefix, other.prefix)
        return self.base >> shift == other.base >> shift

    @property
    def broadcast(self) -> str:
        return dotted(self.last + 1)


def lease(connection: sqlite3.Connection, subnet: Subnet, container: str, wanted: str = "") -> str:
    """The container's address: the one it holds, else `wanted` if that is free, else the first free one.

    Never the network's own, the gateway's or the broadcast address.
    """
    rows = connection.execute("SELECT address, container FROM addresses").fetchall()
    taken = {number(row[0]): row[1] for row in rows}
    held = [value for value, owner in taken.items() if owner == container]
    for value in held:
        if subnet.first <= value <= subnet.last:
            return dotted(value)
    if held:  # from a network that is no longer the bridge's
        release(connection, container)
    value = number(wanted) if wanted else 0
    if not subnet.first <= value <= subnet.last or value in taken:
        value = next((free for free in range(subnet.first, subnet.last + 1) if free not in taken), 0)
    if not value:
        raise ReconcilerError(
            f"all {subnet.last - subnet.first + 1} addresses of {subnet} are given out",
            code="no-free-address",
            hint="remove containers that are no longer needed",
        )
    connection.execute("INSERT INTO addresses VALUES (?, ?)", (dotted(value), container))
    return dotted(value)


def release(connection: sqlite3.Connection, container: str) -> None:
    """Give back what the container holds; nothing held is fine."""
    connection.execute("DELETE FROM addresses WHERE container = ?", (container,))
