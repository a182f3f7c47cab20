"""How a container has ended: what its monitor left behind. Reads only; `monitor` is the one that starts monitors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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
    """Whether some process of the container was killed for want of memory."""
    return os.path.exists(os.path.join(paths.bundle(container_id), "oom"))
