"""What a container really is now: its record compared with the kernel. Reads only, so everybody may ask.

The record says what was last known, the process table says what is. A record without its process has ended; a process
without its monitor runs on but has lost its log, exit code and ports.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, ending
from reconciler.engine.kernel import cgroups, processes
from reconciler.engine.records import ResourceConfig
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.paths import Paths

_UNLIMITED = ResourceConfig()

HALF_MADE = "dead"
PAUSED = "paused"

MONITOR_GONE = "its monitor is gone: what it writes and how it ends is lost"


class Status(Frozen):
    """`state` is created, running, paused, restarting, exited or dead (half-made or half-removed).

    `exit_code` is None while it never ended, and when it ended unseen. `finished` is when, 0.0 = never. `oom`: some
    process of this run, or of the last one, was killed for want of memory.
    """

    state: str
    exit_code: int | None = None
    finished: float = 0.0
    faults: tuple[str, ...] = ()
    oom: bool = False

    @property
    def is_up(self) -> bool:
        """Whether it has processes: running, or paused."""
        return self.state in (catalog.RUNNING, PAUSED)


@functools.cache
def _boot() -> str:
    return processes.boot_id()


def lives(record: Record) -> bool:
    """Whether exactly the recorded process is there."""
    return bool(record.pid) and record.boot == _boot() and processes.start_time(record.pid) == record.pid_start != 0


def monitor_lives(record: Record) -> bool:
    """Whether exactly the recorded monitor is there."""
    started = record.monitor_start
    return bool(record.monitor) and record.boot == _boot() and processes.start_time(record.monitor) == started != 0


def waits(paths: Paths, record: Record) -> bool:
    """Whether the OCI runtime has made the recorded process, which waits to be let go.

    A run that was cut off may have let it go and left the fifo: the process tells.
    """
    fifo = os.path.join(paths.runtime, record.id, "exec.fifo")
    return os.path.exists(fifo) and lives(record) and not runs_own_program(record.pid)


def runs(paths: Paths, record: Record) -> bool:
    """Whether the recorded process is there and has been let go."""
    return lives(record) and not waits(paths, record)


def runs_own_program(pid: int) -> bool:
    """Whether a container's first process is past the OCI runtime and runs what it is made for."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    # The runtime's own program shows as a memfd, or, where it made a sealed mount of itself, as that mount's root.
    return program != "/" and not program.startswith("/memfd:") and os.path.basename(program) not in ("crun", "runc")


def of(paths: Paths, record: Record) -> Status:
    """Compare one record with the kernel."""
    if record.phase != catalog.READY:
        return Status(HALF_MADE, record.exit_code, record.finished)
    if lives(record):
        if waits(paths, record):
            new = not record.started or record.state == catalog.RUNNING
            return Status(catalog.CREATED if new else catalog.EXITED, record.exit_code, record.finished)
        faults = () if monitor_lives(record) else (MONITOR_GONE,)
        paused = cgroups.is_frozen(paths.group(record.id))
        oom = _has_met_its_limit(paths, record)
        return Status(PAUSED if paused else catalog.RUNNING, None, record.finished, faults, oom)
    if record.state == catalog.RUNNING:
        ended = ending.exit_code(paths, record.id) if record.boot == _boot() else None
        if ended is None and monitor_lives(record):
            return Status(catalog.RUNNING)  # it is just ending, and its monitor is about to say how
        code, when = ended or (None, 0.0)
        return Status(catalog.EXITED, code, when, oom=ending.was_out_of_memory(paths, record.id))
    return Status(record.state, record.exit_code, record.finished, oom=record.oom)


def _has_met_its_limit(paths: Paths, record: Record) -> bool:
    """Whether memory has run out in a run that goes on. On cgroup v2 conmon does not hear of a child (conmon 2.1)."""
    if record.config.resources.memory:
        return cgroups.oom_kills(paths.group(record.id)) > 0
    return ending.heard_of_memory(paths, record.id)


def why(record: Record, now: Status) -> str:
    """Why a container is not as it should be, in words: its last start's error, memory or its health; "" = nothing known."""
    if is_treated(record, now):
        return f"unhealthy, and restarted because of that, {times_in_a_row(record)} so far"
    if record.error or not now.oom:
        return record.error
    from reconciler.kits.units import binary_size  # noqa: PLC0415 - hardly ever

    limit = record.config.resources.memory
    return f"out of memory: {f'limit {binary_size(limit)}' if limit else 'the machine had no more'}"


def is_treated(record: Record, now: Status) -> bool:
    """Whether it is ended and started again because it is unhealthy, and for no other reason that is known."""
    return record.ailing and not record.error and not now.oom


def times_in_a_row(record: Record) -> str:
    """How often it has been restarted because it is unhealthy, in words."""
    return "once" if record.health_restarts == 1 else f"{record.health_restarts} times in a row"


def may_drift(paths: Paths, record: Record) -> bool:
    """Whether it is worth asking `limits` about a running container: it has some, or their change was cut off."""
    return record.config.resources != _UNLIMITED or limits_are_changing(paths, record)


def limits_are_changing(paths: Paths, record: Record) -> bool:
    """Whether somebody is about to change its limits, or was cut off in it."""
    return os.path.exists(limits_mark(paths, record.id))


def limits_mark(paths: Paths, container_id: str) -> str:
    """The file that is there meanwhile."""
    return os.path.join(paths.bundle(container_id), "limits")


def is_at_work(record: Record) -> bool:
    """Whether a just started process has got somewhere: it runs its own program and sleeps, waiting for something.

    One that is about to fail at once never sleeps; one that starves for a processor is not taken for ready. Under an
    init program its child counts.
    """
    if not runs_own_program(record.pid):
        return False
    pid = processes.first_child(record.pid) if record.config.init else record.pid
    # The first process of a PID namespace sleeps once more as it ends (pid_namespaces(7)), when it has no program any more.
    return processes.process_state(pid) in ("S", "T") and runs_own_program(record.pid)
