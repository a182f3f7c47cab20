"""The engine's vocabulary: what a container, image and volume are made of. Frozen data and their JSON form.

Nothing here knows of stacks, specs or plans: `owner` and `notes` are opaque to the engine and kept for its caller.
"""

from __future__ import annotations

from typing import Any

from reconciler.kits.frozen import Frozen, as_document, field, fields


class LinkConfig(Frozen):
    """The container named `target` is known as `alias` inside (hosts file and variables)."""

    target: str
    alias: str


class MountConfig(Frozen):
    """`kind` is "bind" (source: absolute host path), "volume" (source: volume name) or "anonymous" (source: the

    name of an existing anonymous volume to use again, or "" for a new one). `target` is an absolute path inside.
    """

    kind: str
    source: str
    target: str
    read_only: bool = False
    nocopy: bool = False


class VolumesFromConfig(Frozen):
    """All mounts of the container named `source`."""

    source: str
    read_only: bool = False


class PortConfig(Frozen):
    """A port to publish; `host_ip` "" = all addresses, `host_port` 0 = random, `host_port_end` = first free up to it."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


class PortLease(Frozen):
    """A port as given out: a real host port."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int


class HealthConfig(Frozen):
    """A health check in seconds; None = default or the image's. `test` as in the image configuration."""

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    start_interval: float | None = None
    retries: int | None = None
    restarts: int | None = None
    """Restarts in a row when it becomes unhealthy: None = none, 0 = without end."""


class ResourceConfig(Frozen):
    """Limits of the container's cgroup; 0 = none. Memory in bytes, `memory_swap` of both together (-1 = all swap).

    `cpus` is a number of processors, `cpu_period` and `cpu_quota` are microseconds, `cpuset` a list as in cpuset(7).
    """

    memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    swappiness: int | None = None
    oom_kill_disable: bool = False
    cpus: float = 0.0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset: str = ""
    pids: int = 0


class UlimitConfig(Frozen):
    """A limit of setrlimit(2) by its short name; -1 = without limit."""

    name: str
    soft: int
    hard: int


class DeviceConfig(Frozen):
    """A device of the host at `target` inside; `permissions` is made of r, w and m."""

    source: str
    target: str
    permissions: str = "rwm"


class TmpfsConfig(Frozen):
    """A file system in memory; `options` as in mount(8)."""

    target: str
    options: tuple[str, ...] = ()


UNCONFINED = "unconfined"
"""In place of a profile: none."""


class SecurityConfig(Frozen):
    """What the container may do. `capabilities_add` and `_drop` hold CAP_ names or ALL.

    `seccomp` and `apparmor`: "" = the default profile, UNCONFINED, or a profile (seccomp: its JSON, apparmor: its name).
    `unmasked`: nothing of /proc and /sys is hidden or read-only.
    """

    privileged: bool = False
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    unmasked: bool = False
    read_only: bool = False
    devices: tuple[DeviceConfig, ...] = ()
    device_rules: tuple[str, ...] = ()


class NamesConfig(Frozen):
    """What names mean inside: `hosts` are NAME=ADDRESS; () = as on the host."""

    hosts: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    domain: str = ""


class ContainerConfig(Frozen):
    """All that `create` is told, and all that a later start needs beside the image.

    None = as the image has it. `owner` groups a container with its successors ("stack/key"): anonymous volumes and
    random ports are remembered under it; "" = none.
    """

    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    links: tuple[LinkConfig, ...] = ()
    mounts: tuple[MountConfig, ...] = ()
    volumes_from: tuple[VolumesFromConfig, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    exposed: tuple[str, ...] = ()
    restart: str = "no"
    max_retries: int = 0
    health: HealthConfig | None = None
    log_max_size: int = 0
    log_max_file: int = 1
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    stop_signal: str = ""
    stop_timeout: float = 10.0
    platform: str = ""
    init: bool = False
    interactive: bool = False
    terminal: bool = False
    groups: tuple[str, ...] = ()
    oom_score: int = 0
    resources: ResourceConfig = ResourceConfig()
    ulimits: tuple[UlimitConfig, ...] = ()
    shm_size: int = 0
    sysctls: dict[str, str] = field(default_factory=dict)
    security: SecurityConfig = SecurityConfig()
    tmpfs: tuple[TmpfsConfig, ...] = ()
    names: NamesConfig = NamesConfig()
    owner: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON form, as stored: without fields at their default."""
        return {name: as_document(value) for name, value in self.__dict__.items() if value != _UNSET[name]}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> ContainerConfig:
        """The inverse of `document`; keys that this release does not know are dropped."""
        config: ContainerConfig = _read(cls, document)
        return config


_UNSET = ContainerConfig.defaults()

_PARTS: dict[str, Any] = {
    "links": LinkConfig,
    "mounts": MountConfig,
    "volumes_from": VolumesFromConfig,
    "ports": PortConfig,
    "ulimits": UlimitConfig,
    "devices": DeviceConfig,
    "tmpfs": TmpfsConfig,
}
_OBJECTS: dict[str, Any] = {
    "health": HealthConfig,
    "resources": ResourceConfig,
    "security": SecurityConfig,
    "names": NamesConfig,
}


def _read(kind: Any, document: dict[str, Any]) -> Any:
    """A frozen one of its JSON form: lists as tuples, objects and lists of objects by their field's name."""
    known = {}
    for name, value in document.items():
        if name not in fields(kind):
            continue
        if name in _OBJECTS and value is not None:
            known[name] = _read(_OBJECTS[name], value)
        elif isinstance(value, list):
            known[name] = tuple([_read(_PARTS[name], each) if isinstance(each, dict) else each for each in value])
        else:
            known[name] = value
    return kind(**known)


class ImageConfig(Frozen):
    """What an image's configuration says (OCI image-spec config.md); `layers` are layer folders' short names, lowest first.

    `id` is the configuration's digest, `sha256:...`; `platform` is os/architecture[/variant], without what is not said.
    """

    id: str
    layers: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    health: HealthConfig | None = None
    created: str = ""
    size: int = 0
    platform: str = ""
