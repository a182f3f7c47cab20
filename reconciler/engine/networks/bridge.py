"""The bridge and the containers' links to it: a veth pair each, made from the host into the runtime's own namespace.

When a container's namespace goes, both ends go by themselves: there is nothing to clean up, and no namespace is kept.
Addresses and the choice of the subnet are decided elsewhere (`addresses`, `pools`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.kernel import netlink, sysctl
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.networks.addresses import Subnet

MTU = 1500
_PATIENCE = 2.0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One at a time in this network namespace, over all processes and pairs of roots: the lock is the namespace's file.

    For choosing a subnet and for making or removing bridge and table; not for single containers.
    """
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def mac_of(address: str) -> str:
    """02:42 and the address's four bytes, as Docker did: the same address has the same MAC."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _settings(name: str) -> tuple[tuple[str, str], ...]:
    return (
        ("net/ipv4/ip_forward", "1"),
        (f"net/ipv4/conf/{name}/route_localnet", "1"),  # 127.0.0.1:PORT of the host leads to a container
        (f"net/ipv6/conf/{name}/disable_ipv6", "1"),  # else duplicate address detection delays and announces
    )


def present(name: str, subnet: Subnet) -> bool:
    """Whether the bridge is there, up, with its address and settings."""
    index = netlink.index_of(name)
    if not index or any(sysctl.read(key) not in ("", value) for key, value in _settings(name)):
        return False
    return netlink.has_address(name, subnet.gateway)


def ensure(name: str, subnet: Subnet) -> None:
    """Make the bridge, or what is missing of it. The caller is `alone`."""
    with netlink.opened() as connection:
        if not netlink.index_of(name):
            netlink.change(connection, [netlink.link_add_bridge(name, mac_of(subnet.gateway))])
        for key, value in _settings(name):
            sysctl.ensure(key, value)
        if netlink.has_address(name, subnet.gateway):
            return
        index = netlink.index_of(name)
        with contextlib.suppress(FileExistsError):
            netlink.change(
                connection,
                [netlink.address_add(index, subnet.gateway, subnet.prefix), netlink.link_set_up(index)],
            )


def remove(name: str) -> None:
    """Remove the bridge; none there is fine. The caller is `alone`."""
    if netlink.index_of(name):
        with netlink.opened() as connection:
            netlink.change(connection, [netlink.link_del(name)])


def veth_name(container: str, generation: int) -> str:
    """The host end's name: one for each start, since a dead one's may stay for 60 ms. 14 characters of 15."""
    return f"rc{container[:8]}{generation & 0xFFFF:x}"


def connect(name: str, subnet: Subnet, container: str, generation: int, *, pid: int, address: str) -> None:
    """Give the network namespace of process `pid` its loopback, an `eth0` with `address`, and the route out.

    Call it when the runtime has created the container and its first process waits. Raises `ReconcilerError`.
    """
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ReconcilerError(
            f"container {container[:12]} ended before it got its network", code="container-gone"
        ) from error
    veth = veth_name(container, generation)
    try:
        master = netlink.index_of(name)
        if not master:
            raise OSError(errno.ENODEV, "there is no such bridge", name)
        pair = [
            netlink.link_add_veth(
                veth, "eth0", peer_namespace=namespace, peer_mac=mac_of(address), mtu=MTU, master=master
            )
        ]
        with netlink.opened() as host:
            netlink.in_network_namespace(namespace, lambda: _connect(host, veth, pair, subnet, address))
            _wait_until_running(veth)
            # With br_netfilter a container reaches its own published port only by a hairpin.
            netlink.change(host, [netlink.link_set_hairpin(veth)])
    except OSError as error:
        raise ReconcilerError(
            f"container {container[:12]} could not be connected to {name}: {error.strerror} ({error.filename})",
            code="network",
            hint="`ip -d link` shows the bridge and its ports",
        ) from error
    finally:
        os.close(namespace)


def attach(name: str, veth: str) -> None:
    """Make a connected container's host end a port of the bridge again, after the bridge was made anew."""
    index = netlink.index_of(veth)
    if index:
        with netlink.opened() as host:
            netlink.change(host, [netlink.link_set_master(index, netlink.index_of(name))])
            netlink.change(host, [netlink.link_set_up(index), netlink.link_set_hairpin(veth)])


def _connect(host: netlink.Connection, veth: str, pair: list[netlink.Request], subnet: Subnet, address: str) -> None:
    """In a thread inside the container's namespace; `host` is a netlink socket of the host's."""
    for key, value in (
        ("net/ipv6/conf/default/disable_ipv6", "1"),  # for eth0, which is yet to come; ::1 stays
        ("net/ipv4/conf/default/arp_notify", "1"),  # tell the bridge at once who has the address now
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
    ):
        with contextlib.suppress(FileNotFoundError):
            sysctl.write(key, value)
    try:
        netlink.change(host, pair)
    except FileExistsError:  # an interrupted run with the same number
        with contextlib.suppress(OSError):
            netlink.change(host, [netlink.link_del(veth)])
        netlink.change(host, pair)
    index = netlink.index_of("eth0")
    with netlink.opened() as inside:
        netlink.change(
            inside,
            [
                netlink.link_set_up(1),
                netlink.address_add(index, address, subnet.prefix),
                netlink.link_set_up(index),
                netlink.route_add_default(subnet.gateway, index),
            ],
        )


def _wait_until_running(name: str) -> None:
    """The kernel takes note of the far end's coming up in the background; until then the bridge drops all packets,

    and who tries to connect waits a second for TCP's next attempt. It holds the lock that the caller's next request
    waits for, so that after this and that request the port forwards.
    """
    end = time.monotonic() + _PATIENCE
    while not netlink.flags_of(name) & netlink.IFF_RUNNING and time.monotonic() < end:
        time.sleep(0.0001)
