"""Giving a container another configuration while it goes on: its record, and at once what a run can take (limits, checks).

All or nothing: what can't be set is as it was before. What needs another container is not for here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engine.containers import bundle, catalog, helpers, limits, settle, status
from reconciler.engine.containers.health import upkeep
from reconciler.engine.networks import ports
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.lifecycle import Lifecycle
    from reconciler.engine.records import ContainerConfig


def update(lifecycle: Lifecycle, name: str, config: ContainerConfig) -> None:
    """Give a container another configuration under its name; what is not in place counts from the next start.

    Limits hold at once. Changed ports need it stopped. Raises ReconcilerError when it runs and its ports differ, or
    its new limits can't be set; then all is as it was.
    """
    paths = lifecycle.paths
    record = lifecycle.registry.find(name)
    with lifecycle.lock(record.id):
        record = lifecycle.must(record.id)
        runs = status.runs(paths, record)
        moved = config.ports != record.config.ports
        if moved and runs:
            raise ReconcilerError(f"the ports of {record.name} can't be changed while it runs", code="running")
        if moved:  # the old ones are shut, and a process that waits for its start still has them
            record = lifecycle.conclude(record)
        _write(lifecycle, record, config, ports_moved=moved)
        if runs:
            record = lifecycle.must(record.id)
            bundle.mark_for_settling(paths, record.id, due=settle.will_have_work(record))
            upkeep.begin(paths, record, lifecycle.images.resolve(record.image), anew=False)
            upkeep.probe(paths, record)
    if runs and config.log_max_size:
        helpers.wake_keeper(paths)


def _write(lifecycle: Lifecycle, record: Record, config: ContainerConfig, *, ports_moved: bool) -> None:
    """Commit it, and see that the limits of what runs follow; where they can't, the old one comes back."""
    paths, store = lifecycle.paths, lifecycle.store
    limited = status.lives(record) and limits.concerns(paths, record, config.resources)
    if limited:
        limits.begin(paths, record.id)
    with store.write() as connection:
        if ports_moved:
            ports.lease(connection, record.id, config.owner, config.ports, record.ports)
        catalog.change_config(connection, record.id, config)
    if not limited:
        return
    try:
        limits.change(paths, record, config.resources)
    except ReconcilerError:
        with store.write() as connection:
            catalog.change_config(connection, record.id, record.config)
        limits.finish(paths, record.id)
        raise
    limits.finish(paths, record.id)
