"""Between the project's vocabulary and the engine's: desired containers to configurations, records to observations.

Pure. What the engine keeps for us without knowing what it means stands in a configuration's `notes`: the stack, the
key, the spec's origin and the canonical settings that later plans compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.containers.status import why
from reconciler.engine.records import (
    ContainerConfig,
    DeviceConfig,
    HealthConfig,
    LinkConfig,
    MountConfig,
    NamesConfig,
    PortConfig,
    PortLease,
    ResourceConfig,
    SecurityConfig,
    TmpfsConfig,
    UlimitConfig,
    VolumesFromConfig,
)
from reconciler.kits.frozen import replace
from reconciler.model.observed import ObservedContainer, PortBinding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.status import Status
    from reconciler.model.desired import Container, Healthcheck, Mount, Volume


def owner_of(stack: str, key: str) -> str:
    """How the engine groups a container with its successors."""
    return f"{stack}/{key}"


def configuration(
    stack: str,
    origin: str,
    container: Container,
    volumes: Mapping[str, Volume],
    anonymous: Mapping[str, str],
    name_of: Callable[[str], str],
) -> ContainerConfig:
    """What the engine is told to make; `name_of` gives the runtime's name of a container of the stack by key."""
    return ContainerConfig(
        name=container.name,
        image=container.image,
        command=container.command,
        entrypoint=container.entrypoint,
        environment=dict(container.environment),
        labels=dict(container.labels),
        links=tuple(LinkConfig(name_of(link.container), link.alias) for link in container.links),
        mounts=tuple(_mount(mount, volumes, anonymous) for mount in container.volumes),
        volumes_from=tuple(VolumesFromConfig(name_of(v.container), v.read_only) for v in container.volumes_from),
        ports=_ports(container),
        exposed=container.expose,
        restart=container.restart.policy,
        max_retries=container.restart.max_retries,
        health=_health(container.healthcheck),
        log_max_size=container.logging.max_size,
        log_max_file=container.logging.max_file,
        user=container.user,
        working_dir=container.working_dir,
        hostname=container.hostname,
        stop_signal=container.stop_signal,
        stop_timeout=container.stop_grace_period,
        platform=container.platform,
        init=container.init,
        interactive=container.stdin_open,
        terminal=container.tty,
        groups=container.group_add,
        oom_score=container.oom_score_adj,
        resources=_resources(container),
        ulimits=tuple(UlimitConfig(u.name, u.soft, u.hard) for u in container.ulimits),
        shm_size=container.shm_size,
        sysctls=dict(container.sysctls),
        security=_security(container),
        tmpfs=tuple(TmpfsConfig(t.target, t.options) for t in container.tmpfs),
        names=NamesConfig(
            container.extra_hosts, container.dns, container.dns_search, container.dns_opt, container.domainname
        ),
        owner=owner_of(stack, container.key),
        notes={"stack": stack, "key": container.key, "origin": origin, "settings": container.settings()},
    )


def updated(config: ContainerConfig, origin: str, container: Container) -> ContainerConfig:
    """`config` with what can change under an existing container taken from `container`; the rest is fixed with it."""
    return replace(
        config,
        labels=dict(container.labels),
        ports=_ports(container),
        restart=container.restart.policy,
        max_retries=container.restart.max_retries,
        health=_health(container.healthcheck),
        log_max_size=container.logging.max_size,
        log_max_file=container.logging.max_file,
        stop_signal=container.stop_signal,
        stop_timeout=container.stop_grace_period,
        resources=_resources(container),
        notes={**config.notes, "origin": origin, "settings": container.settings()},
    )


def _ports(container: Container) -> tuple[PortConfig, ...]:
    return tuple(
        PortConfig(p.container_port, p.protocol, p.host_ip, p.host_port, p.host_port_end) for p in container.ports
    )


def _mount(mount: Mount, volumes: Mapping[str, Volume], anonymous: Mapping[str, str]) -> MountConfig:
    source = mount.source
    if mount.kind == "volume":
        source = volumes[mount.source].name
    elif mount.kind == "anonymous":
        source = anonymous.get(mount.target, "")
    return MountConfig(mount.kind, source, mount.target, mount.read_only, mount.nocopy)


def _resources(container: Container) -> ResourceConfig:
    return ResourceConfig(
        memory=container.mem_limit,
        memory_reservation=container.mem_reservation,
        memory_swap=container.memswap_limit,
        swappiness=container.mem_swappiness,
        oom_kill_disable=container.oom_kill_disable,
        cpus=container.cpus,
        cpu_shares=container.cpu_shares,
        cpu_period=container.cpu_period,
        cpu_quota=container.cpu_quota,
        cpuset=container.cpuset,
        pids=container.pids_limit,
    )


def _security(container: Container) -> SecurityConfig:
    options = {name: value for name, _, value in (text.partition("=") for text in container.security_opt)}
    return SecurityConfig(
        privileged=container.privileged,
        capabilities_add=container.cap_add,
        capabilities_drop=container.cap_drop,
        no_new_privileges="no-new-privileges" in options,
        seccomp=container.seccomp_profile or options.get("seccomp", ""),
        apparmor=options.get("apparmor", ""),
        unmasked="systempaths" in options,
        read_only=container.read_only,
        devices=tuple(DeviceConfig(d.source, d.target, d.permissions) for d in container.devices),
        device_rules=container.device_cgroup_rules,
    )


def _health(check: Healthcheck | None) -> HealthConfig | None:
    if check is None:
        return None
    return HealthConfig(
        check.test,
        check.interval,
        check.timeout,
        check.start_period,
        check.start_interval,
        check.retries,
        restarts=check.restarts,
    )


def bindings(leases: Iterable[PortLease]) -> tuple[PortBinding, ...]:
    """Leases as port bindings."""
    return tuple(PortBinding(p.container_port, p.protocol, p.host_ip, p.host_port) for p in leases)


def leases(found: Iterable[PortBinding]) -> tuple[PortLease, ...]:
    """The inverse of `bindings`."""
    return tuple(PortLease(p.container_port, p.protocol, p.host_ip, p.host_port) for p in found)


def observation(record: Record, status: Status, health: str = "", drift: tuple[str, ...] = ()) -> ObservedContainer:
    """A record and its status as the planner sees them, what health checks say, and which limits are not its own."""
    notes: dict[str, Any] = record.config.notes
    return ObservedContainer(
        id=record.id,
        name=record.name,
        state=status.state,
        stack=notes.get("stack", ""),
        key=notes.get("key", ""),
        image=record.config.image,
        image_id=record.image,
        settings=notes.get("settings", {}),
        origin=notes.get("origin", ""),
        exit_code=status.exit_code,
        error=why(record, status),
        stopped_by_hand=record.wanted != "running" and bool(record.started),
        restart_count=record.restarts,
        health=health,
        health_restarts=record.health_restarts,
        address=record.address,
        ports=bindings(record.ports),
        anonymous={m.target: m.source for m in record.mounts if m.kind == "anonymous"},
        faults=status.faults,
        drift=drift,
        created_at=record.created,
        started_at=record.started,
        finished_at=status.finished or record.finished,
    )
