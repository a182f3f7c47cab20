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
    owner: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON form, as stored."""
        document: dict[str, Any] = as_document(self)
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> ContainerConfig:
        """The inverse of `document`; keys that this release does not know are dropped."""
        known = {k: v for k, v in document.items() if k in fields(cls)}
        for name, kind in _PARTS.items():
            known[name] = tuple(kind(**part) for part in known.get(name, ()))
        for name in ("command", "entrypoint", "exposed"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        if health := known.get("health"):
            known["health"] = HealthConfig(**{**health, "test": tuple(health["test"])})
        return cls(**known)


_PARTS: dict[str, Any] = {
    "links": LinkConfig,
    "mounts": MountConfig,
    "volumes_from": VolumesFromConfig,
    "ports": PortConfig,
}


class ImageConfig(Frozen):
    """What an image's configuration says (OCI image-spec config.md); `layers` are layer folders' short names, lowest first.

    `id` is the configuration's digest, `sha256:...`.
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
    labels: dict[str, str] = field(default_factory=dict)
    health: HealthConfig | None = None
    created: str = ""
    size: int = 0
