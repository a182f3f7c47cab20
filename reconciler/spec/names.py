"""What a spec says about names inside a container: lines of its hosts file, name servers and their options.

Text in, value out; `BadValueError` says what is wrong with a text. For the spec room only. Source: Compose
specification, services; resolv.conf(5).
"""

from __future__ import annotations

from reconciler.kits.text import quote
from reconciler.spec import values
from reconciler.spec.findings import BadValueError

HOST_GATEWAY = "host-gateway"
"""Stands for the host's address as the container sees it."""

_MOST_SERVERS = 3
"""As many as the C library reads (resolv.conf(5), MAXNS)."""


def extra_host(text: str) -> str:
    """The short form, "name:address" or "name=address"; comes out as NAME=ADDRESS."""
    name, sign, address = text.partition("=" if "=" in text else ":")
    if not sign or not address:
        raise BadValueError(f"bad extra host {quote(text)}", "write name:address")
    return make_extra_host(name, address)


def make_extra_host(name: str, address: str) -> str:
    """A name and the address it stands for."""
    host = values.host_name(name, "extra host")
    return f"{host}={address if address == HOST_GATEWAY else _address(address.removeprefix('[').removesuffix(']'))}"


def _address(text: str) -> str:
    import ipaddress  # noqa: PLC0415 - hosts and servers by address only

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadValueError(f"{quote(text)} is no IP address", "write it as 192.0.2.7 or 2001:db8::7") from None


def name_server(text: str) -> str:
    """An address."""
    return _address(text)


def search_domain(text: str) -> str:
    """A domain, or "." for none at all."""
    return text if text == "." else values.domain(text, "search domain")


def resolver_option(text: str) -> str:
    """A word such as ndots:3."""
    if not text or not text.isprintable() or any(c.isspace() for c in text):
        raise BadValueError(f"bad option {quote(text)} for resolv.conf", "write it as ndots:3")
    return text
