"""The files by which a container knows names: /etc/hosts, /etc/resolv.conf, /etc/hostname. All bind mounts of files.

A hosts file is changed in place, since a container keeps the inode that was mounted for ever, and with one write of
the same length: spaces at its end leave room for longer addresses. So a reader sees all of the old or all of the new
(on a tmpfs, where they lie; elsewhere the kernel may interleave a read and a write now and then).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BLOCK = 256
_ROOM = 32
"""Bytes that stay free for addresses that get longer; a file is a multiple of _BLOCK long."""
_LARGEST = 65536
"""Bytes. The container can make the file as long as it likes; a longer one is written anew, at its own length."""
_HEAD = (
    ("127.0.0.1", ("localhost",)),
    ("::1", ("localhost", "ip6-localhost", "ip6-loopback")),
    ("fe00::0", ("ip6-localnet",)),
    ("ff00::0", ("ip6-mcastprefix",)),
    ("ff02::1", ("ip6-allnodes",)),
    ("ff02::2", ("ip6-allrouters",)),
)
_NAME = re.compile(r"[^\s#\x00-\x1f\x7f]+\Z")

HOST_RESOLVER = "/etc/resolv.conf"
SYSTEMD_RESOLVER = "/run/systemd/resolve/resolv.conf"
DEFAULT_SERVERS = ("8.8.8.8", "8.8.4.4")
"""Docker's, for a host that has none but loopback ones."""


def content(address: str, hostname: str, links: Iterable[tuple[str, Sequence[str]]] = ()) -> bytes:
    """The text of /etc/hosts, padded. `links` are (address, names) of others; the container's own line comes last.

    A host name with a domain gets its first part as a second name. Names with spaces, newlines or # are refused.
    """
    own = (hostname, hostname.partition(".")[0]) if "." in hostname else (hostname,)
    lines = [
        f"{where}\t{' '.join(_checked(name) for name in dict.fromkeys(names))}\n"
        for where, names in (*_HEAD, *links, (address, own))
    ]
    text = "".join(lines).encode()
    room = len(text) + _ROOM
    return _fitted(text, room + -room % _BLOCK)


def _checked(name: str) -> str:
    if not _NAME.match(name):
        raise ReconcilerError(
            f"{name!r} can't stand in a hosts file", code="bad-name", hint="use a name without spaces, newlines and #"
        )
    return name


def _fitted(text: bytes, size: int) -> bytes:
    """The text with spaces before its last newline, so that it is `size` bytes long."""
    return text.rstrip(b" \n").ljust(size - 1, b" ") + b"\n"


def link_names(alias: str, target_id: str, target_name: str) -> tuple[str, ...]:
    """The names of a linked container: alias, short id, name; `NAME ID` when the alias is its name."""
    return tuple(dict.fromkeys((alias, target_id[:12], target_name)))


def update_in_place(path: str, address: str, hostname: str, links: Iterable[tuple[str, Sequence[str]]] = ()) -> bool:
    """Bring a mounted file of ours up to date; returns whether it was not. Never makes a file of a usual size shorter.

    What the container sees is reached by our own path alone: inside, links can lead anywhere on the host. Raises
    FileNotFoundError when `path` is gone.
    """
    text = content(address, hostname, links)
    fd = files.open_for_writing(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        size = os.fstat(fd).st_size
        if size > max(_LARGEST, len(text)):
            files.truncate(fd, 0)
            size = 0
        text = _fitted(text, max(size, len(text)))
        if os.pread(fd, len(text) + 1, 0) == text:
            return False
        files.pwrite(fd, text, 0)
    finally:
        os.close(fd)
    return True


def resolver(
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    host: str = HOST_RESOLVER,
    systemd: str = SYSTEMD_RESOLVER,
) -> str:
    """The text of /etc/resolv.conf: the host's, where nothing else is given, without servers that can't be reached.

    These are loopback ones and, as there is no IPv6 behind the bridge, IPv6 ones. Where none is left systemd-resolved's
    own list is tried, then Docker's default. With something given the order is Docker's: search, servers, options; what
    is not given is the host's. The search domain "." is none at all.
    """
    text = _host_resolver(host, systemd)
    if not (servers or search or options):
        return text
    domains = search or _last(text, "search") or _last(text, "domain")
    lines = [f"search {' '.join(domains)}"] if domains and list(domains) != ["."] else []
    lines += [f"nameserver {server}" for server in servers or _servers(text)]
    if words := options or _last(text, "options"):
        lines.append(f"options {' '.join(words)}")
    return "\n".join(lines) + "\n"


def _last(text: str, keyword: str) -> list[str]:
    """The words of the last line with a keyword: it is the one that counts (resolv.conf(5))."""
    found = [words[1:] for line in text.splitlines() if (words := line.split()) and words[0] == keyword]
    return found[-1] if found else []


def _host_resolver(host: str, systemd: str) -> str:
    text = files.read_text(host)
    kept = _reachable(text)
    if not _servers(kept):
        behind = _reachable(files.read_text(systemd))
        if _servers(behind):
            return behind
        kept += "".join(f"nameserver {server}\n" for server in DEFAULT_SERVERS)
    return kept


def _servers(text: str) -> list[str]:
    return [words[1] for line in text.splitlines() if len(words := line.split()) > 1 and words[0] == "nameserver"]


def _reachable(text: str) -> str:
    lines = []
    for line in text.splitlines():
        servers = _servers(line)
        if servers and (servers[0].startswith(("127.", "0.")) or ":" in servers[0]):
            continue
        lines.append(line + "\n")
    return "".join(lines)


def hostname_file(hostname: str) -> bytes:
    """The content of /etc/hostname."""
    return _checked(hostname).encode() + b"\n"
