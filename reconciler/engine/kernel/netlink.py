"""A small rtnetlink client: links, addresses, routes, and running a function in another network namespace.

The eight requests that a start sends are packed here: pyroute2's message classes, which can do all of rtnetlink, take
13 ms of processor time to load, while conmon and the OCI runtime need the processors. A test holds every byte against
pyroute2's encoding of the same. What is read seldom (`links`, `addresses`) is decoded by pyroute2. Functions that
build a request touch nothing; `change` sends a batch of them.

A socket belongs to the network namespace of the thread that opened it, for ever. Protocol: rtnetlink(7), netlink(7);
numbers: linux/{rtnetlink,if_link,if_addr,veth}.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.engine.kernel.effects import effect
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

Connection = socket.socket
"""A netlink socket, as `opened` gives it."""

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_RTM_NEWROUTE = 24
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP_INTERRUPTED, _CAPPED, _ACK_TLVS = 0x10, 0x100, 0x200
IFF_UP, IFF_RUNNING = 0x1, 0x40
_CLONE_NEWNET = 0x40000000
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which flags to change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, TOS, table, protocol, scope, type, flags
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER, _BR_FORWARD_DELAY, _BR_STP_STATE, _BRPORT_MODE = 1, 1, 5, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_RTA_OIF, _RTA_GATEWAY = 4, 5
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915
_BUFFER = 1 << 18


# --- requests: pure -------------------------------------------------------------------------------------------------


class Request(Frozen):
    """An encoded message, and what it is about for an error's text."""

    data: bytes
    what: str


def attribute(kind: int, *parts: bytes) -> bytes:
    """A netlink attribute with its parts one after another, or with attributes nested in it; padded to four bytes."""
    data = b"".join(parts)
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode(), b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("=I", number))


def _mac(kind: int, mac: str) -> bytes:
    return attribute(kind, bytes.fromhex(mac.replace(":", "")))


def _request(kind: int, flags: int, what: str, *parts: bytes) -> Request:
    body = b"".join(parts)
    header = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 0, 0)
    return Request(header + body, what)


def _link(index: int = 0, flags: int = 0) -> bytes:
    """The head of a link's message; `flags` are those to set."""
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def link_add_bridge(name: str, mac: str) -> Request:
    """A bridge that forwards at once (no STP, no delay). With a MAC of its own: else it takes its lowest port's."""
    data = attribute(_INFO_DATA, _number(_BR_FORWARD_DELAY, 0), _number(_BR_STP_STATE, 0))
    info = attribute(_IFLA_LINKINFO, _text(_INFO_KIND, "bridge"), data)
    named = _text(_IFLA_IFNAME, name) + _mac(_IFLA_ADDRESS, mac)
    return _request(_RTM_NEWLINK, _CREATE | _EXCL, f"bridge {name}", _link(), named, info)


def link_add_veth(name: str, peer: str, *, peer_namespace: int, peer_mac: str, mtu: int, master: int = 0) -> Request:
    """A veth pair: `name` here, up and a port of the bridge with index `master`; `peer` (down) in the namespace whose

    descriptor is `peer_namespace`.
    """
    far = attribute(
        _VETH_INFO_PEER,
        _link(),
        _text(_IFLA_IFNAME, peer),
        _mac(_IFLA_ADDRESS, peer_mac),
        _number(_IFLA_MTU, mtu),
        _number(_IFLA_NET_NS_FD, peer_namespace),
    )
    info = attribute(_IFLA_LINKINFO, _text(_INFO_KIND, "veth"), attribute(_INFO_DATA, far))
    near = _text(_IFLA_IFNAME, name) + _number(_IFLA_MTU, mtu) + (_number(_IFLA_MASTER, master) if master else b"")
    return _request(_RTM_NEWLINK, _CREATE | _EXCL, f"veth pair {name}", _link(flags=IFF_UP), near, info)


def link_set_hairpin(name: str) -> Request:
    """Let the bridge send a frame back out of the port that it came in by."""
    data = attribute(_INFO_SLAVE_DATA, attribute(_BRPORT_MODE, b"\1"))
    info = attribute(_IFLA_LINKINFO, _text(_INFO_SLAVE_KIND, "bridge"), data)
    return _request(_RTM_NEWLINK, 0, f"bridge port {name}", _link(), _text(_IFLA_IFNAME, name), info)


def link_set_master(index: int, master: int) -> Request:
    """Make a link a port of a bridge."""
    return _request(_RTM_NEWLINK, 0, f"link {index}", _link(index), _number(_IFLA_MASTER, master))


def link_set_up(index: int) -> Request:
    """Bring a link up."""
    return _request(_RTM_NEWLINK, 0, f"link {index}", _link(index, IFF_UP))


def link_del(name: str) -> Request:
    """Remove a link; of a veth pair both ends go."""
    return _request(_RTM_DELLINK, 0, f"link {name}", _link(), _text(_IFLA_IFNAME, name))


def address_add(index: int, address: str, prefix: int) -> Request:
    """Give a link an IPv4 address; the route to its network comes with it."""
    own = socket.inet_aton(address)
    broadcast = int.from_bytes(own, "big") | ((1 << (32 - prefix)) - 1)
    return _request(
        _RTM_NEWADDR,
        _CREATE | _EXCL,
        f"address {address}/{prefix}",
        _ADDRESS.pack(socket.AF_INET, prefix, 0, 0, index),
        attribute(_IFA_ADDRESS, own),
        attribute(_IFA_LOCAL, own),
        attribute(_IFA_BROADCAST, broadcast.to_bytes(4, "big")),
    )


def route_add_default(gateway: str, index: int) -> Request:
    """The IPv4 default route, in the main table."""
    return _request(
        _RTM_NEWROUTE,
        _CREATE | _EXCL,
        f"default route by {gateway}",
        _ROUTE.pack(socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0),
        attribute(_RTA_GATEWAY, socket.inet_aton(gateway)),
        _number(_RTA_OIF, index),
    )


# --- the socket -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(protocol: int = socket.NETLINK_ROUTE) -> Iterator[Connection]:
    """A netlink socket of the calling thread's network namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as connection:
        connection.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        connection.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        connection.bind((0, 0))
        yield connection


@effect
def change(connection: Connection, requests: Sequence[Request]) -> None:
    """Send `requests` in one go; the kernel carries out each in order, also after one that failed.

    Raises the OSError of the first that failed: errno, the kernel's own words where it has some, and the request's.
    """
    batch = bytearray()
    for number, request in enumerate(requests, 1):
        start = len(batch)
        batch += request.data
        struct.pack_into("=I", batch, start + 8, number)
    connection.send(batch)
    failures: dict[int, OSError] = {}
    answered = 0
    while answered < len(requests):
        for kind, flags, number, body in parse(connection.recv(_BUFFER)):
            if kind == _NLMSG_ERROR:
                answered += 1
                if error := error_of(flags, body, requests[number - 1].what):
                    failures[number] = error
    if failures:
        raise failures[min(failures)]


def parse(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The messages of one datagram: type, flags, sequence number, what follows the header."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, number, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def error_of(flags: int, body: bytes, what: str) -> OSError | None:
    """The error in an NLMSG_ERROR message, None for a mere acknowledgement."""
    code: int = -struct.unpack_from("=i", body)[0]
    if not code:
        return None
    text = os.strerror(code)
    if flags & _ACK_TLVS:
        inner = struct.unpack_from("=I", body, 4)[0]
        offset = 4 + (_HEADER.size if flags & _CAPPED else (inner + 3) & ~3)
        said = attributes(body[offset:]).get(1, b"").rstrip(b"\0").decode("utf-8", "replace")
        text = f"{text} ({said})" if said else text
    return OSError(code, text, what)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type (flag bits taken off); of one that comes twice the last."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def dump(connection: Connection, request: bytes) -> list[tuple[int, bytes]]:
    """Send a dump request (flags are set here) and collect type and body of all answers; again if it was disturbed."""
    data = bytearray(request)
    struct.pack_into("=H", data, 6, _REQUEST | _DUMP)
    while True:
        connection.send(data)
        found: list[tuple[int, bytes]] = []
        disturbed = done = False
        while not done:
            for kind, flags, _, body in parse(connection.recv(_BUFFER)):
                disturbed = disturbed or bool(flags & _DUMP_INTERRUPTED)
                if kind == _NLMSG_ERROR:
                    raise error_of(flags, body, "dump") or OSError(errno.EPROTO, "unexpected acknowledgement")
                if kind == _NLMSG_DONE:
                    done = True
                    break
                found.append((kind, body))
        if not disturbed:
            return found


class LinkState(Frozen):
    """A link of the calling thread's namespace; `master` is the index of the bridge it is a port of, or 0."""

    name: str
    index: int
    mac: str
    mtu: int
    up: bool
    master: int
    kind: str


def links() -> list[LinkState]:
    """All links of the calling thread's namespace."""
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: PLC0415 - not on the way of a start

    found = []
    for message in _read(ifinfmsg, _RTM_GETLINK):
        info = message.get_attr("IFLA_LINKINFO")
        found.append(
            LinkState(
                message.get_attr("IFLA_IFNAME"),
                message["index"],
                message.get_attr("IFLA_ADDRESS") or "",
                message.get_attr("IFLA_MTU") or 0,
                bool(message["flags"] & IFF_UP),
                message.get_attr("IFLA_MASTER") or 0,
                (info.get_attr("IFLA_INFO_KIND") or "") if info else "",
            )
        )
    return found


def addresses(index: int) -> list[str]:
    """The IPv4 addresses of the link with that index, as `ADDRESS/PREFIX`."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: PLC0415 - not on the way of a start

    return [
        f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
        for message in _read(ifaddrmsg, _RTM_GETADDR)
        if message["index"] == index and message["family"] == socket.AF_INET
    ]


def _read(kind: Any, number: int) -> Iterator[Any]:
    """All messages of one kind, decoded by pyroute2's class for it."""
    with opened() as connection:
        answers = dump(connection, _request(number, 0, "dump", _link()).data)
    for answer, body in answers:
        message = kind(_HEADER.pack(_HEADER.size + len(body), answer, 0, 0, 0) + body)
        message.decode()
        yield message


def index_of(name: str) -> int:
    """The index of a link in the calling thread's namespace, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _ioctl(name: str, request: int) -> bytes:
    """netdevice(7): the answer in a struct ifreq (0.02 ms); b"" when there is no such link or it has no such thing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        try:
            return fcntl.ioctl(connection, request, struct.pack("16s24x", name.encode()))
        except OSError:
            return b""


def flags_of(name: str) -> int:
    """IFF_UP, IFF_RUNNING and so on, 0 when there is no such link."""
    answer = _ioctl(name, _SIOCGIFFLAGS)
    return int.from_bytes(answer[16:18], sys.byteorder)


def has_address(name: str, address: str) -> bool:
    """Whether the link `name` is up and `address` is its first IPv4 address."""
    return bool(flags_of(name) & IFF_UP) and _ioctl(name, _SIOCGIFADDR)[20:24] == socket.inet_aton(address)


# --- namespaces -----------------------------------------------------------------------------------------------------


@effect
def _enter(namespace: int) -> None:
    import ctypes  # noqa: PLC0415 - who only looks at the network needs none of it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "setns")


def in_network_namespace(namespace: int, function: Callable[[], T]) -> T:
    """Run `function` in a thread of its own in the network namespace of that descriptor; what it raises is raised here.

    The thread does only that and ends: a thread in a strange namespace must never serve anybody else.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            _enter(namespace)
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
