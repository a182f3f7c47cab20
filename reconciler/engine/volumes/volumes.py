"""Named and anonymous volumes: rows, folders, and the first filling with what the image has at the mount point.

A volume's data is never touched once it is there. What a volume is filled with is made aside and complete on the disk
before the first of it can be seen; who was cut off then is finished by the next that needs the volume. The data folder
itself is never replaced: a container may have it mounted.

    ROOT/volumes/NAME/_data       the data
    ROOT/volumes/NAME/_filling    a copy that is being made; worthless after a crash
    ROOT/volumes/NAME/_filled     a complete copy that is being moved into `_data`
    ROOT/volumes/.removed-RANDOM  a removed volume; no volume's name begins like that
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
from typing import TYPE_CHECKING

from reconciler.engine.kernel import copying, files, locks
from reconciler.engine.kernel.rooted import Rooted, open_root
from reconciler.engine.volumes import usage
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from reconciler.engine.paths import Paths
    from reconciler.engine.store import Store

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST = _FIRST | frozenset("_.-")
_REMOVED = ".removed-"


class Volume(Frozen):
    """A row of `volumes`; see the schema in `engine.store`."""

    name: str
    anonymous: bool
    owner: str
    target: str
    created: float
    labels: dict[str, str] = field(default_factory=dict)
    protected: str = ""
    folder: str = ""


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
        row["name"],
        bool(row["anonymous"]),
        row["owner"],
        row["target"],
        row["created"],
        json.loads(row["labels"]),
        row["protected"],
        row["folder"],
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
    protected: str = "",
) -> bool:
    """Have a row for the volume; one that exists stays as it is. Returns whether it is new."""
    check_name(name)
    cursor = connection.execute(
        "INSERT OR IGNORE INTO volumes (name, anonymous, owner, target, labels, created, protected, folder)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (name, anonymous, owner, target, json.dumps(dict(labels or {})), now, protected, _new_folder(connection, name)),
    )
    return cursor.rowcount > 0


def _new_folder(connection: sqlite3.Connection, name: str) -> str:
    """The volume's own name, unless the data of one that was renamed lies there."""
    taken = connection.execute("SELECT 1 FROM volumes WHERE folder = ?", (name,)).fetchone()
    return f"{name[:200]}-{os.urandom(8).hex()}" if taken else name


def folder_of(connection: sqlite3.Connection, name: str) -> str:
    """What the folder of a volume is called."""
    volume = get(connection, name)
    return volume.folder if volume else name


def rename(connection: sqlite3.Connection, old: str, new: str, owner: str) -> Volume:
    """Give a volume another name and owner; it as it is then. Raises ReconcilerError, code "not-found" or "volume-taken"."""
    check_name(new)
    if get(connection, old) is None:
        raise ReconcilerError(f"No such volume: {old}", code="not-found", hint="`reconciler volume ls` lists them")
    if old != new and get(connection, new):
        raise ReconcilerError(
            f"volume {old} can't be called {new}: there is a volume of that name",
            code="volume-taken",
            hint=f"remove that one if it is not needed: `reconciler volume rm {new}`",
        )
    connection.execute("UPDATE volumes SET name = ?, owner = ? WHERE name = ?", (new, owner, old))
    renamed = get(connection, new)
    assert renamed
    return renamed


def pass_on(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Let another owner have the anonymous volumes of one. What it had itself at the same targets is nobody's then."""
    if not old:
        return
    connection.execute(
        "UPDATE volumes SET owner = '' WHERE anonymous AND owner = ? AND target IN"
        " (SELECT target FROM volumes WHERE anonymous AND owner = ?)",
        (new, old),
    )
    connection.execute("UPDATE volumes SET owner = ? WHERE anonymous AND owner = ?", (new, old))


def change(connection: sqlite3.Connection, name: str, *, labels: Mapping[str, str], protected: str) -> None:
    """Give a volume other labels, and somebody who does not want it removed, in words ("" = nobody)."""
    connection.execute(
        "UPDATE volumes SET labels = ?, protected = ? WHERE name = ?", (json.dumps(dict(labels)), protected, name)
    )


def anonymous_of(connection: sqlite3.Connection, owner: str) -> dict[str, str]:
    """The anonymous volumes that containers of `owner` had, by mount target; {} for no owner."""
    if not owner:
        return {}
    rows = connection.execute(
        "SELECT target, name FROM volumes WHERE anonymous AND owner = ? ORDER BY created", (owner,)
    )
    return {row["target"]: row["name"] for row in rows}


# --- making and filling ------------------------------------------------------------------------------------------------


def make_folder(paths: Paths, name: str) -> None:
    """Have the volume's data folder, empty when it is new."""
    if os.path.isdir(paths.volume_data(name)) and not os.path.lexists(_filled(paths, name)):
        return
    with _filling(paths, name):
        _go_on(paths, name)
        if not os.path.isdir(paths.volume_data(name)):
            _fill(paths, name, None)


def fill(paths: Paths, name: str, image: Rooted, target: str) -> None:
    """Give an empty volume what the image has at `target`, with owners, modes and all (Docker's copy-up).

    A volume that holds something stays as it is, and so does one whose target is not a folder of the image.
    """
    if _holds_something(paths, name) and not os.path.lexists(_filled(paths, name)):
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
        _go_on(paths, name)
        if not _holds_something(paths, name):
            _fill(paths, name, source)


def _filling(paths: Paths, name: str) -> AbstractContextManager[None]:
    return locks.held(_lock(paths, name))


def _lock(paths: Paths, name: str) -> str:
    return os.path.join(paths.locks, f"volume-{name}")


def _filled(paths: Paths, name: str) -> str:
    return os.path.join(os.path.dirname(paths.volume_data(name)), "_filled")


def _holds_something(paths: Paths, name: str) -> bool:
    data = paths.volume_data(name)
    return os.path.isdir(data) and bool(os.listdir(data))


def _fill(paths: Paths, name: str, source: Rooted | None) -> None:
    data = paths.volume_data(name)
    folder = os.path.dirname(data)
    files.make_folders(folder, 0o711)
    aside = os.path.join(folder, "_filling")
    files.remove_tree(aside)
    files.mkdir(aside, 0o755)
    files.chmod(aside, 0o755)
    if source is not None:
        with open_root(aside) as new:
            copying.copy_tree(source, new)
            if os.listdir(aside):
                copying.sync_filesystem(aside)
    files.rename(aside, _filled(paths, name) if os.path.isdir(data) else data)
    files.sync_folder(folder)
    _go_on(paths, name)


def _go_on(paths: Paths, name: str) -> None:
    """Move what a volume is filled with into its folder, which others may have mounted: what they made meanwhile stays."""
    filled, data = _filled(paths, name), paths.volume_data(name)
    try:
        names = sorted(os.listdir(filled))
    except FileNotFoundError:
        return
    files.make_folders(data, 0o755)
    for entry in names:
        _move_if_free(os.path.join(filled, entry), os.path.join(data, entry))
    inside, outside = (os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in (filled, data))
    try:
        copying.copy_attributes(inside, b".", outside, b".", os.fstat(inside))
    finally:
        os.close(inside)
        os.close(outside)
    files.remove_tree(filled)


def _move_if_free(old: str, new: str) -> None:
    if os.path.lexists(new):
        return
    if os.path.isdir(old) and not os.path.islink(old):
        try:
            files.rename(old, new)  # replaces at most an empty folder that was made in this moment
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        return
    with contextlib.suppress(FileExistsError):
        files.link(old, new)  # unlike rename(2), replaces nothing
    files.unlink(old)


# --- removing -------------------------------------------------------------------------------------------------------


def discard(paths: Paths, store: Store, names: Iterable[str], since: float = 0.0) -> None:
    """Delete, with their data, those of the volumes that no container mounts and that were made at `since` or later."""
    wanted = tuple(dict.fromkeys(names))
    if not wanted:
        return

    def chosen(connection: sqlite3.Connection) -> list[str]:
        users = usage.users(connection)
        found = [get(connection, name) for name in wanted if name not in users]
        return [volume.name for volume in found if volume and volume.created >= since and not volume.protected]

    take_away(paths, store, chosen)


def take_away(paths: Paths, store: Store, choose: Callable[[sqlite3.Connection], Sequence[str]]) -> None:
    """Delete for good the volumes that `choose` names; what it raises is the caller's.

    It is asked in the transaction in which rows and folders go, so that nobody can begin to use one meanwhile. The
    folders only move then; what a killed process has left of them goes with the next removal. Raises ReconcilerError,
    code "protected", where one is protected; then none goes.
    """
    moved: list[tuple[str, str]] = []
    try:
        with store.write() as connection:
            names = choose(connection)
            leftovers = _leftovers(paths)  # in here, so that none is somebody's whose transaction may still fail
            for name in names:
                _check_unprotected(connection, name)
            for name in names:
                _move_away(paths, folder_of(connection, name), moved)
                connection.execute("DELETE FROM volumes WHERE name = ?", (name,))
    except (OSError, sqlite3.Error, ReconcilerError):
        for folder, aside in moved:
            with contextlib.suppress(OSError):
                files.rename(aside, folder)
        raise
    for path in (*leftovers, *(aside for _, aside in moved)):
        _remove_with_others(path)


def _check_unprotected(connection: sqlite3.Connection, name: str) -> None:
    volume = get(connection, name)
    if volume and volume.protected:
        raise ReconcilerError(
            f"remove {name}: volume is protected by {volume.protected}",
            code="protected",
            hint=f"write `protect: false` there and apply, or: reconciler volume unprotect {name}",
        )


def _leftovers(paths: Paths) -> list[str]:
    return [os.path.join(paths.volumes, name) for name in files.names_in(paths.volumes) if name.startswith(_REMOVED)]


def _remove_with_others(path: str) -> None:
    """Remove a tree that somebody else may be removing as well: each error of this kind means that it got smaller."""
    while os.path.lexists(path):
        try:
            files.remove_tree(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise


def _move_away(paths: Paths, name: str, moved: list[tuple[str, str]]) -> None:
    check_name(name)
    folder = os.path.dirname(paths.volume_data(name))
    aside = os.path.join(paths.volumes, _REMOVED + os.urandom(8).hex())
    try:
        files.rename(folder, aside)
    except FileNotFoundError:
        pass
    else:
        moved.append((folder, aside))
    files.remove_file(_lock(paths, name))
