"""What others do about health checks: note that a checked run begins or ends, and see to it that somebody probes.

Loads next to nothing: everything that starts, changes or shows containers comes by here.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reconciler.engine.containers.health import journal
from reconciler.engine.kernel import files, locks

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig

POKE = ".look"
"""A file that comes and goes in the folder that the prober watches: it shall look at everything."""

_CODE = "from reconciler.engine.containers.health.prober import main; import sys; sys.exit(main(sys.argv[1:]))"


def begin(paths: Paths, record: Record, image: ImageConfig, *, anew: bool = True) -> None:
    """A run of the container begins, or (without `anew`) its check has changed: what is checked for the first time is

    starting, and of what is not checked nothing is known. The caller holds the container's lock.
    """
    if record.config.health is None and image.health is None:  # most have none: nothing is loaded for them
        journal.forget(paths, record.id)
        return
    from reconciler.engine.containers.health.check import check_of  # noqa: PLC0415
    from reconciler.engine.containers.health.verdict import Verdict  # noqa: PLC0415

    if check_of(record.config.health, image) is None:
        journal.forget(paths, record.id)
    elif anew or not journal.status(paths, record):
        journal.write(paths, record.id, record.generation, Verdict())


def probe(paths: Paths, record: Record) -> None:
    """Have a container that runs probed, from now on and as its check says now."""
    if locks.is_held(paths.prober_lock):
        _poke(paths)
    elif journal.status(paths, record):
        ensure(paths)


def end(paths: Paths, record: Record) -> None:
    """A container that does not run any more is about to be forgotten."""
    journal.forget(paths, record.id)
    if locks.is_held(paths.prober_lock):
        _poke(paths)


def ensure(paths: Paths) -> None:
    """Have a prober where there is none, because it was killed or is not there yet."""
    if locks.is_held(paths.prober_lock):
        return
    from reconciler.engine.kernel import programs  # noqa: PLC0415 - mostly it is there

    try:
        programs.spawn_sealed([sys.executable, "-I", "-c", _CODE, paths.root, paths.run])
    except OSError as error:
        from reconciler.engine.containers import helpers  # noqa: PLC0415 - on a machine that can't

        helpers.note(paths, f"health checks can't be run: {error}")


def folder_of(paths: Paths) -> str:
    """The folder that the prober watches."""
    return os.path.join(paths.run, "prober")


def _poke(paths: Paths) -> None:
    path = os.path.join(folder_of(paths), POKE)
    try:
        files.write_file(path, b"")
    except FileNotFoundError:
        return  # it has just begun, and looks at everything then
    files.remove_file(path)
