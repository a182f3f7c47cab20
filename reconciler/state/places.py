"""Where state lives below the two roots, and that nobody else can look or write there.

    ROOT/state/specs/      the resolved-spec cache
    RUN/locks/stack-NAME.lock

May be imported by `loop` and the rest of `state`; the engine has its own layout beside this (`engine.paths`).
"""

from __future__ import annotations

import os

from reconciler.engine.kernel import roots
from reconciler.kits.roots import root_folder, run_folder


def check_state() -> None:
    """Refuse a root that is not safe to read state from; makes nothing."""
    roots.check(root_folder())


def specs_folder() -> str:
    return os.path.join(root_folder(), "state", "specs")


def locks_folder() -> str:
    return os.path.join(run_folder(), "locks")


def ensure_roots() -> None:
    """Make both roots, 0700, or check those that are there. Raises ReconcilerError with code "unsafe-root"."""
    roots.claim((root_folder(), run_folder()))
