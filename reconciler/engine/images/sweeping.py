"""What lies on the disk and no image needs any more: layers, configurations, what was unpacked aside, rests of pulls.

Nothing is swept while somebody works on images: they hold `Paths.images_lock` shared, and who sweeps holds it alone.
Only this room may import it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from typing import TYPE_CHECKING

from reconciler.engine.images import rows
from reconciler.engine.kernel import files, locks
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Collection

    from reconciler.engine.paths import Paths
    from reconciler.engine.store import Store


def sweep(store: Store, paths: Paths) -> bool:
    """Remove what no image needs: layers, configurations, what was unpacked aside. Whether it was done.

    It is not while somebody works on images: then the next who does will. Where containers are that the store does
    not know, the store is not the one that this root had (somebody lost or replaced it): then their layers may be
    in use, and only staging is swept.
    """
    lock = locks.try_hold(paths.images_lock)
    if lock is None:
        return False
    try:
        _keep_only((), paths.staging)
        with store.read() as connection:
            containers = {row["id"] for row in connection.execute("SELECT id FROM containers")}
        if containers.issuperset(files.names_in(os.path.join(paths.root, "containers"))):
            _sweep_content(store, paths)
    finally:
        os.close(lock)
    return True


def sweep_quietly(store: Store, paths: Paths) -> None:
    """The same for who has something better to say than that it can't be done now."""
    with contextlib.suppress(OSError, sqlite3.Error, ReconcilerError):
        sweep(store, paths)


def free_downloads(paths: Paths) -> int:
    """Remove what has come of layers in pulls that were given up; the bytes. Nothing while somebody works on images."""
    lock = locks.try_hold(paths.images_lock)
    if lock is None:
        return 0
    try:
        names = files.names_in(paths.downloads)
        size = sum(os.lstat(os.path.join(paths.downloads, name)).st_size for name in names)
        _keep_only((), paths.downloads)
    finally:
        os.close(lock)
    return size


def _sweep_content(store: Store, paths: Paths) -> None:
    with store.read() as connection:
        used = rows.used_layers(connection)
        layers = {row["short"] for row in connection.execute("SELECT short FROM layers")}
        content = {
            row[0].partition(":")[2]
            for row in connection.execute(
                "SELECT id FROM images UNION SELECT manifest FROM images UNION SELECT digest FROM digests"
            )
        }
    if unused := layers - used:
        with store.write() as connection:
            connection.executemany("DELETE FROM layers WHERE short = ?", [(short,) for short in unused])
    _keep_only(layers & used, paths.layers)
    _keep_only(layers & used, paths.tarsplit)
    _keep_only(content, paths.content)


def _keep_only(kept: Collection[str], folder: str) -> None:
    for name in files.names_in(folder):
        if name in kept:
            continue
        path = os.path.join(folder, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            files.remove_tree(path)
        else:
            files.remove_file(path)
