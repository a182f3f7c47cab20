"""nftables: batches for the `nft` program, and cheap questions to the kernel about tables and chains.

Changes go through `nft -f -`, one process for all that waits (starting it costs more than the work it does); reads
go over netlink (0.1 ms). libnftables is GPL and so not loaded into this process. Also the deletion of UDP flows from
connection tracking, which map changes do not reach. Sources: nft(8), linux/netfilter/{nf_tables,nfnetlink_conntrack}.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.engine.kernel import netlink, processes
from reconciler.engine.kernel.effects import effect
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Collection

_NETFILTER = 12
_NFT, _CONNTRACK = 10, 1
_GETTABLE, _GETCHAIN = 1, 4
_CT_GET, _CT_DELETE = 1, 2
_REQUEST, _ACK = 0x1, 0x4
_IPV4 = 2


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

    @property
    def exists(self) -> bool:
        """Something was to be added that is there with another value."""
        return "File exists" in self.reason

    @property
    def missing(self) -> bool:
        """Something was to be deleted or added to that is not there."""
        return "No such file" in self.reason


def run(commands: str) -> None:
    """One atomic batch in one process; raises `NftError`, or says which package is missing."""
    try:
        done = processes.run(["nft", "-f", "-"], data=commands.encode())
    except FileNotFoundError:
        raise ReconcilerError(
            "the program nft is not installed",
            code="missing-program",
            hint="install the package nftables (apt-get install nftables)",
        ) from None
    if done.code:
        raise NftError(done.err)


def read(*words: str) -> str:
    """What `nft` prints for a list command; "" when there is nothing of that name."""
    try:
        done = processes.run(["nft", *words])
    except FileNotFoundError:
        return ""
    return done.out if done.code == 0 else ""


@dataclass(slots=True)
class _Request:
    commands: str
    done: threading.Event = field(default_factory=threading.Event)
    failure: BaseException | None = None


class Batcher:
    """Joins what several threads want at the same time into one process.

    A thread that finds nobody at work carries out what has gathered, its own included; whoever comes meanwhile waits
    for the next round. When a joint batch is refused its requests are tried one by one: each thread gets its own error.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Request] = []
        self._busy = False

    def run(self, commands: str) -> None:
        """Like `nftables.run`, jointly."""
        request = _Request(commands)
        with self._lock:
            self._waiting.append(request)
            leads = not self._busy
            self._busy = True
        if leads:
            self._work()
        request.done.wait()
        if request.failure:
            raise request.failure

    def _work(self) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting, []
                if not batch:
                    self._busy = False
                    return
            try:
                _run_all(batch)
            finally:
                for request in batch:
                    request.done.set()


def _run_all(batch: list[_Request]) -> None:
    try:
        run("\n".join(request.commands for request in batch))
    except NftError as error:
        if len(batch) == 1:
            batch[0].failure = error
            return
        for request in batch:
            _run_all([request])
    except BaseException as error:
        for request in batch:
            request.failure = error


# --- questions and conntrack, over netlink --------------------------------------------------------------------------


def _message(subsystem: int, kind: int, flags: int, family: int, body: bytes = b"") -> bytes:
    header = struct.pack("=IHHII", 20 + len(body), subsystem << 8 | kind, flags, 1, 0)
    return header + struct.pack("=BBH", family, 0, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def table_comment(name: str) -> str | None:
    """The comment of the `ip` table `name`, "" if it has none, None if there is no such table."""
    try:
        with netlink.opened(_NETFILTER) as connection:
            connection.send(
                _message(_NFT, _GETTABLE, _REQUEST, _IPV4, _attribute(1, name.encode() + b"\0")),
            )
            kind, flags, _, body = next(netlink.parse(connection.recv(1 << 16)))
    except OSError:
        return None
    if kind == 2:
        error = netlink.error_of(flags, body, name)
        if error is None or error.errno in (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP):
            return None
        raise error
    data = netlink.attributes(body[4:]).get(6, b"")  # NFTA_TABLE_USERDATA: type, length, value
    return data[2 : 2 + data[1]].rstrip(b"\0").decode("utf-8", "replace") if len(data) > 2 else ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of an `ip` table; `policy` is "accept" or "drop" for a base chain, "" for others."""

    table: str
    name: str
    policy: str


def chains() -> list[Chain]:
    """All chains of `ip` tables, iptables-nft's among them."""
    try:
        with netlink.opened(_NETFILTER) as connection:
            answers = netlink.dump(connection, _message(_NFT, _GETCHAIN, 0, _IPV4))
    except OSError:
        return []
    found = []
    for _, body in answers:
        parts = netlink.attributes(body[4:])
        policy = {b"\0\0\0\1": "accept", b"\0\0\0\0": "drop"}.get(parts.get(5, b""), "")
        found.append(Chain(_text(parts.get(1, b"")), _text(parts.get(3, b"")), policy))
    return found


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")


def forget_udp_flows(ports: Collection[int]) -> int:
    """Delete tracked UDP flows to those destination ports, so that their next packet meets the maps as they are now.

    Returns how many. Without connection tracking over netlink in this kernel there are none to see.
    """
    try:
        with netlink.opened(_NETFILTER) as connection:
            answers = netlink.dump(connection, _message(_CONNTRACK, _CT_GET, 0, _IPV4))
    except OSError:
        return 0
    gone = 0
    for _, body in answers:
        original = netlink.attributes(body[4:]).get(1, b"")
        protocol = netlink.attributes(netlink.attributes(original).get(2, b""))
        port = int.from_bytes(protocol.get(3, b"\0\0"), "big")
        if protocol.get(1) == bytes([socket.IPPROTO_UDP]) and port in ports:
            gone += _delete_flow(original)
    return gone


@effect
def _delete_flow(original: bytes) -> int:
    """Returns 1, or 0 when the flow had ended by itself."""
    body = _attribute(1 | 0x8000, original)
    with netlink.opened(_NETFILTER) as connection:
        connection.send(_message(_CONNTRACK, _CT_DELETE, _REQUEST | _ACK, _IPV4, body))
        _, flags, _, answer = next(netlink.parse(connection.recv(1 << 16)))
    error = netlink.error_of(flags, answer, "conntrack")
    if error and error.errno != errno.ENOENT:
        raise error
    return 0 if error else 1
