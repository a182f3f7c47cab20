"""Processes of ours that work without a user: the exit hook's command, the keeper, the clean-up of the network.

How they are started; what they do is `after`'s business, what that comes to is `settle`'s.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers.runtime import write_script
from reconciler.engine.kernel import files, locks, programs

if TYPE_CHECKING:
    from reconciler.engine.paths import Paths

POKE = ".look"
"""A file that comes and goes in the folder of exit codes, which the keeper watches: it shall look at everything."""

# Not with -m: that takes runpy, and 5 ms more.
_CODE = "from reconciler.engine.containers.after import main; import sys; sys.exit(main(sys.argv[1:]))"

_HOOK = """\
# Run by a container's monitor after the container has ended; $1 is its id. Starts the keeper when there is something to
# do and no keeper, and only one of many hooks does: Python for each container of a crash loop would eat the machine.
[ -e '{run}/containers/'"$1"/settle ] || exit 0
exec 9>>'{run}/locks/keeper' || exit 0
flock --shared --nonblock 9 || exit 0  # it sees the exit code
flock --timeout 5 9 || exit 0          # another hook was quicker, and its keeper begins with a look at everything
echo 0 2>/dev/null >/proc/self/oom_score_adj
setsid '{python}' -I -c '{code}' keep '{root}' '{run}' 9 >/dev/null 2>&1 &
"""


def hook_command(paths: Paths, container_id: str) -> list[str]:
    """The command that a monitor shall run at its container's end.

    The script's path outlives a release; its content is that of the release that started a container last. A shell reads
    it: many a system mounts /run so that nothing below it may be executed (Debian does).
    """
    script = os.path.join(paths.run, "after-exit")
    write_script(script, _HOOK.format(run=paths.run, root=paths.root, python=sys.executable, code=_CODE))
    return ["/bin/sh", script, container_id]


def wake_keeper(paths: Paths) -> None:
    """Have somebody look after what is due later, now: start the keeper, or have the one that lives look again."""
    if locks.is_held(paths.keeper_lock):
        poke = os.path.join(paths.exits, POKE)
        files.write_file(poke, b"")
        files.remove_file(poke)
        return
    start(paths, "keep")


def start(paths: Paths, task: str) -> programs.Started:
    """Start a process of ours that outlives this one, for a task of `after`."""
    return programs.spawn_detached([sys.executable, "-I", "-c", _CODE, task, paths.root, paths.run])


def note(paths: Paths, text: str) -> None:
    """A line in RUN/after.log, where a process without a user says what went wrong. It never grows beyond _LONGEST."""
    path = os.path.join(paths.run, "after.log")
    with contextlib.suppress(OSError):
        fresh = os.path.exists(path) and os.stat(path).st_size > _LONGEST
        fd = files.create(path, 0o600, os.O_TRUNC if fresh else os.O_APPEND)
        try:
            files.write_all(fd, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n".encode())
        finally:
            os.close(fd)


_LONGEST = 1 << 20
