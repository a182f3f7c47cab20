"""Groups of a container's keys that are read alike: process, resources, confinement, names.

Each gives the fields of `model.desired.Container` that it is for. Loaded where a container has one of these keys: few
have. For the spec room only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.spec import confinement, limits, names, values
from reconciler.spec.fields import text_of
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from reconciler.model.desired import Device, Tmpfs, Ulimit
    from reconciler.sources.tree import Tree
    from reconciler.spec.fields import Fields


def every(read: Fields, tree: Tree) -> dict[str, Any]:
    """The fields of all groups; what is not set is at its default."""
    return {**process(read), **resources(read), **confinement_of(read, tree), **names_of(read)}


def process(read: Fields) -> dict[str, Any]:
    """What its first process is given."""
    return {
        "platform": read.text("platform", confinement.platform, ""),
        "init": read.flag("init"),
        "stdin_open": read.flag("stdin_open"),
        "tty": read.flag("tty"),
        "group_add": read.texts("group_add", confinement.group),
    }


def resources(read: Fields) -> dict[str, Any]:
    """What it may take of the machine."""
    return {
        "mem_limit": read.text("mem_limit", limits.memory, 0),
        "mem_reservation": read.text("mem_reservation", values.size, 0),
        "memswap_limit": read.text("memswap_limit", limits.memory_and_swap, 0),
        "mem_swappiness": read.text("mem_swappiness", limits.swappiness, None),
        "oom_kill_disable": read.flag("oom_kill_disable"),
        "oom_score_adj": read.text("oom_score_adj", limits.oom_score, 0),
        "cpus": read.text("cpus", limits.processors, 0.0),
        "cpu_shares": read.text("cpu_shares", limits.shares, 0),
        "cpu_period": read.text("cpu_period", limits.period, 0),
        "cpu_quota": read.text("cpu_quota", limits.quota, 0),
        "cpuset": read.text("cpuset", limits.processor_set, ""),
        "pids_limit": read.text("pids_limit", limits.processes, 0),
        "ulimits": _ulimits(read),
        "shm_size": read.text("shm_size", values.size, 0),
        "sysctls": _sysctls(read),
    }


def _ulimits(read: Fields) -> tuple[Ulimit, ...]:
    def meant(name: str, node: Node) -> tuple[Ulimit, Node]:
        if isinstance(node, Mapping):
            return limits.ulimit(name, text_of(node, "soft"), text_of(node, "hard")), node
        both = node.text if isinstance(node, Scalar) else ""
        return limits.ulimit(name, both, both), node

    found = []
    for index, (_, (ulimit, node)) in enumerate(read.entries("ulimits", meant)):
        read.stands("ulimits", index, node)
        found.append(ulimit)
    return tuple(found)


def _sysctls(read: Fields) -> dict[str, str]:
    found = {}
    for name, value, place in read.pairs("sysctls"):
        if known := read.attempt(place, limits.sysctl, name):
            found[known] = value or ""
    return found


def confinement_of(read: Fields, tree: Tree) -> dict[str, Any]:
    """What it may do, and what is kept from it. A seccomp profile is read through `tree`."""
    profiles: list[str] = []

    def security_option(text: str) -> str:
        option = confinement.security_option(text)
        if path := confinement.profile_path(option):
            profiles.append(confinement.seccomp_profile(path, tree.read(path)))
        return option

    options = read.texts("security_opt", security_option)
    read.same_place("seccomp_profile", "security_opt")
    return {
        "privileged": read.flag("privileged"),
        "cap_add": read.texts("cap_add", confinement.capability),
        "cap_drop": read.texts("cap_drop", confinement.capability),
        "security_opt": options,
        "seccomp_profile": profiles[-1] if profiles else "",
        "devices": tuple(read.items("devices", lambda text: [confinement.device(text)], _long_device)),
        "device_cgroup_rules": read.texts("device_cgroup_rules", confinement.device_rule),
        "read_only": read.flag("read_only"),
        "tmpfs": _tmpfs(read),
    }


def _long_device(item: Mapping) -> list[Device]:
    return [confinement.make_device(text_of(item, "source"), text_of(item, "target"), text_of(item, "permissions"))]


def _tmpfs(read: Fields) -> tuple[Tmpfs, ...]:
    """Those under `tmpfs`, then the mounts of that type."""
    short = [confinement.tmpfs(text) for text in read.texts("tmpfs", lambda text: text and _known_tmpfs(text))]
    for item in read.maps("volumes"):
        if text_of(item, "type") == "tmpfs" and (found := read.attempt(item, _long_tmpfs, item)):
            read.stands("tmpfs", len(short), item)
            short.append(found)
    return tuple(short)


def _known_tmpfs(text: str) -> str:
    confinement.tmpfs(text)
    return text


def _long_tmpfs(item: Mapping) -> Tmpfs:
    options, flag = item.get("tmpfs"), item.get("read_only")
    size = text_of(options, "size") if isinstance(options, Mapping) else ""
    mode = text_of(options, "mode") if isinstance(options, Mapping) else ""
    read_only = isinstance(flag, Scalar) and flag.truth
    return confinement.make_tmpfs(text_of(item, "target"), size, mode, read_only=read_only)


def names_of(read: Fields) -> dict[str, Any]:
    """What names mean inside."""
    return {
        "extra_hosts": _extra_hosts(read),
        "dns": read.texts("dns", names.name_server),
        "dns_search": read.texts("dns_search", names.search_domain),
        "dns_opt": read.texts("dns_opt", names.resolver_option),
        "domainname": read.text("domainname", lambda text: values.domain(text, "domain name"), ""),
    }


def _extra_hosts(read: Fields) -> tuple[str, ...]:
    def meant(name: str, node: Node) -> list[str]:
        items = node.items if isinstance(node, Sequence) else [node]
        return [names.make_extra_host(name, item.text) for item in items if isinstance(item, Scalar)]

    if found := [host for _, hosts in read.entries("extra_hosts", meant) for host in hosts]:
        return tuple(dict.fromkeys(found))
    return read.texts("extra_hosts", names.extra_host)
