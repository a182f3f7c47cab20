"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in capitals or not.

As Go reads them, and so Docker. Only this room may import it. Source: golang.org/x/net/http/httpproxy.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.masking import masked
from reconciler.kits.text import quote


class Proxy(NamedTuple):
    """A proxy; `authorization` is the header's value, "" for none."""

    host: str
    port: int
    authorization: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy for a request to that host, None for none. Raises `ReconcilerError` for an address that is none."""
    name = f"{scheme}_proxy"
    value = _variable(name)
    if not value or is_loopback(host) or _exempt(host, port, _variable("no_proxy")):
        return None
    if "://" not in value:
        value = f"http://{value}"
    try:
        parts = urlsplit(value)
        number = parts.port or 80
    except ValueError:
        parts, number = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise ReconcilerError(
            f"{name.upper()} is {quote(masked('', value), 200)}, which is not the address of an HTTP proxy",
            code="proxy",
            hint="write it like http://proxy.example.com:3128",
        )
    authorization = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, number, authorization)


def _variable(name: str) -> str:
    return os.environ.get(name.upper()) or os.environ.get(name) or ""


def is_loopback(host: str) -> bool:
    """Whether it is this machine by a name or address that leads nowhere else."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _exempt(host: str, port: int, exceptions: str) -> bool:
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for item in exceptions.split(","):
        word = item.strip().lower()
        if word == "*":
            return True
        if address is not None and "/" in word:
            try:
                if address in ipaddress.ip_network(word, strict=False):
                    return True
            except ValueError:
                pass
            continue
        name, _, number = word.rpartition(":") if word.count(":") == 1 else (word, "", "")
        if not name or (number and number != str(port)):
            continue
        name = name.removeprefix("*")
        if host == name.strip("[]") or (
            address is None and host.endswith(name if name.startswith(".") else f".{name}")
        ):
            return True
    return False
