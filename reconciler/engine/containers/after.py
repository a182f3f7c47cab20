"""The process of what runs without a user: the keeper, and the removal of the network. Started by `helpers`."""

from __future__ import annotations

import os
import sys

from reconciler.engine.containers import helpers
from reconciler.engine.facade import Engine
from reconciler.engine.kernel import cgroups


def main(arguments: list[str]) -> int:
    """`keep ROOT RUN [LOCK]` (LOCK: descriptor that holds the keeper's lock) or `tidy ROOT RUN`.

    What goes wrong is told in RUN/after.log.
    """
    os.umask(0o022)
    task, root, run, *rest = arguments
    engine = Engine(root, run)
    try:
        if task == "tidy":
            engine.remove_leftovers()
            return 0
        from reconciler.engine.containers.keeper import keep  # noqa: PLC0415 - not to tidy up

        # Out of the session or unit of whoever started us, and at the end out of the group that may go away.
        cgroups.enter(engine.paths.monitors, os.getpid())
        keep(engine, int(rest[0]) if rest else None)
        engine.leave()
    except Exception as error:
        helpers.note(engine.paths, f"{task}: {error!r}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
