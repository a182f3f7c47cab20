"""nftables: rules by the `nft` program, elements of maps and questions by netlink messages of our own.

Rules change once in a table's life and deserve nft's language; elements change with each container, and a message
(0.1 ms) spares a process. libnftables is GPL and so not loaded into this process. Also the deletion of UDP flows from
connection tracking, which map changes do not reach. Sources: nft(8), linux/netfilter/{nf_tables,nfnetlink_conntrack}.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

from reconciler.engine.kernel import netlink
from reconciler.engine.kernel.effects import effect
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_NETFILTER = 12
_NFT, _CONNTRACK = 10, 1
_GETTABLE, _GETCHAIN, _GETRULE, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 1, 4, 7, 12, 13, 14
_BATCH_BEGIN, _BATCH_END = 16, 17
_CT_GET, _CT_DELETE = 1, 2
_REQUEST, _ACK, _CREATE, _NESTED = 0x1, 0x4, 0x400, 0x8000
_INET, _IPV4 = 1, 2
_FAMILIES = {"ip": _IPV4, "inet": _INET}
_FORWARD = b"\0\0\0\2"  # NF_INET_FORWARD
_NLMSG_ERROR = 2


class NftError(ReconcilerError):
    """A batch that the kernel or `nft` refused; nothing of it was done. `reason` is what nft wrote."""

    def __init__(self, reason: str) -> None:
        first = reason.strip().splitlines()[0] if reason.strip() else "no reason given"
        super().__init__(
            f"the firewall rules could not be changed: {first}",
            code="firewall",
            hint="nft list ruleset shows what is there; the kernel needs nf_tables, nft_nat, nft_masq and nft_fib_ipv4",
        )
        self.reason = reason


def run(commands: str) -> None:
    """One atomic batch in one process; raises `NftError`, or says which package is missing."""
    try:
        from reconciler.engine.kernel import programs  # noqa: PLC0415 - only to load a table

        done = programs.run(["nft", "-f", "-"], data=commands.encode())
    except FileNotFoundError:
        raise ReconcilerError(
            "the program nft is not installed",
            code="missing-program",
            hint="install the package nftables (apt-get install nftables)",
        ) from None
    if done.code:
        raise NftError(done.err)


# --- netlink --------------------------------------------------------------------------------------------------------


def _message(subsystem: int, kind: int, flags: int, body: bytes = b"", number: int = 0, family: int = _IPV4) -> bytes:
    header = struct.pack("=IHHII", 20 + len(body), subsystem << 8 | kind, flags, number, 0)
    return header + struct.pack("=BBH", family, 0, 0) + body


def table_comment(name: str) -> str | None:
    """The comment of the `ip` table `name`, "" if it has none, None if there is no such table."""
    try:
        with netlink.opened(_NETFILTER) as connection:
            connection.send(
                _message(_NFT, _GETTABLE, _REQUEST, netlink.attribute(1, name.encode() + b"\0")),
            )
            kind, flags, _, body = next(netlink.parse(connection.recv(1 << 16)))
    except OSError:
        return None
    if kind == _NLMSG_ERROR:
        error = netlink.error_of(flags, body, name)
        if error is None or error.errno in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise error
    data = netlink.attributes(body[4:]).get(6, b"")  # NFTA_TABLE_USERDATA: type, length, value
    return data[2 : 2 + data[1]].rstrip(b"\0").decode("utf-8", "replace") if len(data) > 2 else ""


class Chain(Frozen):
    """A chain; `policy` is "accept" or "drop" for a base chain, "" for others, `forwards` whether it is at that hook."""

    table: str
    name: str
    policy: str
    forwards: bool


def chains(family: str = "ip") -> list[Chain]:
    """All chains of tables of a family, "ip" (iptables-nft's are among them) or "inet"."""
    try:
        with netlink.opened(_NETFILTER) as connection:
            answers = netlink.dump(connection, _message(_NFT, _GETCHAIN, 0, family=_FAMILIES[family]))
    except OSError:
        return []
    found = []
    for _, body in answers:
        parts = netlink.attributes(body[4:])
        policy = {b"\0\0\0\1": "accept", b"\0\0\0\0": "drop"}.get(parts.get(5, b""), "")
        hook = netlink.attributes(parts.get(4, b"")).get(1, b"")
        found.append(Chain(_text(parts.get(1, b"")), _text(parts.get(3, b"")), policy, hook == _FORWARD))
    return found


def rules_with(table: str, chain: str, text: str) -> int:
    """How many rules of a chain have `text` in them, as a comment's text or an interface's name has."""
    body = netlink.attribute(1, table.encode() + b"\0") + netlink.attribute(2, chain.encode() + b"\0")
    try:
        with netlink.opened(_NETFILTER) as connection:
            answers = netlink.dump(connection, _message(_NFT, _GETRULE, 0, body))
    except OSError:
        return 0
    return sum(text.encode() + b"\0" in rule for _, rule in answers)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")


class Change(Frozen):
    """Of a map's element, in the kernel's form: each part of a concatenation padded to 4 bytes, network byte order.

    `value` None deletes the element of that key (whatever its value is).
    """

    map: str
    key: bytes
    value: bytes | None


def _elements(table: str, name: str, key: bytes, value: bytes | None) -> bytes:
    element = netlink.attribute(1 | _NESTED, netlink.attribute(1, key))
    if value is not None:
        element += netlink.attribute(2 | _NESTED, netlink.attribute(1, value))
    listed = netlink.attribute(3 | _NESTED, netlink.attribute(1 | _NESTED, element))
    return netlink.attribute(1, table.encode() + b"\0") + netlink.attribute(2, name.encode() + b"\0") + listed


def element(table: str, name: str, key: bytes) -> bytes | None:
    """The value under `key` in a map of an `ip` table, None if there is none (or no such table or map)."""
    with netlink.opened(_NETFILTER) as connection:
        connection.send(_message(_NFT, _GETSETELEM, _REQUEST, _elements(table, name, key, None)))
        kind, flags, _, body = next(netlink.parse(connection.recv(1 << 16)))
    if kind == _NLMSG_ERROR:
        error = netlink.error_of(flags, body, name)
        if error and error.errno == errno.ENOENT:
            return None
        raise error or OSError(errno.EPROTO, "unexpected acknowledgement", name)
    found = netlink.attributes(netlink.attributes(netlink.attributes(body[4:])[3])[1])
    return netlink.attributes(found[2]).get(1)


@effect
def change_elements(table: str, changes: Sequence[Change]) -> None:
    """Carry out all changes, in order, or none of them.

    Raises the first OSError: EEXIST (that key has another value), ENOENT (no such element, map or table).
    """
    mark = struct.pack("=IHHIIBBH", 20, 0, _REQUEST, 0, 0, 0, 0, socket.htons(_NFT))
    parts = [mark[:4] + struct.pack("=H", _BATCH_BEGIN) + mark[6:]]
    for number, one in enumerate(changes, 1):
        kind, flags = (_DELSETELEM, 0) if one.value is None else (_NEWSETELEM, _CREATE)
        parts.append(
            _message(_NFT, kind, _REQUEST | _ACK | flags, _elements(table, one.map, one.key, one.value), number)
        )
    parts.append(mark[:4] + struct.pack("=H", _BATCH_END) + mark[6:])
    failures: dict[int, OSError] = {}
    with netlink.opened(_NETFILTER) as connection:
        connection.send(b"".join(parts))
        left = len(changes)
        while left:
            for _, flags, number, body in netlink.parse(connection.recv(1 << 18)):
                left = left - 1 if number else 0  # number 0: the batch as a whole is refused
                if error := netlink.error_of(flags, body, f"table {table}"):
                    failures[number] = error
    if failures:
        raise failures[min(failures)]


def forget_udp_flows(ports: Collection[int], hosts: Collection[str]) -> int:
    """Delete tracked UDP flows to those ports of those addresses: their next packet meets the maps as they are now.

    Returns how many. Takes 10 ms where the kernel's table is big; without connection tracking over netlink in this
    kernel there are none to see.
    """
    try:
        with netlink.opened(_NETFILTER) as connection:
            answers = netlink.dump(connection, _message(_CONNTRACK, _CT_GET, 0))
    except OSError:
        return 0
    packed = {socket.inet_aton(host) for host in hosts}
    gone = 0
    for _, body in answers:
        original = netlink.attributes(body[4:]).get(1, b"")
        parts = netlink.attributes(original)
        protocol = netlink.attributes(parts.get(2, b""))
        port = int.from_bytes(protocol.get(3, b"\0\0"), "big")
        host = netlink.attributes(parts.get(1, b"")).get(2)
        if protocol.get(1) == bytes([socket.IPPROTO_UDP]) and port in ports and host in packed:
            gone += _delete_flow(original)
    return gone


@effect
def _delete_flow(original: bytes) -> int:
    """Returns 1, or 0 when the flow had ended by itself."""
    body = netlink.attribute(1 | _NESTED, original)
    with netlink.opened(_NETFILTER) as connection:
        connection.send(_message(_CONNTRACK, _CT_DELETE, _REQUEST | _ACK, body))
        _, flags, _, answer = next(netlink.parse(connection.recv(1 << 16)))
    error = netlink.error_of(flags, answer, "conntrack")
    if error and error.errno != errno.ENOENT:
        raise error
    return 0 if error else 1
