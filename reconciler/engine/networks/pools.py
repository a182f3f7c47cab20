"""Which IPv4 network the bridge gets: the first of Docker's default pools that nothing on this host uses.

Only looks and decides; the choice is kept in the store by `networks.Network`. Other rooms do not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engine.networks.addresses import Subnet
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIB = "/proc/thread-self/net/fib_trie"


def candidates() -> Iterator[Subnet]:
    """172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20, .16.0/20 and so on, as Docker tries them."""
    for second in range(17, 32):
        yield Subnet.of(f"172.{second}.0.0/16")
    for third in range(0, 256, 16):
        yield Subnet.of(f"192.168.{third}.0/20")


def in_use(text: str | None = None) -> set[Subnet]:
    """What the host's routes reach and what its addresses are, of all routing tables but for the default routes.

    `text` is the content of /proc/net/fib_trie: a leaf is `|-- 172.17.0.0` with a line `/16 link UNICAST` below it.
    """
    if text is None:
        with open(FIB, encoding="ascii") as file:
            text = file.read()
    found = set()
    leaf = ""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "|--":
            leaf = words[1]
        elif leaf and words and words[0].startswith("/") and words[0] != "/0":
            found.add(Subnet.of(leaf + words[0]).whole())
    return found


def choose(taken: Iterable[Subnet], wanted: str = "") -> Subnet:
    """`wanted` if that is still free, else the first free candidate."""
    taken = list(taken)
    first = [Subnet.of(wanted)] if wanted else []
    for network in (*first, *candidates()):
        if not any(network.overlaps(other) for other in taken):
            return network
    raise ReconcilerError(
        "there is no free network for the containers: each of 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16 "
        "overlaps a route or an address of this host",
        code="no-free-network",
        hint="`ip route show table all` shows what is in the way",
    )
