"""Port maps: Docker's short forms and Compose's long form. For the spec room only.

Source: docker run(1), --publish; Compose specification, services.ports.
"""

from __future__ import annotations

from reconciler.kits.text import quote
from reconciler.model.desired import Port
from reconciler.spec.findings import BadValueError, did_you_mean

PROTOCOLS = ("tcp", "udp", "sctp")
HIGHEST = 65535
_FORMS = "write [[address:]host:]container[/protocol], e.g. 80, 8080:80, 127.0.0.1:8080:80/udp"


def parse(text: str) -> list[Port]:
    """The ports of a short form: one, or one for each port of a container's range.

    Forms: "80", ":80", "8080:80", "9000-9003:80-83", "9100-9110:80" (the first free one), "127.0.0.1::80",
    "[::1]:8080:80", each with /tcp, /udp or /sctp.
    """
    left, slash, protocol = text.partition("/")
    if slash and not protocol:
        raise BadValueError(f"bad port {quote(text)}: there is no protocol after '/'", "tcp, udp or sctp")
    address, host, container = _split(text, left)
    try:
        return make(container, host, address, protocol if slash else "tcp")
    except BadValueError as error:
        raise BadValueError(f"bad port {quote(text)}: {error.message}", error.hint) from None


def _split(text: str, left: str) -> tuple[str, str, str]:
    """Address, host port and container port of a short form, "" for what is not there."""
    if left.startswith("["):
        address, bracket, rest = left[1:].partition("]")
        parts = rest.split(":")
        if not bracket or parts[0] or len(parts) != 3 or not address:
            hint = "write [address]:host:container, e.g. [::1]:8080:80"
            raise BadValueError(f"bad port {quote(text)}: what follows the address in brackets is wrong", hint)
        return address, parts[1], parts[2]
    parts = left.split(":")
    if len(parts) > 3:
        hint = "an IPv6 address goes into brackets: [::1]:8080:80"
        raise BadValueError(f"bad port {quote(text)}: too many colons", hint)
    if len(parts) == 3 and not parts[0]:
        raise BadValueError(f"bad port {quote(text)}: there is no address before the first colon", _FORMS)
    padded = ["", "", *parts][-3:]
    return padded[0], padded[1], padded[2]


def make(container: str, host: str, address: str, protocol: str) -> list[Port]:
    """The ports that the four parts of either form mean; "" for a host port or address that is not given."""
    if protocol.lower() not in PROTOCOLS:
        near = did_you_mean(protocol, PROTOCOLS)
        raise BadValueError(f"unknown protocol {quote(protocol)}{near}", "tcp, udp or sctp")
    protocol = protocol.lower()
    if address:
        address = check_address(address)
    first, last = port_range(container, "container")
    if not host or host == "0":
        return [Port(port, protocol, address) for port in range(first, last + 1)]
    host_first, host_last = port_range(host, "host")
    if first == last:
        end = host_last if host_last > host_first else 0
        return [Port(first, protocol, address, host_first, end)]
    if host_last - host_first != last - first:
        counts = f"{host_last - host_first + 1} host and {last - first + 1} container ports"
        raise BadValueError(f"the ranges differ in length: {counts}", "give both the same length")
    shift = host_first - first
    return [Port(port, protocol, address, port + shift) for port in range(first, last + 1)]


def expose(text: str) -> list[str]:
    """The ports of an `expose` entry, each as "80/tcp"."""
    ports, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    try:
        if protocol not in PROTOCOLS:
            raise BadValueError(f"unknown protocol {quote(protocol)}", "tcp, udp or sctp")
        first, last = port_range(ports, "container")
    except BadValueError as error:
        hint = error.hint
        if ":" in text:
            hint = "expose only names container ports; to publish one, use ports"
        raise BadValueError(f"bad port {quote(text)}: {error.message}", hint) from None
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def port_range(text: str, side: str) -> tuple[int, int]:
    """First and last port of "80" or "80-83"."""
    if not text:
        raise BadValueError(f"there is no {side} port", _FORMS)
    first_text, dash, last_text = text.partition("-")
    first = _number(first_text, text, side)
    last = _number(last_text, text, side) if dash else first
    if last < first:
        raise BadValueError(f"the {side} port range {text} ends before it begins", f"write {last}-{first}")
    return first, last


def _number(text: str, whole: str, side: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BadValueError(f"the {side} port {quote(whole)} is not a number or a range of numbers", _FORMS)
    if len(text) > 9 or not 1 <= int(text) <= HIGHEST:
        raise BadValueError(f"the {side} port {quote(text)} is not between 1 and {HIGHEST}")
    return int(text)


def check_address(text: str) -> str:
    """An IPv4 or IPv6 address in its canonical spelling; an IPv4 address mapped into IPv6 is an IPv4 address."""
    import ipaddress  # noqa: PLC0415 - most ports name no address

    try:
        if "%" in text:
            raise ValueError
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        hint = "an address of this machine, e.g. 127.0.0.1 or [::1]"
        raise BadValueError(f"{quote(text)} is not an IP address", hint) from None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def overlap(one: str, other: str) -> bool:
    """Whether two host addresses share a port: "" is every address, 0.0.0.0 and :: every one of their family."""
    if one == other or "" in (one, other):
        return True
    same_family = (":" in one) == (":" in other)
    return same_family and bool({one, other} & {"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
