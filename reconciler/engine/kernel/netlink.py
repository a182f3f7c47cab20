"""A small rtnetlink client: links, addresses, routes, and running a function in another network namespace.

Messages are encoded and decoded by pyroute2's message classes; the socket, the batches and the errors are here. The
classes are loaded without running pyroute2's package `__init__`, which imports asyncio and some 250 modules more
(140 to 195 ms instead of 15 to 20). Functions that build a request touch nothing; `change` sends a batch of them.

A socket belongs to the network namespace of the thread that opened it, for ever. Protocol: rtnetlink(7), netlink(7).
"""

from __future__ import annotations

import contextlib
import ctypes
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
_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP_INTERRUPTED, _CAPPED, _ACK_TLVS = 0x10, 0x100, 0x200
IFF_UP, IFF_RUNNING = 0x1, 0x40
_CLONE_NEWNET = 0x40000000
_HEADER = struct.Struct("=IHHII")
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915
_BUFFER = 1 << 18


class Classes(Frozen):
    """pyroute2's message classes that are used here."""

    link: Any
    address: Any
    route: Any


_loading = threading.Lock()
_classes: Classes | None = None


def load() -> Classes:
    """Import the message classes, once; safe to call early from a thread, to overlap with other work.

    While they load, an empty package stands for `pyroute2` in sys.modules; afterwards all of it is taken out again,
    so that a later `import pyroute2` gets the real one. Should a release of pyroute2 not stand that, the package is
    imported as a whole: slower, same result.
    """
    global _classes  # noqa: PLW0603 - imported once a process
    with _loading:
        if _classes is None:
            try:
                _classes = _import_alone()
            except (ImportError, AttributeError):
                _classes = _import_classes()
        return _classes


def _import_alone() -> Classes:
    if "pyroute2" in sys.modules:
        return _import_classes()
    import importlib.util  # noqa: PLC0415
    import types  # noqa: PLC0415

    spec = importlib.util.find_spec("pyroute2")
    if spec is None:
        raise ImportError("pyroute2 is not installed")
    package = types.ModuleType("pyroute2")
    package.__path__ = list(spec.submodule_search_locations or ())
    package.__spec__ = spec
    sys.modules["pyroute2"] = package
    try:
        return _import_classes()
    finally:
        for name in [name for name in sys.modules if name == "pyroute2" or name.startswith("pyroute2.")]:
            del sys.modules[name]


def _import_classes() -> Classes:
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: PLC0415
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # noqa: PLC0415
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: PLC0415

    return Classes(ifinfmsg, ifaddrmsg, rtmsg)


# --- requests: pure -------------------------------------------------------------------------------------------------


class Request(Frozen):
    """An encoded message, and what it is about for an error's text."""

    data: bytes
    what: str


def _request(message: Any, kind: int, flags: int, what: str) -> Request:
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST | _ACK | flags
    message.encode()
    return Request(bytes(message.data), what)


def link_add_bridge(name: str, mac: str) -> Request:
    """A bridge that forwards at once (no STP, no delay). With a MAC of its own: else it takes its lowest port's."""
    message = load().link()
    data = {"attrs": [("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_STP_STATE", 0)]}
    info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
    message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_LINKINFO", info)]
    return _request(message, _RTM_NEWLINK, _CREATE | _EXCL, f"bridge {name}")


def link_add_veth(name: str, peer: str, *, peer_namespace: int, peer_mac: str, mtu: int, master: int = 0) -> Request:
    """A veth pair: `name` here, up and a port of the bridge with index `master`; `peer` (down) in the namespace whose

    descriptor is `peer_namespace`.
    """
    message = load().link()
    message["flags"] = message["change"] = IFF_UP
    far = {
        "attrs": [
            ("IFLA_IFNAME", peer),
            ("IFLA_ADDRESS", peer_mac),
            ("IFLA_MTU", mtu),
            ("IFLA_NET_NS_FD", peer_namespace),
        ]
    }
    data = {"attrs": [("VETH_INFO_PEER", far)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
    message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_MTU", mtu)]
    if master:
        message["attrs"].append(("IFLA_MASTER", master))
    message["attrs"].append(("IFLA_LINKINFO", info))
    return _request(message, _RTM_NEWLINK, _CREATE | _EXCL, f"veth pair {name}")


def link_set_hairpin(name: str) -> Request:
    """Let the bridge send a frame back out of the port that it came in by."""
    message = load().link()
    data = {"attrs": [("IFLA_BRPORT_MODE", 1)]}
    info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]}
    message["attrs"] = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", info)]
    return _request(message, _RTM_NEWLINK, 0, f"bridge port {name}")


def link_set_master(index: int, master: int) -> Request:
    """Make a link a port of a bridge."""
    message = load().link()
    message["index"] = index
    message["attrs"] = [("IFLA_MASTER", master)]
    return _request(message, _RTM_NEWLINK, 0, f"link {index}")


def link_set_up(index: int) -> Request:
    """Bring a link up."""
    message = load().link()
    message["index"] = index
    message["flags"] = message["change"] = IFF_UP
    return _request(message, _RTM_NEWLINK, 0, f"link {index}")


def link_del(name: str) -> Request:
    """Remove a link; of a veth pair both ends go."""
    message = load().link()
    message["attrs"] = [("IFLA_IFNAME", name)]
    return _request(message, _RTM_DELLINK, 0, f"link {name}")


def address_add(index: int, address: str, prefix: int) -> Request:
    """Give a link an IPv4 address; the route to its network comes with it."""
    message = load().address()
    message["family"] = socket.AF_INET
    message["prefixlen"] = prefix
    message["index"] = index
    broadcast = int.from_bytes(socket.inet_aton(address), "big") | ((1 << (32 - prefix)) - 1)
    message["attrs"] = [
        ("IFA_ADDRESS", address),
        ("IFA_LOCAL", address),
        ("IFA_BROADCAST", socket.inet_ntoa(broadcast.to_bytes(4, "big"))),
    ]
    return _request(message, _RTM_NEWADDR, _CREATE | _EXCL, f"address {address}/{prefix}")


def route_add_default(gateway: str, index: int) -> Request:
    """The IPv4 default route, in the main table."""
    message = load().route()
    message["family"] = socket.AF_INET
    message["table"], message["proto"], message["type"], message["scope"] = 254, 4, 1, 0
    message["attrs"] = [("RTA_GATEWAY", gateway), ("RTA_OIF", index)]
    return _request(message, _RTM_NEWROUTE, _CREATE | _EXCL, f"default route by {gateway}")


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
    parts = []
    for number, request in enumerate(requests, 1):
        data = bytearray(request.data)
        struct.pack_into("=I", data, 8, number)
        parts.append(bytes(data).ljust(-len(data) % 4 + len(data), b"\0"))
    connection.send(b"".join(parts))
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
    found = []
    for message in _read(load().link, _RTM_GETLINK):
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
    return [
        f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
        for message in _read(load().address, _RTM_GETADDR)
        if message["index"] == index and message["family"] == socket.AF_INET
    ]


def _read(kind: Any, number: int) -> Iterator[Any]:
    request = kind()
    if "family" in dict(request.fields):
        request["family"] = socket.AF_UNSPEC
    request["header"]["type"] = number
    request.encode()
    with opened() as connection:
        answers = dump(connection, bytes(request.data))
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
