"""The two roots of an installation: made 0700 for root alone, or refused when they are not safe to use.

They hold set-user-ID files of images, and values of variables. One that others may enter is refused rather than
tightened: a wrong setting may point at a folder that others need (/tmp, /srv). The engine and the state use it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

_HINT = "point RECONCILER_ROOT and RECONCILER_RUN at folders of their own, or leave them unset"
_UNFIT = frozenset(",:\\\"'\n")
"""Characters that overlayfs options or a monitor's log path can't carry."""


def claim(folders: Iterable[str]) -> None:
    """Make the roots, or check those that are there. Raises ReconcilerError with code "unsafe-root"."""
    for folder in folders:
        if not check(folder):
            files.make_folders(folder)
            files.chmod(folder, 0o700)  # whatever the umask


def check(folder: str) -> bool:
    """Whether the root is there; refuses one that somebody else owns, may enter, or could put another in place of."""
    if _UNFIT.intersection(folder):
        raise _refused(
            f"{quote(folder)} can't be a root: its path holds one of a comma, a colon, a backslash, a quote or a newline",
            "set RECONCILER_ROOT and RECONCILER_RUN to plain paths",
        )
    _check_above(folder)
    try:
        facts = os.lstat(folder)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(facts.st_mode):
        raise _refused(f"{folder} is not a folder", "move it away")
    if facts.st_uid != os.geteuid():
        raise _refused(f"{folder} belongs to user id {facts.st_uid}", _HINT)
    if facts.st_mode & 0o077:
        tighten = f"run: chmod 0700 {folder}"
        raise _refused(
            f"{folder} may be entered by others (mode {stat.S_IMODE(facts.st_mode):04o})",
            tighten if not facts.st_mode & stat.S_ISVTX else _HINT,
        )
    return True


def _check_above(folder: str) -> None:
    """Whoever may rename a folder on the way to a root may put one of their own in its place."""
    while folder != "/":
        folder = os.path.dirname(folder)
        try:
            facts = os.lstat(folder)
        except FileNotFoundError:
            continue
        mine = facts.st_uid in (0, os.geteuid())
        shared = facts.st_mode & (0o002 if facts.st_gid == 0 else 0o022) and not facts.st_mode & stat.S_ISVTX
        if not mine or shared:
            who = "others may write to" if mine else f"user id {facts.st_uid} owns"
            raise _refused(f"{who} {folder}, in which a root lies: they could put another in its place", _HINT)


def _refused(message: str, hint: str) -> ReconcilerError:
    return ReconcilerError(message, code="unsafe-root", hint=hint)
