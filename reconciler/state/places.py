"""Where state lives below the two roots, and that nobody else can look or write there.

    ROOT/state/specs/      the resolved-spec cache
    RUN/locks/stack-NAME.lock

May be imported by `loop` and the rest of `state`; the engine has its own layout beside this (`engine.paths`).
"""

from __future__ import annotations

import os
import stat

from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.roots import root_folder, run_folder


def check_state() -> None:
    """Refuse a root that is not safe to read state from; makes nothing."""
    _check(root_folder())


def specs_folder() -> str:
    return os.path.join(root_folder(), "state", "specs")


def locks_folder() -> str:
    return os.path.join(run_folder(), "locks")


def ensure_roots() -> None:
    """Make both roots, 0700, or check those that are there. Raises ReconcilerError with code "unsafe-root"."""
    for path in (root_folder(), run_folder()):
        _check(path)
        files.make_folders(path)


def _check(path: str) -> None:
    """Refuse a root that somebody else owns or may enter; one that is absent is fine.

    It holds setuid files of images and values of variables. It is refused rather than tightened: a wrong setting may
    point at a folder that others need (/tmp, /srv).
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise ReconcilerError(f"{path} is not a folder", code="unsafe-root", hint=_HINT)
    if found.st_uid != os.geteuid():
        raise ReconcilerError(f"{path} belongs to user id {found.st_uid}", code="unsafe-root", hint=_HINT)
    if found.st_mode & 0o077:
        raise ReconcilerError(
            f"{path} may be entered by others (mode {stat.S_IMODE(found.st_mode):04o})",
            code="unsafe-root",
            hint=f"run: chmod 0700 {path}" if not found.st_mode & stat.S_ISVTX else _HINT,
        )


_HINT = "point RECONCILER_ROOT and RECONCILER_RUN at folders of their own, or leave them unset"
