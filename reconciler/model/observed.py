"""What a runtime reports: containers, volumes and images as they are. Read by the planner, made by runtimes.

Frozen data only. Collection never chooses: a runtime reports all it has in the scope, sorted by name, and the
planner decides what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.frozen import Frozen, field

if TYPE_CHECKING:
    from reconciler.model.desired import Container

CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
RESTARTING = "restarting"
EXITED = "exited"
DEAD = "dead"
"""States of a container, in Docker's words. `dead` is half-made or half-removed: only removal helps."""


STARTING = "starting"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"
"""What health checks say of a running container that has some, in Docker's words."""


class PortBinding(Frozen):
    """A published port as it really is, or for a stopped container as it was and will be again."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int


class ObservedContainer(Frozen):
    """A container as the runtime has it.

    `stack` and `key` are "" for one that was made by hand. `settings` is the canonical form it was last applied
    with (`desired.Container.settings`), {} where unknown. `faults` are the runtime's words for what is broken
    around a container that runs ("its monitor is gone"): each asks for a restart. `drift` are its words for what is
    not as the settings have it, and can be set right while it runs ("its memory limit is none, not 64 MiB"). Times are
    seconds since the epoch, 0.0 = never. `stopped_by_hand`: it is down because somebody wanted it so, a verb or a
    StopContainer, so its exit code says nothing about its work. `health` is "" where nothing is checked;
    `health_restarts` counts restarts for bad health, in a row without having become healthy in between. `anonymous`
    maps a mount's target to the anonymous volume that is there.
    """

    id: str
    name: str
    state: str
    stack: str = ""
    key: str = ""
    image: str = ""
    image_id: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    exit_code: int | None = None
    error: str = ""
    stopped_by_hand: bool = False
    restart_count: int = 0
    health: str = ""
    health_restarts: int = 0
    address: str = ""
    ports: tuple[PortBinding, ...] = ()
    anonymous: dict[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0


class ObservedVolume(Frozen):
    """A volume as the runtime has it; `users` are the names of the containers that mount it, running or not.

    `protected` is the origin of the spec that says so (`desired.Stack.origin`), "" = it is not; while it is, nothing
    removes the volume.
    """

    name: str
    stack: str = ""
    key: str = ""
    anonymous: bool = False
    users: tuple[str, ...] = ()
    created_at: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)
    protected: str = ""


class ObservedImage(Frozen):
    """A local image under one name. `exposed` are its ports ("80/tcp"), `volumes` its declared mount targets.

    `digest` is what the name stood for in its registry when it was pulled (`sha256:...`), "" where it was not.
    `healthcheck`: it comes with a health check of its own.
    """

    reference: str
    id: str
    exposed: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    digest: str = ""
    healthcheck: bool = False


class RemoteImage(Frozen):
    """What a name stands for in its registry now: `digest`, or why that can't be found out (`error`, `code`, `hint`)."""

    reference: str
    digest: str = ""
    error: str = ""
    code: str = "registry"
    hint: str = ""


class BusyPort(Frozen):
    """A host port that is taken: `holder` says by whom, for a person ("nginx, pid 812", "container web")."""

    host_ip: str
    host_port: int
    protocol: str
    holder: str
    container: str = ""


class Scope(Frozen):
    """What `observe` shall look at.

    A stack's containers and volumes, everything that has one of `names` or `volumes` as its name, `images` by
    reference as the spec spells it, and who holds the given host ports: (host_ip, host_port, protocol). `wanted` are
    the containers that a spec describes: the runtime says what of them it can't do here. `remote` are those of the
    images whose registries are to be asked what the name stands for now; that takes its time. `former` are other stacks
    that are looked at like `stack`: names that it had before.
    """

    stack: str
    names: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    host_ports: tuple[tuple[str, int, str], ...] = ()
    wanted: tuple[Container, ...] = ()
    remote: tuple[str, ...] = ()
    former: tuple[str, ...] = ()


class Refusal(Frozen):
    """What a runtime can't do on this machine: the `field` of the wanted container `key`, why, and what to do instead."""

    key: str
    field: str
    message: str
    hint: str = ""


class Observed(Frozen):
    """One look at a runtime. `images` is keyed by the reference as asked for; an absent one is missing. So is `remote`;
    a runtime that can't ask registries leaves it empty.

    `network_faults` are the runtime's words for what is broken of what all running containers share ("the firewall
    table is gone"): the network is to be repaired, the containers run on.
    """

    containers: tuple[ObservedContainer, ...] = ()
    volumes: tuple[ObservedVolume, ...] = ()
    images: dict[str, ObservedImage] = field(default_factory=dict)
    busy_ports: tuple[BusyPort, ...] = ()
    network_faults: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    remote: dict[str, RemoteImage] = field(default_factory=dict)

    def of_stack(self, stack: str) -> dict[str, ObservedContainer]:
        """The stack's containers by key."""
        return {c.key: c for c in self.containers if c.stack == stack}
