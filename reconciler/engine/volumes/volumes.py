"""Named and anonymous volumes: rows, folders, and the first filling with what the image has at the mount point.

A volume's data is never touched once it is there. Its folder appears in one step (made aside, then renamed), so that
a crash leaves either none or a complete one.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files, locks
from reconciler.engine.kernel.copying import copy_tree
from reconciler.engine.kernel.rooted import Rooted, open_root
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, field

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from reconciler.engine.paths import Paths

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.-")


class Volume(Frozen):
    """A row of `volumes`; see the schema in `engine.store`."""

    name: str
    anonymous: bool
    owner: str
    target: str
    created: float
    labels: dict[str, str] = field(default_factory=dict)


def check_name(name: str) -> None:
    """Raise ReconcilerError unless `name` can be a volume's (and its folder's) name."""
    if not name or name[0] not in _FIRST or not _REST.issuperset(name) or len(name) > 255:
        raise ReconcilerError(
            f'create {name}: "{name}" includes invalid characters for a volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]"'
            " are allowed",
            code="volume-name",
            hint="for a host folder use its absolute path",
        )


def random_name() -> str:
    """A name for an anonymous volume: 64 hex digits."""
    return os.urandom(32).hex()


def every(connection: sqlite3.Connection) -> list[Volume]:
    """All volumes by name."""
    return [_volume(row) for row in connection.execute("SELECT * FROM volumes ORDER BY name")]


def get(connection: sqlite3.Connection, name: str) -> Volume | None:
    """The volume with this name."""
    row = connection.execute("SELECT * FROM volumes WHERE name = ?", (name,)).fetchone()
    return _volume(row) if row else None


def _volume(row: sqlite3.Row) -> Volume:
    return Volume(
        row["name"], bool(row["anonymous"]), row["owner"], row["target"], row["created"], json.loads(row["labels"])
    )


def ensure(
    connection: sqlite3.Connection,
    name: str,
    now: float,
    *,
    anonymous: bool = False,
    owner: str = "",
    target: str = "",
    labels: Mapping[str, str] | None = None,
) -> bool:
    """Have a row for the volume; one that exists stays as it is. Returns whether it is new."""
    check_name(name)
    cursor = connection.execute(
        "INSERT OR IGNORE INTO volumes (name, anonymous, owner, target, labels, created) VALUES (?, ?, ?, ?, ?, ?)",
        (name, anonymous, owner, target, json.dumps(dict(labels or {})), now),
    )
    return cursor.rowcount > 0


def anonymous_of(connection: sqlite3.Connection, owner: str) -> dict[str, str]:
    """The anonymous volumes that containers of `owner` had, by mount target; {} for no owner."""
    if not owner:
        return {}
    rows = connection.execute(
        "SELECT target, name FROM volumes WHERE anonymous AND owner = ? ORDER BY created", (owner,)
    )
    return {row["target"]: row["name"] for row in rows}


def forget(connection: sqlite3.Connection, name: str) -> None:
    """Take the row away; the folder is the caller's next step."""
    connection.execute("DELETE FROM volumes WHERE name = ?", (name,))


def make_folder(paths: Paths, name: str) -> None:
    """Have the volume's data folder, empty when it is new."""
    data = paths.volume_data(name)
    if os.path.isdir(data):
        return
    with _filling(paths, name):
        if not os.path.isdir(data):
            _appear(paths, name, None)


def fill(paths: Paths, name: str, image: Rooted, target: str) -> None:
    """Give an empty volume what the image has at `target`, with owners, modes and all (Docker's copy-up).

    A volume that holds something stays as it is, and so does one whose target is not a folder of the image.
    """
    data = paths.volume_data(name)
    if os.path.isdir(data) and os.listdir(data):
        return
    try:
        source = image.subroot(target)
    except FileNotFoundError:
        make_folder(paths, name)
        return
    except NotADirectoryError as error:
        raise ReconcilerError(
            f"a volume can't be mounted at {target}: the image has a file there",
            code="mount",
            hint="choose another target, or mount a host file",
        ) from error
    with source, _filling(paths, name):
        if not (os.path.isdir(data) and os.listdir(data)):
            _appear(paths, name, source)


def _filling(paths: Paths, name: str) -> AbstractContextManager[None]:
    return locks.held(_lock(paths, name))


def _lock(paths: Paths, name: str) -> str:
    return os.path.join(paths.locks, f"volume-{name}")


def _appear(paths: Paths, name: str, source: Rooted | None) -> None:
    folder = os.path.dirname(paths.volume_data(name))
    files.make_folders(folder, 0o711)
    aside = os.path.join(folder, "_filling")
    files.remove_tree(aside)
    files.mkdir(aside, 0o755)
    files.chmod(aside, 0o755)
    if source is not None:
        with open_root(aside) as new:
            copy_tree(source, new)
    # rename(2) replaces an empty folder, and refuses when somebody has written into it meanwhile
    files.rename(aside, paths.volume_data(name))
    files.sync_folder(folder)


def remove_folder(paths: Paths, name: str) -> None:
    """Delete the volume's data for good."""
    check_name(name)
    files.remove_tree(os.path.dirname(paths.volume_data(name)))
    files.remove_file(_lock(paths, name))
