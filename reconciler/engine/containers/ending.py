"""How a container has ended: what its monitor left behind. Reads only; `monitor` is the one that starts monitors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import cgroups

if TYPE_CHECKING:
    from reconciler.engine.paths import Paths


def exit_code(paths: Paths, container_id: str) -> tuple[int, float] | None:
    """The code that conmon wrote at the container's end (signals as 128+n) and when, None while there is none."""
    path = os.path.join(paths.exits, container_id)
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
            return int(text), os.fstat(file.fileno()).st_mtime
    except (FileNotFoundError, ValueError):
        return None


def was_out_of_memory(paths: Paths, container_id: str) -> bool:
    """Whether some process of the container's last run was killed for want of memory; asked before that is cleared away.

    The monitor may end before it has heard of it; the kernel's count stays as long as the group does.
    """
    return heard_of_memory(paths, container_id) or cgroups.oom_kills(paths.group(container_id)) > 0


def heard_of_memory(paths: Paths, container_id: str) -> bool:
    """The same of a run that goes on, as its monitor knows it by now."""
    return os.path.exists(os.path.join(paths.bundle(container_id), "oom"))
