"""`system check`: what this machine lacks for containers, what will be a trouble soon, and what to do about each.

In the order in which one would repair it: programs, kernel, control groups, security, network, places, remains.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import apparmor, vetting
from reconciler.engine.containers.runtime import INIT_PACKAGE, NO_INIT, find_init, find_oci_runtime, find_program
from reconciler.engine.kernel import cgroups, nftables, processes, rooted, seccomp, sysctl
from reconciler.engine.networks import pools
from reconciler.engine.networks.firewall import Firewall
from reconciler.engine.system import remains, trials
from reconciler.engine.system.findings import MISSING, OK, WARNING, Finding, install
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.facade import Engine

_LITTLE, _TOO_LITTLE = 2 << 30, 256 << 20
"""Bytes left for images and volumes: below the first it warns, below the second nothing worth the name fits."""

_LITTLE_FOR_RUN = 16 << 20
_FEW_FILES = 0.05

_UNFIT = {
    "overlay": "an overlay's writable layer can't lie on an overlay",
    "nfs": "overlayfs does not take NFS",
    "nfs4": "overlayfs does not take NFS",
    "9p": "overlayfs does not take 9p",
    "vfat": "it keeps neither owners nor modes",
}


def every(engine: Engine) -> Iterator[Finding]:
    """All findings, those that are fine too."""
    yield from _programs(engine)
    yield from _kernel(engine)
    yield from _control_groups()
    yield from _security()
    yield from _network(engine)
    yield from _places(engine)
    yield remains.finding(engine)


def _programs(engine: Engine) -> Iterator[Finding]:
    yield _oci_runtime(engine)
    for name, package, what in (
        ("conmon", "conmon", "the monitor that stays beside each container"),
        ("nft", "nftables", "the firewall's program"),
        ("flock", "util-linux", "asked by what runs after a container's end"),
    ):
        path = find_program(name)
        yield Finding(name, *(OK, path) if path else (MISSING, f"{name} is not installed: {what}", install(package)))
    init = find_init()
    lacking = f"{NO_INIT}: containers with `init: true` are refused"
    yield Finding("init", *(OK, init) if init else (WARNING, lacking, install(INIT_PACKAGE)))


def _oci_runtime(engine: Engine) -> Finding:
    kind, program = find_oci_runtime()
    if not program:
        return Finding("OCI runtime", MISSING, "neither crun nor runc is installed", install("crun"))
    vetted = vetting.vet(program, kind, engine.paths.cache)
    if vetted.refused:
        return Finding("OCI runtime", MISSING, *vetting.refusal(program, vetted))
    if vetted.told:
        return Finding(
            "OCI runtime", WARNING, f"{program} has known weaknesses: {'; '.join(vetted.told)}", install("crun")
        )
    return Finding("OCI runtime", OK, program if kind == "crun" else f"{program} (crun is quicker)")


def _kernel(engine: Engine) -> Iterator[Finding]:
    release = os.uname().release
    lacking = [name for name in ("pid", "net", "ipc", "uts", "mnt") if not os.path.exists(f"/proc/self/ns/{name}")]
    if lacking:
        yield Finding("kernel", MISSING, f"{release} has no {', '.join(lacking)} namespaces", "boot another kernel")
    else:
        yield Finding("kernel", OK, release)
    try:
        with rooted.open_root("/") as root:
            root.stat("/")
        yield Finding("openat2", OK, "works")
    except ReconcilerError as error:
        yield Finding("openat2", MISSING, error.message, error.hint)
    if not processes.has_capability(processes.CAP_SYS_RESOURCE):
        yield Finding(
            "capabilities",
            WARNING,
            "we run without CAP_SYS_RESOURCE: limits can't be raised, monitors are not spared when memory ends",
            "run reconciler as root of the machine itself, not inside a container",
        )
    yield trials.overlay(engine.paths.run)


def _control_groups() -> Iterator[Finding]:
    form = cgroups.form()
    if not form:
        yield Finding("control groups", MISSING, "none are mounted", "mount -t cgroup2 none /sys/fs/cgroup")
        return
    yield Finding("control groups", OK, form if form != "hybrid" else "hybrid: v1, and v2 without controllers")
    for name in ("memory", "cpu", "pids", "cpuset"):
        if not cgroups.controller(name):
            remedy = "boot the kernel with cgroup_enable=memory" if name == "memory" else "boot another kernel"
            yield Finding(name, WARNING, f"no {name} controller: such limits are refused", remedy)
        elif not cgroups.is_delegated(name):
            remedy = "run reconciler outside of the group that it is in"
            yield Finding(name, WARNING, f"the {name} controller is not enabled where we are", remedy)
        else:
            yield Finding(name, OK, "can be limited")
    if cgroups.controller("memory"):
        if cgroups.counts_swap():
            yield Finding("swap", OK, "can be limited")
        else:
            message = "the kernel does not count swap: memswap_limit is refused"
            yield Finding("swap", WARNING, message, "boot the kernel with swapaccount=1")


def _security() -> Iterator[Finding]:
    if sysctl.read("kernel/seccomp/actions_avail"):
        version = seccomp.library_version()
        yield (
            Finding("seccomp", OK, f"filters are compiled by libseccomp {version}")
            if version
            else Finding("seccomp", WARNING, "without libseccomp each start takes longer", install("libseccomp2"))
        )
    else:
        yield Finding(
            "seccomp", MISSING, "the kernel has no seccomp filters", "boot a kernel with CONFIG_SECCOMP_FILTER"
        )
    if not apparmor.enabled():
        yield Finding("AppArmor", OK, "off in this kernel: containers have no AppArmor profile")
    elif apparmor.parser():
        yield Finding("AppArmor", OK, f"containers get the profile {apparmor.default_profile()[0]}")
    else:
        message = "on, but its parser is not installed: containers have no AppArmor profile"
        yield Finding("AppArmor", WARNING, message, install("apparmor"))


def _network(engine: Engine) -> Iterator[Finding]:
    yield from trials.network()
    if trials.forwarding():
        yield Finding("forwarding", OK, "on")
    elif os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK):
        yield Finding("forwarding", OK, "off: the first container's start turns it on")
    else:
        yield Finding("forwarding", MISSING, "off, and can't be turned on from here", "sysctl -w net.ipv4.ip_forward=1")
    if sysctl.read("net/bridge/bridge-nf-call-iptables") == "1":
        yield Finding("br_netfilter", OK, "on: other firewalls see what containers send each other")
    if not engine.network.subnet():
        try:
            yield Finding("addresses", OK, f"{pools.choose(pools.in_use())} is free")
        except ReconcilerError as error:
            yield Finding("addresses", MISSING, error.message, error.hint)
    yield from _firewalls(engine)


def _firewalls(engine: Engine) -> Iterator[Finding]:
    bridge = engine.paths.bridge
    if Firewall(engine.paths.table, bridge).blocked():
        yield Finding(
            "other firewalls", OK, "iptables drops what is forwarded: the first start adds two rules that let ours pass"
        )
    chains = [(family, chain) for family in ("ip", "inet") for chain in nftables.chains(family)]
    for family, chain in chains:
        if not chain.forwards or chain.policy != "drop" or (family, chain.table) == ("ip", "filter"):
            continue
        yield Finding(
            "other firewalls",
            WARNING,
            f"the chain {chain.name} of the nftables table {chain.table} drops what is forwarded, ours too",
            f"nft insert rule {family} {chain.table} {chain.name} iifname {bridge} accept; and the same with oifname",
        )


def _places(engine: Engine) -> Iterator[Finding]:
    root, run = engine.paths.root, engine.paths.run
    kind = _file_system(root)
    if kind in _UNFIT:
        yield Finding("root", MISSING, f"{root} is on {kind}: {_UNFIT[kind]}", "set RECONCILER_ROOT to another disk")
    else:
        yield Finding("root", OK, f"{root} (0700, {kind})")
    volatile = _file_system(run)
    if volatile in ("tmpfs", "ramfs"):
        yield Finding("run", OK, f"{run} (0700, {volatile})")
    else:
        message = f"{run} is on {volatile}, and what is in there is of no use after a reboot"
        yield Finding("run", WARNING, message, "set RECONCILER_RUN to a folder on a tmpfs, or leave it unset")
    yield _space("space", root, _LITTLE, _TOO_LITTLE)
    yield _space("space for running", run, _LITTLE_FOR_RUN, 1 << 20)
    yield _clock(engine)


def _file_system(path: str) -> str:
    """The type of the file system that `path` is on, as in /proc/self/mountinfo."""
    facts = os.stat(path).st_dev
    wanted = f"{os.major(facts)}:{os.minor(facts)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.split()[2] == wanted:
                return line.partition(" - ")[2].split()[0]
    return "an unknown file system"


def _space(subject: str, path: str, little: int, too_little: int) -> Finding:
    facts = os.statvfs(path)
    free = facts.f_bavail * facts.f_frsize
    message = f"{human_size(free)} free in {path}"
    if free < little:
        state = MISSING if free < too_little else WARNING
        return Finding(subject, state, message, "reconciler image prune; reconciler volume ls shows what nobody uses")
    if facts.f_files and facts.f_favail < facts.f_files * _FEW_FILES:
        return Finding(subject, WARNING, f"{facts.f_favail} files left in {path}", "reconciler image prune")
    return Finding(subject, OK, message)


def _clock(engine: Engine) -> Finding:
    try:
        behind = os.stat(engine.paths.store).st_mtime - time.time()
    except FileNotFoundError:
        behind = 0.0
    if behind > 60:
        message = f"it is {behind:.0f} s behind our last change: it was set back, and restarts may be late"
        return Finding("clock", WARNING, message, "see that the time is synchronised: timedatectl")
    return Finding("clock", OK, time.strftime("%Y-%m-%d %H:%M:%S %Z"))
