"""`RenameContainer` and `RenameVolume` over the engine: which records they mean, and what of ours follows. For `runtime`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import renaming
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.model.action import RenameVolume
from reconciler.model.renaming import with_container, with_volume
from reconciler.runtimes.embedded import translate

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.facade import Engine
    from reconciler.engine.records import ContainerConfig
    from reconciler.model.action import RenameContainer

    Change = Callable[[dict[str, Any]], dict[str, Any]]


def carry_out(engine: Engine, action: RenameContainer | RenameVolume) -> bool:
    """Whether there was something to do. Raises ReconcilerError, also where what is to be renamed is another's by now."""
    return _volume(engine, action) if isinstance(action, RenameVolume) else _container(engine, action)


def _container(engine: Engine, action: RenameContainer) -> bool:
    owner = translate.owner_of(action.stack, action.key)
    record = next((one for one in engine.containers.every() if one.name == action.old_name), None)
    if record is None or record.owner == owner:
        known = engine.containers.of_owner(owner)
        if known.name == action.name:
            return False
    if record is None or (action.old_key and record.owner != translate.owner_of(action.old_stack, action.old_key)):
        raise ReconcilerError(
            f"container {action.old_name} is not what it was when this was planned",
            code="not-found",
            hint="apply again",
        )
    notes = {"stack": action.stack, "key": action.key, "origin": action.origin, "settings": action.settings}
    config = replace(record.config, name=action.name, owner=owner, notes={**record.config.notes, **notes})

    def change(settings: dict[str, Any]) -> dict[str, Any]:
        return with_container(settings, action.old_key, action.key)

    renaming.rename_container(engine.lifecycle, record.id, config, _retelling(action, change))
    return True


def _volume(engine: Engine, action: RenameVolume) -> bool:
    owner = translate.owner_of(action.stack, action.volume.key)
    there = {volume.name: volume for volume, _ in engine.volumes.every()}
    done = there.get(action.volume.name)
    if done and done.owner == owner and (action.old_name not in there or action.old_name == done.name):
        return False
    is_named = action.old_name in there and not there[action.old_name].anonymous

    def change(settings: dict[str, Any]) -> dict[str, Any]:
        return with_volume(settings, action.old_key, action.volume.key) if is_named else settings

    renaming.rename_volume(engine.lifecycle, action.old_name, action.volume.name, owner, _retelling(action, change))
    return True


def _retelling(action: RenameContainer | RenameVolume, change: Change) -> Callable[[ContainerConfig], ContainerConfig]:
    """How the settings of containers of these stacks follow."""

    def retell(config: ContainerConfig) -> ContainerConfig:
        notes = config.notes
        if not action.old_key or notes.get("stack") not in (action.stack, action.old_stack):
            return config
        settings = change(notes.get("settings", {}))
        return config if settings == notes.get("settings") else replace(config, notes={**notes, "settings": settings})

    return retell
