"""Waiting for a container's end. Reads only, and nobody has to be told: processes are watched, records are looked at."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, ending, status
from reconciler.engine.kernel import processes
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.registry import Registry

NOT_RUNNING, NEXT_EXIT, REMOVED = CONDITIONS = ("not-running", "next-exit", "removed")

_STEP = 0.05
"""Seconds between looks at what no process tells of: a start, a removal."""


def wait(registry: Registry, name: str, condition: str = NOT_RUNNING) -> int | None:
    """Wait until the container does not run (at once if so), ends the next time, or is removed; its exit code.

    None = nobody saw with what code it ended. An end before a restart by policy counts.
    """
    if condition not in CONDITIONS:
        raise ReconcilerError(
            f'"{condition}" is not a condition', code="usage", hint="conditions are " + ", ".join(CONDITIONS)
        )
    record: Record | None = registry.find(name)
    code = None
    first = True
    while record is not None:
        now = registry.status(record)
        if now.is_up:
            ended, code = _see_end(registry, record)
            if ended and condition != REMOVED:
                return code
        elif now.state != catalog.RESTARTING:
            code = 0 if now.state == catalog.CREATED else now.exit_code
            if condition == NOT_RUNNING or (condition == NEXT_EXIT and not first):
                return code
        if not now.is_up:
            time.sleep(_STEP)
        first = False
        record = registry.get(record.id)
    return code


def _see_end(registry: Registry, record: Record) -> tuple[bool, int | None]:
    """Watch exactly this run until it ends: whether it has, and its code."""
    fd = processes.open_process(record.pid, record.pid_start)
    if fd >= 0:
        try:
            processes.wait_for_end(fd, None)
        finally:
            os.close(fd)
    while True:
        if found := ending.exit_code(registry.paths, record.id):
            return True, found[0]
        now = registry.get(record.id)
        if now is None or now.generation != record.generation or now.state != catalog.RUNNING:
            return True, now.exit_code if now else None
        if not status.monitor_lives(record):
            return True, None
        time.sleep(0.001)
