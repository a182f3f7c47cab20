"""What lies about of containers that are gone: after a power cut, or somebody's rm in the store. Looks only."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from reconciler.engine.kernel import cgroups, mounts
from reconciler.engine.system.findings import OK, WARNING, Finding

if TYPE_CHECKING:
    from reconciler.engine.facade import Engine

_ID = re.compile(r"[0-9a-f]{64}")
_SHOWN = 3


def finding(engine: Engine) -> Finding:
    """Folders, mounts and control groups named after containers that the store does not know."""
    # What is looked at first: a container made meanwhile is known by the time the store is asked.
    there = _found(engine)
    known = {record.id for record in engine.containers.every()}
    left = [path for path, container in there if container not in known]
    if not left:
        return Finding("remains", OK, "none of containers that are gone")
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    shown = " ".join(left[:_SHOWN])
    return Finding(
        "remains",
        WARNING,
        f"of containers that are gone: {shown}{more}",
        "umount what is mounted, rmdir control groups, rm -r folders; nothing of ours uses them",
    )


def _found(engine: Engine) -> list[tuple[str, str]]:
    """Path and container id of each."""
    paths = engine.paths
    folders = [os.path.join(paths.root, "containers"), os.path.join(paths.run, "containers"), paths.runtime]
    folders += [os.path.join(hierarchy, paths.cgroup) for hierarchy in cgroups.hierarchies()]
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found += [(os.path.join(folder, name), name) for name in sorted(os.listdir(folder)) if _ID.fullmatch(name)]
    for point in mounts.mounts_below(paths.run):
        if match := _ID.search(point):
            found.append((point, match[0]))
    return found
