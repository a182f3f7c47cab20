"""The two folders that everything of one installation lives under: what keeps, and what a reboot takes.

Only their names: the engine's layout below them is `engine.paths`, the state's is `state.places`. Anyone may import it.
"""

from __future__ import annotations

import os

DEFAULT_ROOT = "/var/lib/reconciler"
DEFAULT_RUN = "/run/reconciler"


def root_folder() -> str:
    """RECONCILER_ROOT, else /var/lib/reconciler; absolute and without links. Survives a reboot."""
    return os.path.realpath(os.environ.get("RECONCILER_ROOT") or DEFAULT_ROOT)


def run_folder() -> str:
    """RECONCILER_RUN, else /run/reconciler; absolute and without links. Volatile."""
    return os.path.realpath(os.environ.get("RECONCILER_RUN") or DEFAULT_RUN)
