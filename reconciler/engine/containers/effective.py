"""What a container effectively runs and is called: its configuration and its image's merged. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.records import ContainerConfig, ImageConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def hostname_of(record: Record) -> str:
    return record.config.hostname or record.id[:12]


def full_hostname_of(record: Record) -> str:
    """The host name with its domain: what the kernel, /etc/hostname and the hosts file call the container."""
    domain = record.config.names.domain
    return f"{hostname_of(record)}.{domain}" if domain else hostname_of(record)


def arguments_of(config: ContainerConfig, image: ImageConfig) -> tuple[str, ...]:
    """Entry point and command: an entry point in the configuration switches the image's command off, as in Docker.

    Raises ReconcilerError when there is nothing to run.
    """
    entrypoint = image.entrypoint if config.entrypoint is None else config.entrypoint
    command = config.command
    if command is None:
        command = image.command if config.entrypoint is None else ()
    if not (arguments := (*entrypoint, *command)):
        raise ReconcilerError(
            f"container {config.name} has no command, and its image {config.image} has none either",
            code="no-command",
            hint="give it a `command`",
        )
    return arguments


def environment_of(
    record: Record, image: ImageConfig, links: Sequence[str], home: str, terminal: bool = False
) -> tuple[str, ...]:
    """NAME=VALUE in Docker's order: PATH, HOSTNAME, TERM, link variables, the image's, the configuration's, HOME."""
    own = [f"{name}={value}" for name, value in record.config.environment.items()]
    first = [f"PATH={DEFAULT_PATH}", f"HOSTNAME={hostname_of(record)}", *(["TERM=xterm"] if terminal else [])]
    merged = merge_environment(first, links, image.environment, own)
    if any(pair.startswith("HOME=") for pair in merged):
        return merged
    return (*merged, f"HOME={home}")


def merge_environment(*parts: Sequence[str]) -> tuple[str, ...]:
    """NAME=VALUE lists merged: a later value wins, the first place of a name stays."""
    merged: dict[str, str] = {}
    for part in parts:
        for pair in part:
            name, _, value = pair.partition("=")
            merged[name] = value
    return tuple(f"{name}={value}" for name, value in merged.items())
