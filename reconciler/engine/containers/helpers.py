"""Processes of ours that work without a user: the exit hook's command, the keeper, the clean-up of the network.

How they are started; what they do is `after`'s business, what that comes to is `settle`'s.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from reconciler.engine.containers.runtime import write_script
from reconciler.engine.kernel import cgroups, files, locks, programs

if TYPE_CHECKING:
    from reconciler.engine.paths import Paths

_HOOK = """#!/bin/sh
# Run by a container's monitor after the container has ended; $1 is its id.
# Starts Python only when there is something to do, and when nobody is at it already.
[ -e "{run}/containers/$1/settle" ] || exit 0
flock --shared --nonblock "{run}/locks/keeper" true || exit 0
echo 0 2>/dev/null >/proc/self/oom_score_adj
exec "{python}" -I -m reconciler.engine.containers.after settle "{root}" "{run}" "$1"
"""


def hook_command(paths: Paths, container_id: str) -> list[str]:
    """The command that a monitor shall run at its container's end.

    The script's path outlives a release; its content is that of the release that started a container last.
    """
    script = os.path.join(paths.run, "after-exit")
    write_script(script, _HOOK.format(run=paths.run, root=paths.root, python=sys.executable))
    return [script, container_id]


def wake_keeper(paths: Paths) -> None:
    """Have somebody look after what is due later, now: start the keeper, or have the one that lives look again."""
    if locks.is_held(paths.keeper_lock):
        poke = os.path.join(paths.exits, ".look")  # it watches this folder
        files.write_file(poke, b"")
        files.remove_file(poke)
        return
    keeper = start(paths, "keep")
    with contextlib.suppress(OSError):
        cgroups.enter(f"{paths.cgroup}/monitors", keeper.pid)


def start(paths: Paths, task: str) -> programs.Started:
    """Start a process of ours that outlives this one, for a task of `after`."""
    module = "reconciler.engine.containers.after"
    return programs.spawn_detached([sys.executable, "-I", "-m", module, task, paths.root, paths.run])
