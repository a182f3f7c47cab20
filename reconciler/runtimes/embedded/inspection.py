"""What `inspect` shows, in the form of the Docker Engine API (v1.41: ContainerInspect, ImageInspect, Volume).

Only what this engine has; nothing is made up. Secrets are masked by whoever prints.
"""

from __future__ import annotations

import datetime
import json
import os
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import apparmor, bundle, catalog, confinement, effective, resources, status
from reconciler.engine.containers.health import journal
from reconciler.kits import references

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.containers.catalog import Record, ResolvedMount
    from reconciler.engine.facade import Engine
    from reconciler.engine.records import ContainerConfig, HealthConfig, ImageConfig, NamesConfig

_NEVER = "0001-01-01T00:00:00Z"


def _time(seconds: float) -> str:
    if not seconds:
        return _NEVER
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def container(engine: Engine, name: str) -> dict[str, Any]:
    """One container."""
    record = engine.containers.find(name)
    image = engine.images.resolve(record.image)
    now = engine.containers.status(record)
    running = now.is_up
    arguments = effective.arguments_of(record.config, image)
    folder, names = engine.paths.container(record.id), engine.paths.names(record.id)
    return {
        "Id": record.id,
        "Created": _time(record.created),
        "Path": arguments[0],
        "Args": list(arguments[1:]),
        "State": {
            "Status": now.state,
            "Running": running,
            "Paused": now.state == status.PAUSED,
            "Restarting": now.state == catalog.RESTARTING,
            "OOMKilled": now.oom,
            "Dead": now.state == status.HALF_MADE,
            "Pid": record.pid if running else 0,
            "ExitCode": now.exit_code or 0,
            "Error": record.error,
            "StartedAt": _time(record.started),
            "FinishedAt": _time(now.finished or record.finished),
            **_health(engine, record),
        },
        "Image": record.image,
        "ResolvConfPath": os.path.join(names, "resolv.conf"),
        "HostnamePath": os.path.join(names, "hostname"),
        "HostsPath": os.path.join(names, "hosts"),
        "LogPath": engine.paths.log(record.id),
        "AppArmorProfile": apparmor.profile_of_process(record.pid) if running else "",
        "Name": f"/{record.name}",
        "RestartCount": record.restarts,
        "Driver": "overlay",
        "GraphDriver": {
            "Name": "overlay",
            "Data": {
                "LowerDir": ":".join(os.path.join(engine.paths.layers, name) for name in reversed(image.layers)),
                "UpperDir": os.path.join(folder, "upper"),
                "WorkDir": os.path.join(folder, "work"),
                "MergedDir": bundle.root_folder(engine.paths, record.id),
            },
        },
        "HostConfig": _host_config(record),
        "Mounts": [_mount(engine, mount) for mount in record.mounts],
        "Config": _config(record, image),
        "NetworkSettings": _network(engine, record, running=running),
        "Monitor": {"Pid": record.monitor if status.monitor_lives(record) else 0, "Faults": list(now.faults)},
        "Stack": {
            "Name": record.config.notes.get("stack", ""),
            "Container": record.config.notes.get("key", ""),
            "Origin": record.config.notes.get("origin", ""),
        },
    }


def _health(engine: Engine, record: Record) -> dict[str, Any]:
    """What health checks have found in the present run, or in the last."""
    found = journal.read(engine.paths, record)
    if found is None:
        return {}
    log = [
        {"Start": _time(one.start), "End": _time(one.end), "ExitCode": one.code, "Output": one.output}
        for one in found.log
    ]
    return {"Health": {"Status": found.status, "FailingStreak": found.streak, "Log": log}}


def _host_config(record: Record) -> dict[str, Any]:
    config = record.config
    asked: dict[str, list[dict[str, str]]] = {}
    for port in config.ports:
        host = "" if not port.host_port else str(port.host_port)
        if port.host_port_end > port.host_port:
            host += f"-{port.host_port_end}"
        key = f"{port.container_port}/{port.protocol}"
        asked.setdefault(key, []).append({"HostIp": port.host_ip, "HostPort": host})
    log_options = {"max-size": str(config.log_max_size), "max-file": str(config.log_max_file)}
    return {
        "Binds": [_bind(mount) for mount in record.mounts if mount.kind != "anonymous"] or None,
        "LogConfig": {"Type": "json-file", "Config": log_options if config.log_max_size else {}},
        "NetworkMode": "default",
        "Init": config.init or None,
        "PortBindings": asked,
        "RestartPolicy": {"Name": config.restart, "MaximumRetryCount": config.max_retries},
        "VolumesFrom": [v.source + (":ro" if v.read_only else "") for v in config.volumes_from] or None,
        "Links": [f"/{link.target}:/{record.name}/{link.alias}" for link in config.links] or None,
        **_confinement(config),
        **_limits(config),
        **_names(config.names),
    }


def _limits(config: ContainerConfig) -> dict[str, Any]:
    """As they were asked for; only swap that was left out shows what it came to."""
    limits = config.resources
    return {
        "Memory": limits.memory,
        "MemoryReservation": limits.memory_reservation,
        "MemorySwap": resources.limits_of(limits).swap if limits.memory else 0,
        "MemorySwappiness": limits.swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": config.oom_score,
        "NanoCpus": round(limits.cpus * 1e9),
        "CpuShares": limits.cpu_shares,
        "CpuPeriod": limits.cpu_period,
        "CpuQuota": limits.cpu_quota,
        "CpusetCpus": limits.cpuset,
        "CpusetMems": "",
        "PidsLimit": limits.pids or None,
        "Ulimits": [{"Name": one.name, "Hard": one.hard, "Soft": one.soft} for one in config.ulimits] or None,
        "ShmSize": config.shm_size or resources.SHM_SIZE,
        "Sysctls": config.sysctls,
    }


def _names(names: NamesConfig) -> dict[str, Any]:
    return {
        "ExtraHosts": [text.replace("=", ":", 1) for text in names.hosts] or None,
        "Dns": list(names.servers),
        "DnsSearch": list(names.search),
        "DnsOptions": list(names.options),
    }


def _confinement(config: ContainerConfig) -> dict[str, Any]:
    security = config.security
    seen = {name: value for name, value in (("seccomp", security.seccomp), ("apparmor", security.apparmor)) if value}
    options = [
        *(["no-new-privileges"] if security.no_new_privileges else []),
        *(f"{name}={value}" for name, value in seen.items()),
        *(["systempaths=unconfined"] if security.unmasked else []),
    ]
    bare = security.privileged or security.unmasked
    return {
        "CapAdd": list(security.capabilities_add) or None,
        "CapDrop": list(security.capabilities_drop) or None,
        "GroupAdd": list(config.groups) or None,
        "Privileged": security.privileged,
        "ReadonlyRootfs": security.read_only,
        "SecurityOpt": options or None,
        "Tmpfs": {tmpfs.target: ",".join(tmpfs.options) for tmpfs in config.tmpfs} or None,
        "Devices": [
            {"PathOnHost": one.source, "PathInContainer": one.target, "CgroupPermissions": one.permissions}
            for one in security.devices
        ],
        "DeviceCgroupRules": list(security.device_rules) or None,
        "MaskedPaths": [] if bare else list(confinement.masked_paths()),
        "ReadonlyPaths": [] if bare else list(confinement.READ_ONLY),
    }


def _bind(mount: ResolvedMount) -> str:
    return f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else "")


def _mount(engine: Engine, mount: ResolvedMount) -> dict[str, Any]:
    if mount.kind == "bind":
        shown: dict[str, Any] = {"Type": "bind", "Source": mount.source, "Destination": mount.target, "Mode": ""}
        return {**shown, "RW": not mount.read_only, "Propagation": "rprivate"}
    return {
        "Type": "volume",
        "Name": mount.source,
        "Source": engine.paths.volume_data(mount.place),
        "Destination": mount.target,
        "Driver": "local",
        "Mode": "z" if mount.kind == "volume" else "",
        "RW": not mount.read_only,
        "Propagation": "",
    }


def _config(record: Record, image: ImageConfig) -> dict[str, Any]:
    config = record.config
    entrypoint = image.entrypoint if config.entrypoint is None else config.entrypoint
    arguments = effective.arguments_of(config, image)
    own = [f"{name}={value}" for name, value in config.environment.items()]
    return {
        "Hostname": effective.hostname_of(record),
        "Domainname": config.names.domain,
        "User": config.user or image.user,
        "ExposedPorts": {port: {} for port in (*image.exposed, *config.exposed)},
        "Tty": config.terminal,
        "OpenStdin": config.interactive,
        "StdinOnce": False,
        "Env": list(effective.merge_environment(image.environment, own)),
        "Cmd": list(arguments[len(entrypoint) :]),
        "Image": config.image,
        "Volumes": {mount.target: {} for mount in record.mounts if mount.kind == "anonymous"},
        "WorkingDir": config.working_dir or image.working_dir,
        "Entrypoint": list(entrypoint) or None,
        "Labels": {**image.labels, **config.labels},
        "StopSignal": config.stop_signal or image.stop_signal or "SIGTERM",
        "StopTimeout": config.stop_timeout,
        **_healthcheck(config.health, image),
    }


def _healthcheck(own: HealthConfig | None, image: ImageConfig) -> dict[str, Any]:
    """The check as it is in force, what nobody said left out, as 0 does; times in nanoseconds."""
    theirs = image.health
    merged = {
        name: next((found for one in (own, theirs) if one and (found := getattr(one, name))), None)
        for name in ("test", "interval", "timeout", "start_period", "start_interval", "retries")
    }
    if not merged["test"]:
        return {}
    shown: dict[str, Any] = {"Test": list(merged.pop("test") or ())}
    for name, value in merged.items():
        if value is not None:
            shown[name.title().replace("_", "")] = value if name == "retries" else round(value * 1e9)
    return {"Healthcheck": shown}


def _network(engine: Engine, record: Record, *, running: bool) -> dict[str, Any]:
    subnet = engine.network.subnet()
    ports: dict[str, list[dict[str, str]] | None] = {}
    for lease in record.ports if running else ():
        addresses = (lease.host_ip,) if lease.host_ip else ("0.0.0.0", "::")  # noqa: S104 - what is bound, for show
        shown = [{"HostIp": address, "HostPort": str(lease.host_port)} for address in addresses]
        ports.setdefault(f"{lease.container_port}/{lease.protocol}", [])
        ports[f"{lease.container_port}/{lease.protocol}"] += shown  # type: ignore[operator]
    return {
        "Bridge": engine.paths.bridge,
        "Ports": ports,
        "IPAddress": record.address if running else "",
        "IPPrefixLen": subnet.prefix if subnet and running else 0,
        "Gateway": subnet.gateway if subnet and running else "",
    }


def image(engine: Engine, name: str) -> dict[str, Any]:
    """One image; its configuration as it came is under `Config` where Docker shows the same."""
    found = engine.images.resolve(name)
    raw = json.loads(engine.images.configuration(found.id))
    names = engine.images.names(found.id)
    return {
        "Id": found.id,
        "RepoTags": [references.parse(one).familiar for one in names],
        "RepoDigests": [references.parse(one).familiar for one in engine.images.digests(found.id)],
        "Created": found.created,
        "Architecture": raw.get("architecture", ""),
        "Os": raw.get("os", ""),
        "Size": found.size,
        "Config": raw.get("config", {}),
        "RootFS": {"Type": "layers", "Layers": raw.get("rootfs", {}).get("diff_ids", [])},
        "Origin": engine.images.origin(found.id),
    }


def volume(engine: Engine, name: str) -> dict[str, Any]:
    """One volume."""
    found, users = engine.volumes.get(name)
    return {
        "CreatedAt": _time(found.created),
        "Driver": "local",
        "Labels": found.labels or None,
        "Mountpoint": engine.paths.volume_data(found.folder),
        "Name": found.name,
        "Options": None,
        "Scope": "local",
        "Anonymous": found.anonymous,
        "Owner": found.owner,
        "Protected": found.protected,
        "UsedBy": list(users),
    }


BY_KIND: dict[str, Callable[[Engine, str], dict[str, Any]]] = {
    "container": container,
    "image": image,
    "volume": volume,
}
