"""What only a try can tell: overlayfs and the network, each in namespaces of a thread that vanish with it.

Nobody else on the machine sees anything of it, also when this process is killed in the middle.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files, mounts, netlink, sysctl
from reconciler.engine.networks import bridge
from reconciler.engine.networks.addresses import Subnet
from reconciler.engine.networks.firewall import Firewall
from reconciler.engine.system.findings import MISSING, OK, Finding, install
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLONE_NEWNET = 0x40000000
_SUBNET = "172.17.0.0/16"
_NAME = "trial"


def overlay(scratch: str) -> Finding:
    """Mount an overlay; `scratch` is a folder of ours."""

    def attempt() -> None:
        mounts.mount_tmpfs(scratch, 1 << 20, 64)
        for name in ("lower", "upper", "work", "merged"):
            files.make_folders(os.path.join(scratch, name))
        upper, work, merged = (os.path.join(scratch, name) for name in ("upper", "work", "merged"))
        mounts.mount_overlay(scratch, ["lower"], upper, work, merged)

    if why := _trouble(lambda: mounts.in_private_namespace(attempt)):
        return Finding(
            "overlayfs", MISSING, f"an overlay can't be mounted: {why}", "the kernel needs the module overlay"
        )
    return Finding("overlayfs", OK, "an overlay can be mounted")


def network() -> Iterator[Finding]:
    """Make a bridge, a pair of veths and our firewall table, each beside nothing else."""
    steps: tuple[tuple[str, Callable[[], None], str], ...] = (
        ("bridge", lambda: bridge.ensure(_NAME, Subnet.of(_SUBNET)), "the kernel needs the module bridge"),
        ("veth", _veth, "the kernel needs the module veth"),
        (
            "nftables",
            lambda: Firewall(_NAME, _NAME).rebuild(_SUBNET, ()),
            f"{install('nftables')}; the kernel needs nf_tables, nft_ct, nft_nat, nft_masq and nft_fib_ipv4",
        ),
    )
    found: list[Finding] = []

    def attempt() -> None:
        mounts.unshare(_CLONE_NEWNET)
        for subject, step, remedy in steps:
            why = _trouble(step)
            found.append(Finding(subject, MISSING, why, remedy) if why else Finding(subject, OK, "works"))

    if why := _trouble(lambda: mounts.in_own_thread(attempt)):
        yield Finding(
            "network namespaces", MISSING, why, "the kernel needs CONFIG_NET_NS; containers need CAP_SYS_ADMIN"
        )
        return
    yield from found


def _veth() -> None:
    with netlink.opened() as connection:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            pair = netlink.link_add_veth("trial0", "trial1", peer_namespace=own, peer_mac="02:42:00:00:00:01", mtu=1500)
            netlink.change(connection, [pair])
        finally:
            os.close(own)


def _trouble(attempt: Callable[[], None]) -> str:
    """What went wrong, "" if nothing did."""
    try:
        attempt()
    except ReconcilerError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error)
    return ""


def forwarding() -> bool:
    """Whether the host passes packets on between its links now."""
    return sysctl.read("net/ipv4/ip_forward") == "1"
