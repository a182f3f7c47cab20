"""Holding host ports with bound sockets, and finding out who has one; connections to other machines.

A port is held by bind(2) alone, without listen(2) and without SO_REUSEADDR: others get EADDRINUSE whatever they set, and
a connection that misses the port map is refused instead of hanging in a backlog. Sources: socket(7), proc(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

from reconciler.engine.kernel.effects import effect
from reconciler.kits.frozen import Frozen

_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}
_TIME_WAIT = 0x06
_LISTEN = 0x0A


@effect
def bind(address: str, port: int, protocol: str, *, reuse: bool = False) -> int:
    """A bound, not listening socket (close-on-exec); an IPv6 one takes IPv6 only.

    `reuse` gets past connections in TIME_WAIT. Raises OSError: EADDRINUSE, EADDRNOTAVAIL (not an address of this
    host), EPROTONOSUPPORT (a protocol that this kernel lacks).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, number = _TYPES[protocol]
    with socket.socket(family, kind | socket.SOCK_CLOEXEC, number) as made:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if reuse:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return made.detach()


@effect
def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection to the first of a host's addresses that answers within `timeout` seconds; raises OSError.

    The timeout stays with the socket.
    """
    made = socket.create_connection((host, port), timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def interrupt(connection: socket.socket) -> None:
    """Have whoever waits for this connection, in any thread, see its end now."""
    with contextlib.suppress(OSError):
        # Of the base class: a TLS socket's own would take its state away under the thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def has_ipv6() -> bool:
    """Whether IPv6 sockets can be bound in this namespace."""
    try:
        with open("/proc/thread-self/net/if_inet6", "rb") as file:
            return bool(file.read(1))
    except FileNotFoundError:
        return False


def local_addresses() -> set[str]:
    """The IPv4 addresses of this host, from /proc/net/fib_trie."""
    found = set()
    leaf = ""
    with open("/proc/thread-self/net/fib_trie", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "|--":
                leaf = words[1]
            elif words == ["/32", "host", "LOCAL"]:
                found.add(leaf)
    return found


Connection = socket.socket
"""What `connect` returns."""


class LocalSocket(Frozen):
    """A socket with a local port. `inode` 0 belongs to nobody any more (TIME_WAIT)."""

    address: str
    port: int
    protocol: str
    inode: int
    state: int

    @property
    def lingers(self) -> bool:
        """It is only the rest of a closed connection."""
        return self.protocol == "tcp" and self.state == _TIME_WAIT


def local_sockets(protocol: str) -> list[LocalSocket]:
    """All tcp or udp sockets of the namespace that have a local port.

    A TCP socket that is bound but neither listens nor is connected is not in the kernel's table.
    """
    found = []
    for family in ("", "6"):
        try:
            with open(f"/proc/thread-self/net/{protocol}{family}", encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            host, _, port = fields[1].partition(":")
            found.append(LocalSocket(_address(host), int(port, 16), protocol, int(fields[9]), int(fields[3], 16)))
    return found


def _address(text: str) -> str:
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    if raw.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def overlap(one: str, other: str) -> bool:
    """Whether a port on one address is in the way of the same port on the other; "" is every address.

    `::` is in the way of IPv4 too: most programs that bind it take both families.
    """
    if one == other or "" in (one, other) or "::" in (one, other):
        return True
    return "0.0.0.0" in (one, other) and (":" in one) == (":" in other)  # noqa: S104


def holder(address: str, port: int, protocol: str) -> LocalSocket | None:
    """The socket that is in the way of binding, a listening one first; None if the kernel's table shows none."""
    if protocol not in ("tcp", "udp"):
        return None
    return first_in_the_way(local_sockets(protocol), address, port)


def first_in_the_way(candidates: list[LocalSocket], address: str, port: int) -> LocalSocket | None:
    """Of sockets of one protocol the one that is in the way of binding, a listening one first."""
    hits = [found for found in candidates if found.port == port and overlap(found.address, address)]
    hits.sort(key=lambda found: (found.state != _LISTEN, found.lingers))
    return hits[0] if hits else None


def owners(inodes: set[int]) -> dict[int, tuple[int, str]]:
    """For each socket inode the lowest process that has it open: pid and program name. One walk through /proc."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, tuple[int, str]] = {}
    if not wanted:
        return found
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    inode = wanted.get(_target(entry.path))
                    if inode and inode not in found:
                        found[inode] = (pid, _program(pid))
        except OSError:  # it ended, or is not ours to look into
            continue
        if len(found) == len(wanted):
            break
    return found


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise
        return "a program that has ended"
    return "".join(character if character.isprintable() else "?" for character in name)
