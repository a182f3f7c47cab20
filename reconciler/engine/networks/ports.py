"""Published ports: leases in the store, sockets that hold them on the host, and who is in the way.

A lease belongs to a container while that exists; it is held, by sockets that the container's monitor inherits, while
that runs. Random ports are remembered for the owner, so that its next container gets the same one when it is free.
Whether packets arrive is `firewall`'s business.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import sockets
from reconciler.engine.records import PortLease
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator

    from reconciler.engine.records import PortConfig

FIRST_RANDOM, LAST_RANDOM = 32768, 60999
"""Docker counts random host ports up from here; the end is Linux's default for ephemeral ports."""


class Busy(Frozen):
    """A host port that a container could not get now, and who has it, in words; `container` is the name of one of ours."""

    host_ip: str
    host_port: int
    protocol: str
    holder: str
    container: str = ""


def show(host_ip: str, port: int, protocol: str) -> str:
    """`127.0.0.1:8080/tcp`, or `8080/tcp` for all addresses."""
    address = f"[{host_ip}]" if ":" in host_ip else host_ip
    return f"{address}:{port}/{protocol}" if address else f"{port}/{protocol}"


# --- leases ---------------------------------------------------------------------------------------------------------


def lease(
    connection: sqlite3.Connection,
    container: str,
    owner: str,
    requests: Iterable[PortConfig],
    kept: Iterable[PortLease] = (),
) -> tuple[PortLease, ...]:
    """Give the container a host port for each request and write the leases down; in the order of the requests.

    Replaces what the container held. `kept` are leases that it or its predecessor had: the same ports again where
    they fit and are free. Raises `ReconcilerError` (code "port-taken") that names the container in the way.
    """
    connection.execute("DELETE FROM ports WHERE container = ?", (container,))
    requests = tuple(requests)
    pool = list(kept)
    given: dict[int, PortLease] = {}
    # Fixed ports first: a random one must not sit on what a later request asks for.
    order = sorted(range(len(requests)), key=lambda index: _freedom(requests[index]))
    for index in order:
        request = requests[index]
        port = _find(connection, container, owner, request, pool)
        made = PortLease(request.container_port, request.protocol, request.host_ip, port)
        connection.execute(
            "INSERT INTO ports VALUES (?, ?, ?, ?, ?, ?)",
            (container, made.container_port, made.protocol, made.host_ip, port, int(not request.host_port)),
        )
        given[index] = made
    if owner:
        _remember(connection, owner, [given[i] for i in order if not requests[i].host_port])
    return tuple(given[index] for index in range(len(requests)))


def leases_of(connection: sqlite3.Connection, container: str) -> tuple[PortLease, ...]:
    """What the container holds, by container port."""
    rows = connection.execute(
        "SELECT container_port, protocol, host_ip, host_port FROM ports WHERE container = ? ORDER BY 1, 2, 3, 4",
        (container,),
    )
    return tuple(PortLease(*row) for row in rows)


def _freedom(request: PortConfig) -> int:
    if not request.host_port:
        return 2
    return 1 if request.host_port_end > request.host_port else 0


def _find(
    connection: sqlite3.Connection, container: str, owner: str, request: PortConfig, pool: list[PortLease]
) -> int:
    taken = _taken(connection, request)
    if _freedom(request) == 0:
        if request.host_port in taken:
            raise _conflict(connection, request, request.host_port, taken[request.host_port], container)
        return request.host_port
    low, high = (request.host_port, request.host_port_end) if request.host_port else (FIRST_RANDOM, LAST_RANDOM)
    for port in _preferred(connection, owner, request, pool):
        if low <= port <= high and port not in taken and _bindable(request, port):
            return port
    promised = set() if request.host_port else _remembered(connection, request) | {had.host_port for had in pool}
    for port in range(low, high + 1):
        if port not in taken and port not in promised and _bindable(request, port):
            return port
    raise ReconcilerError(
        f"no host port from {low} to {high} is free for {request.container_port}/{request.protocol}",
        code="port-taken",
        hint="`ss -lntu` lists what listens here, `reconciler ps` what is published",
    )


def _taken(connection: sqlite3.Connection, request: PortConfig) -> dict[int, str]:
    rows = connection.execute("SELECT host_port, host_ip, container FROM ports WHERE protocol = ?", (request.protocol,))
    return {row[0]: row[2] for row in rows if _clash(row[1], request.host_ip)}


def _clash(one: str, other: str) -> bool:
    """Whether one port can't be given out on both addresses; "" is 0.0.0.0 and ::."""
    if "" in (one, other) or one == other:
        return True
    wild = {"0.0.0.0", "::"} & {one, other}  # noqa: S104
    return bool(wild) and (":" in one) == (":" in other)


def _conflict(
    connection: sqlite3.Connection, request: PortConfig, port: int, other: str, container: str
) -> ReconcilerError:
    where = show(request.host_ip, port, request.protocol)
    if other == container:
        return ReconcilerError(
            f"host port {where} is asked for twice", code="port-taken", hint="publish each host port once"
        )
    return ReconcilerError(
        f"host port {where} is already allocated to container {_name(connection, other)}",
        code="port-taken",
        hint="choose another host port, or leave it out for a random one",
    )


def _name(connection: sqlite3.Connection, container: str) -> str:
    row = connection.execute("SELECT name FROM containers WHERE id = ?", (container,)).fetchone()
    return str(row[0]) if row else container[:12]


def _preferred(connection: sqlite3.Connection, owner: str, request: PortConfig, pool: list[PortLease]) -> Iterator[int]:
    key = (request.container_port, request.protocol, request.host_ip)
    for had in pool:
        if (had.container_port, had.protocol, had.host_ip) == key:
            yield had.host_port
    if owner and not request.host_port:
        rows = connection.execute(
            "SELECT host_port FROM remembered_ports WHERE owner = ? AND container_port = ? AND protocol = ?"
            " AND host_ip = ? ORDER BY host_port",
            (owner, *key),
        ).fetchall()
        yield from (row[0] for row in rows)


def _remembered(connection: sqlite3.Connection, request: PortConfig) -> set[int]:
    """Random ports that somebody will want again."""
    rows = connection.execute("SELECT host_port FROM remembered_ports WHERE protocol = ?", (request.protocol,))
    return {row[0] for row in rows}


def _remember(connection: sqlite3.Connection, owner: str, given: list[PortLease]) -> None:
    for one in given:
        connection.execute(
            "DELETE FROM remembered_ports WHERE owner = ? AND container_port = ? AND protocol = ? AND host_ip = ?",
            (owner, one.container_port, one.protocol, one.host_ip),
        )
    for one in given:
        connection.execute(
            "INSERT OR IGNORE INTO remembered_ports VALUES (?, ?, ?, ?, ?)",
            (owner, one.container_port, one.protocol, one.host_ip, one.host_port),
        )


def pass_on(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Let another owner have what is remembered for one, in place of what was remembered for it."""
    if old:
        connection.execute("DELETE FROM remembered_ports WHERE owner = ?", (new,))
        connection.execute("UPDATE remembered_ports SET owner = ? WHERE owner = ?", (new, old))


# --- holding --------------------------------------------------------------------------------------------------------


def hold(leases: Iterable[PortLease]) -> list[int]:
    """Bind a socket for each lease (two for all addresses, where IPv6 is on); descriptors to pass to the monitor.

    The caller closes its own copies. Raises `ReconcilerError` (code "port-taken", "no-such-address") that names the
    program in the way; nothing stays bound then.
    """
    held: list[int] = []
    try:
        for one in leases:
            for address in _hosts(one.host_ip):
                fd = _bind(one, address)
                if fd >= 0:
                    held.append(fd)
    except BaseException:
        for fd in held:
            os.close(fd)
        raise
    return held


def _hosts(host_ip: str) -> tuple[str, ...]:
    if host_ip:
        return (host_ip,)
    return ("0.0.0.0", "::") if sockets.has_ipv6() else ("0.0.0.0",)  # noqa: S104


def _bind(one: PortLease, address: str) -> int:
    fd = _try_to_bind(one, address)
    if fd is not None:
        return fd
    blocker = sockets.holder(address, one.host_port, one.protocol)
    if blocker and blocker.lingers:
        with contextlib.suppress(OSError):
            return sockets.bind(address, one.host_port, one.protocol, reuse=True)
    who = _describe([blocker])[0] if blocker else "a program that has bound it without listening"
    raise ReconcilerError(
        f"host port {show(one.host_ip, one.host_port, one.protocol)} is in use by {who}",
        code="port-taken",
        hint="stop that program, or publish another host port",
    )


def _try_to_bind(one: PortLease, address: str) -> int | None:
    """A descriptor, -1 where there is nothing to hold, or None when somebody has the port."""
    try:
        return sockets.bind(address, one.host_port, one.protocol)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            return -1  # SCTP without its module: the port map works all the same
        if error.errno == errno.EADDRINUSE:
            return None
        if error.errno == errno.EADDRNOTAVAIL:
            raise ReconcilerError(
                f"host port {show(one.host_ip, one.host_port, one.protocol)} can't be published: "
                f"{address} is not an address of this host",
                code="no-such-address",
                hint="`ip address` lists the addresses; leave the address out to publish on all of them",
            ) from error
        raise ReconcilerError(
            f"host port {show(one.host_ip, one.host_port, one.protocol)} can't be held: {error.strerror}",
            code="port-taken",
        ) from error


def _bindable(request: PortConfig, port: int) -> bool:
    """Whether a port that is to be chosen is free now. Asked under the store's lock: who has it is of no interest."""
    probe = PortLease(request.container_port, request.protocol, request.host_ip, port)
    for address in _hosts(request.host_ip):
        fd = _try_to_bind(probe, address)
        if fd is None:
            return False
        if fd >= 0:
            os.close(fd)
    return True


def _describe(blockers: list[sockets.LocalSocket]) -> list[str]:
    owners = sockets.owners({found.inode for found in blockers})
    words = []
    for found in blockers:
        pid, program = owners.get(found.inode, (0, ""))
        if pid:
            words.append(f"{program} (process {pid})")
        elif found.lingers:
            words.append("a connection that has just been closed (it goes within a minute)")
        else:
            words.append("a program that can't be seen from here")
    return words


# --- preflight ------------------------------------------------------------------------------------------------------


def busy(connection: sqlite3.Connection, requests: Iterable[PortConfig], ignore: Collection[str] = ()) -> list[Busy]:
    """The fixed ports among `requests` that could not be had now, each with its holder in words. Binds for a moment.

    `ignore` are ids of containers that will be gone by then. A socket bound but not listening (another pair of roots'
    monitors hold theirs so) is in no table of the kernel's, and has no name here.
    """
    fixed = [request for request in requests if _freedom(request) == 0]
    if not fixed:
        return []
    found: list[Busy] = []
    open_questions: list[tuple[PortConfig, sockets.LocalSocket]] = []
    tables: dict[str, list[sockets.LocalSocket]] = {}
    for request in fixed:
        other = _taken(connection, request).get(request.host_port)
        if other:
            if other not in ignore:
                name = _name(connection, other)
                found.append(_busy(request, f"container {name}", name))
            continue
        if _can_be_had(request):
            continue
        if request.protocol not in tables:  # the kernel takes milliseconds to list them
            tables[request.protocol] = sockets.local_sockets(request.protocol)
        for address in _hosts(request.host_ip):
            blocker = sockets.first_in_the_way(tables[request.protocol], address, request.host_port)
            if blocker and not blocker.lingers:
                open_questions.append((request, blocker))
                break
    words = _describe([blocker for _, blocker in open_questions]) if open_questions else []
    found += [_busy(request, text) for (request, _), text in zip(open_questions, words, strict=True)]
    return found


def _can_be_had(request: PortConfig) -> bool:
    """Whether binding works, or fails for a reason that only the container's start can tell in full."""
    try:
        return _bindable(request, request.host_port)
    except ReconcilerError:
        return True


def _busy(request: PortConfig, holder: str, container: str = "") -> Busy:
    return Busy(request.host_ip, request.host_port, request.protocol, holder, container)
