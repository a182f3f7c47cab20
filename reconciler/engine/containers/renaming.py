"""Giving containers and volumes another name and owner, while they go on: all that names them follows, in one commit.

A volume's folder keeps the name that it was made under, so no data moves and who has it mounted notices nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog
from reconciler.engine.networks import ports
from reconciler.engine.volumes import usage, volumes
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from reconciler.engine.containers.lifecycle import Lifecycle
    from reconciler.engine.records import ContainerConfig

    Retell = Callable[[ContainerConfig], ContainerConfig]
    """What the caller keeps in a container's configuration that names what is renamed: the configuration with that changed."""


def rename_container(lifecycle: Lifecycle, container_id: str, config: ContainerConfig, retell: Retell) -> None:
    """Let a container have the name, owner and notes of `config`; running or not, it goes on.

    Its anonymous volumes and remembered ports get the new owner, and who links to it or has its volumes the new name, in
    the hosts file at once. Raises ReconcilerError, code "name-taken", where another has the name or the owner.
    """
    old = lifecycle.must(container_id)
    with lifecycle.store.read() as connection:
        users = [r.id for r in catalog.every(connection) if old.name in _used(r.config)]
    with _locked(lifecycle, [container_id, *users]):
        old = lifecycle.must(container_id)
        with lifecycle.store.write() as connection:
            _check_free(connection, container_id, config)
            catalog.change_identity(connection, container_id, config)
            for record in catalog.every(connection):
                if record.id != container_id:
                    changed = retell(_following(record.config, old.name, config.name))
                    if changed != record.config:
                        catalog.change_config(connection, record.id, changed)
            if old.config.owner != config.owner:
                volumes.pass_on(connection, old.config.owner, config.owner)
                ports.pass_on(connection, old.config.owner, config.owner)
            # Before the commit: whoever is cut off has renamed nothing, and does this again.
            lifecycle.tell_dependents(lifecycle.must(container_id))


def rename_volume(lifecycle: Lifecycle, old: str, new: str, owner: str, retell: Retell) -> None:
    """Let a volume have another name and owner; whoever mounts it goes on. Its data stays in the folder where it lies.

    Raises ReconcilerError, code "not-found" or "volume-taken".
    """
    with lifecycle.store.read() as connection:
        names = usage.users(connection).get(old, [])
        users = [record.id for record in (catalog.by_name(connection, name) for name in names) if record]
    with _locked(lifecycle, users), lifecycle.store.write() as connection:
        volume = volumes.rename(connection, old, new, owner)
        for record in catalog.every(connection):
            mounts = tuple(
                replace(mount, source=new, folder="" if volume.folder == new else volume.folder)
                if mount.kind != "bind" and mount.source == old
                else mount
                for mount in record.mounts
            )
            wanted = tuple(
                replace(mount, source=new) if mount.kind != "bind" and mount.source == old else mount
                for mount in record.config.mounts
            )
            config = retell(replace(record.config, mounts=wanted))
            if config != record.config:
                catalog.change_config(connection, record.id, config)
            if mounts != record.mounts:
                catalog.change_mounts(connection, record.id, mounts)


def _used(config: ContainerConfig) -> set[str]:
    return {link.target for link in config.links} | {source.source for source in config.volumes_from}


def _following(config: ContainerConfig, old: str, new: str) -> ContainerConfig:
    if old == new or old not in _used(config):
        return config
    return replace(
        config,
        links=tuple(replace(link, target=new) if link.target == old else link for link in config.links),
        volumes_from=tuple(replace(one, source=new) if one.source == old else one for one in config.volumes_from),
    )


def _check_free(connection: sqlite3.Connection, container_id: str, config: ContainerConfig) -> None:
    for other in catalog.every(connection):
        if other.id != container_id and (other.name == config.name or (config.owner and other.owner == config.owner)):
            raise ReconcilerError(
                f'Error when allocating new name: Conflict. The container name "/{other.name}" is already in use by'
                f' container "{other.id}"',
                code="name-taken",
                hint=f"remove it (`reconciler rm {other.name}`) or choose another name",
            )


@contextlib.contextmanager
def _locked(lifecycle: Lifecycle, ids: Iterable[str]) -> Iterator[None]:
    """Who changes several containers takes their locks in one order."""
    with contextlib.ExitStack() as held:
        for container_id in sorted(set(ids)):
            held.enter_context(lifecycle.lock(container_id))
        yield
