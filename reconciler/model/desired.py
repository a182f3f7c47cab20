"""What a user wants: a stack of containers, volumes and links after defaults and variables are resolved.

Frozen data only: no reading of files, no defaults from elsewhere, no decisions. `spec` makes it, `planner` reads it,
runtimes get it inside actions. `settings()` is the canonical form that plans compare, users see and runtimes keep.
"""

from __future__ import annotations

import json
from typing import Any

from reconciler.kits.digests import sha256
from reconciler.kits.frozen import Frozen, field, fields
from reconciler.kits.source import Origin, Position  # noqa: TC001 - decoded at run time

SETTINGS_VERSION = 1
"""Version of the canonical form: raised when the same spec would be spelled differently."""

Path = tuple[str | int, ...]
"""A place inside a stack, e.g. ("containers", "wordpress", "environment", "A") or (..., "ports", 0)."""


class Link(Frozen):
    """`container` (a key of the same stack) is used under the name `alias`."""

    container: str
    alias: str

    def __str__(self) -> str:
        return f"{self.container}:{self.alias}"


STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"
"""What a container can be waited for to reach, in Compose's words; the last: it has ended with exit code 0."""


class Dependency(Frozen):
    """`container` (a key of the same stack) must reach `condition` (one of the above) before this one starts."""

    container: str
    condition: str = STARTED

    def __str__(self) -> str:
        return self.container if self.condition == STARTED else f"{self.container}:{self.condition}"


class Mount(Frozen):
    """Something mounted at `target`, an absolute path inside the container.

    `kind` is "volume" (`source` is a key of the stack's volumes), "bind" (`source` is an absolute host path) or
    "anonymous" (`source` is empty; the volume belongs to stack, container and target).
    """

    kind: str
    source: str
    target: str
    read_only: bool = False
    nocopy: bool = False

    def __str__(self) -> str:
        options = [word for word, on in (("ro", self.read_only), ("nocopy", self.nocopy)) if on]
        parts = [self.target] if self.kind == "anonymous" else [self.source, self.target]
        return ":".join(parts + ([",".join(options)] if options else []))


class VolumesFrom(Frozen):
    """All mounts of `container` (a key of the same stack); `read_only` makes them all read-only."""

    container: str
    read_only: bool = False

    def __str__(self) -> str:
        return self.container + (":ro" if self.read_only else "")


class Port(Frozen):
    """One container port that is published.

    `host_ip` "" means every address of the host. `host_port` 0 means a random free one; with `host_port_end`
    above it, the first free one of that range. Ranges that map one to one are already taken apart.
    """

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0

    def __str__(self) -> str:
        host = str(self.host_port) if self.host_port else ""
        if self.host_port_end > self.host_port:
            host += f"-{self.host_port_end}"
        address = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        left = f"{address}:{host}:" if address else f"{host}:" if host else ""
        return f"{left}{self.container_port}/{self.protocol}"


class Restart(Frozen):
    """Docker's restart policy: no, always, on-failure (with at most `max_retries`, 0 = no limit), unless-stopped."""

    policy: str = "no"
    max_retries: int = 0

    def __str__(self) -> str:
        return f"{self.policy}:{self.max_retries}" if self.max_retries else self.policy


class Healthcheck(Frozen):
    """A probe as Compose has it; times in seconds, None = the image's or the default value.

    `test` is ("CMD", ...), ("CMD-SHELL", text), ("NONE",) to switch the image's off, or () to keep the image's.
    `on_unhealthy` is "none" (also None) or "restart" (without end) or "restart:N" (at most N times in a row).
    """

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    start_interval: float | None = None
    retries: int | None = None
    on_unhealthy: str | None = None

    @property
    def restarts(self) -> int | None:
        """How often in a row it is restarted when it becomes unhealthy: None = not at all, 0 = without end."""
        word, _, times = (self.on_unhealthy or "none").partition(":")
        return int(times or 0) if word == "restart" else None


class Ulimit(Frozen):
    """A limit of setrlimit(2) by its short name ("nofile"); -1 = without limit."""

    name: str
    soft: int
    hard: int

    def __str__(self) -> str:
        both = str(self.soft) if self.soft == self.hard else f"{self.soft}:{self.hard}"
        return f"{self.name}={both}"


class Device(Frozen):
    """A device of the host at `target` inside; `permissions` is made of r, w and m (mknod)."""

    source: str
    target: str
    permissions: str = "rwm"

    def __str__(self) -> str:
        return f"{self.source}:{self.target}:{self.permissions}"


class Tmpfs(Frozen):
    """A file system in memory at `target`; `options` are mount(8)'s for tmpfs: ("size=65536k", "mode=1777")."""

    target: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ":".join([self.target, *([",".join(self.options)] if self.options else [])])


class Logging(Frozen):
    """How much log is kept: `max_size` bytes a file (0 = no limit), at most `max_file` files."""

    max_size: int = 0
    max_file: int = 1


class Volume(Frozen):
    """A named volume. `name` is the runtime's name (STACK_KEY unless the spec says otherwise).

    An `external` one is neither created nor labelled by us: it must be there. One to `protect` is removed by nothing.
    """

    key: str
    name: str
    external: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    protect: bool = False


class Container(Frozen):
    """One container of a stack. `name` is the runtime's name; None or empty means "as the image has it".

    `command` and `entrypoint` are None when not set, () when explicitly emptied. `stop_grace_period` is seconds.
    Fields spelled as a Compose key mean what it means. Of limits, 0 is none set: memory and shm in bytes,
    `memswap_limit` is memory and swap together (-1 = all swap there is), `cpus` a number of processors, `cpu_period` and
    `cpu_quota` microseconds. Capabilities are "CAP_X" or "ALL"; `security_opt` items are NAME=VALUE or
    "no-new-privileges", and `seccomp_profile` is the JSON in the file that one of them names; `extra_hosts` are
    NAME=ADDRESS.
    """

    key: str
    name: str
    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    volumes: tuple[Mount, ...] = ()
    volumes_from: tuple[VolumesFrom, ...] = ()
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()
    restart: Restart = Restart()
    healthcheck: Healthcheck | None = None
    logging: Logging = Logging()
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    stop_signal: str = ""
    stop_grace_period: float = 10.0
    pull_policy: str = "missing"
    platform: str = ""
    init: bool = False
    stdin_open: bool = False
    tty: bool = False
    mem_limit: int = 0
    mem_reservation: int = 0
    memswap_limit: int = 0
    mem_swappiness: int | None = None
    oom_kill_disable: bool = False
    oom_score_adj: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset: str = ""
    pids_limit: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    shm_size: int = 0
    sysctls: dict[str, str] = field(default_factory=dict)
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    seccomp_profile: str = ""
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    read_only: bool = False
    tmpfs: tuple[Tmpfs, ...] = ()
    group_add: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    domainname: str = ""

    def settings(self) -> dict[str, Any]:
        """The canonical form: JSON values by spec key, without what is at its default, keys in field order.

        Links, ports and mounts are their short spelling, so that a plan reads like the spec. Fields added later
        change nothing for a spec that does not use them.
        """
        out: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value is not None and value != default:
                out[name] = _SPELLINGS.get(name, _plain)(value)
        return out


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _each(value: Any) -> list[str]:
    return [str(item) for item in value]


def _sorted_each(value: Any) -> list[str]:
    return sorted(_each(value))


def _sorted_map(value: Any) -> dict[str, Any]:
    return dict(sorted(value.items()))


def _digested(value: Any) -> str:
    return f"sha256:{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _without_unset(value: Any) -> dict[str, Any]:
    pairs = ((name, _plain(getattr(value, name))) for name in fields(value))
    return {name: item for name, item in pairs if item not in (None, [])}


_DEFAULTS: dict[str, Any] = {name: value for name, value in Container.defaults().items() if name != "key"}
"""A container's fields that its canonical form has, and what each is when it is not set."""

_SPELLINGS: dict[str, Any] = {
    "links": _sorted_each,
    "depends_on": _sorted_each,
    "volumes": _each,
    "volumes_from": _each,
    "ports": _each,
    "expose": sorted,
    "environment": _sorted_map,
    "labels": _sorted_map,
    "restart": str,
    "healthcheck": _without_unset,
    "logging": _without_unset,
    "ulimits": _sorted_each,
    "sysctls": _sorted_map,
    "cap_add": sorted,
    "cap_drop": sorted,
    "security_opt": sorted,
    "seccomp_profile": _digested,
    "devices": _each,
    "tmpfs": _sorted_each,
}


UPDATABLE = frozenset(
    (
        "labels", "restart", "healthcheck", "logging", "stop_signal", "stop_grace_period", "depends_on", "pull_policy",
        "mem_limit", "mem_reservation", "memswap_limit", "cpus", "cpu_shares", "cpu_period", "cpu_quota", "cpuset",
        "pids_limit", "ports", "origin",
    )
)  # fmt: skip
"""Settings that a container may be given anew without being made anew, and the stack's origin; a runtime says which it can."""


class Move(Frozen):
    """What is a stack's `kind` ("container" or "volume") `old` is its `new`; of kind "stack", the names of a stack."""

    kind: str
    old: str
    new: str


class Adoption(Frozen):
    """What the runtime has as `name`, made by hand or for another stack, is the stack's `kind` ("container", "volume") `key`."""

    kind: str
    name: str
    key: str


class Stack(Frozen):
    """One named set of containers and volumes from a spec: the desired state.

    `source` names the spec as the user gave it ("specs/wordpress.yaml"); `origin` is the same made absolute, which
    a runtime remembers as the stack's owner. `positions` says where each value stands, by path (see `position_of`), and
    `origins` what those came from that are not, or not all, text of the spec: variables, defaults, env files.
    `moved` and `adopt` are in the order of the spec; moves form chains, but no circles.
    """

    name: str
    source: str
    origin: str
    containers: dict[str, Container]
    volumes: dict[str, Volume] = field(default_factory=dict)
    positions: dict[Path, Position] = field(default_factory=dict)
    moved: tuple[Move, ...] = ()
    adopt: tuple[Adoption, ...] = ()
    origins: dict[Path, tuple[Origin, ...]] = field(default_factory=dict)

    def former_names(self) -> tuple[str, ...]:
        """What the stack was called before, sorted."""
        return tuple(sorted({move.old for move in self.moved if move.kind == "stack"}))

    def position_of(self, *path: str | int) -> Position | None:
        """The position of the value at `path`, or of the nearest thing around it that has one."""
        for end in range(len(path), 0, -1):
            if found := self.positions.get(path[:end]):
                return found
        return None


def digest_of(settings: dict[str, Any]) -> str:
    """A short, stable hash of a canonical form: equal settings, equal digest, in every release."""
    text = json.dumps([SETTINGS_VERSION, settings], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{SETTINGS_VERSION}:{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
