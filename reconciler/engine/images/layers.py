"""Layers on the disk: unpacked aside, checked, then renamed into place; what a killed run left is swept.

A layer is shared by all images that have it. It is known by the digest of its plain tar, except one whose tar leaves out
folders: those must look as in the layers below, so such a layer is known by what is below it, too. The folder is complete
and on the disk before its row is written (`catalog.Images.add`). Only this room may import it.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import sqlite3
import stat
import threading
from typing import TYPE_CHECKING

from reconciler.engine.images import streams, unpack
from reconciler.engine.images.configuration import bad_image
from reconciler.engine.kernel import copying, files, locks, rooted
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from reconciler.engine.images.streams import Limits, Span
    from reconciler.engine.paths import Paths
    from reconciler.engine.store import Store

_WORKERS = 2
_SHORTEST, _LONGEST = 4, 6


class LayerSource(Frozen):
    """A layer as it lies in an archive. `digest` is what the archive calls these bytes, "" if it does not say."""

    span: Span
    what: str
    digest: str = ""


class Layer(Frozen):
    """A layer in its place: the store's key, the folder's name, bytes of its files."""

    key: str
    short: str
    size: int


class _Staged(Frozen):
    folder: str
    unpacked: unpack.Unpacked


class Workshop:
    """Where images are taken in and out, by one process at a time.

    Use it inside `opened()`: that holds the lock, sweeps before and after, and explains a full disk.
    """

    def __init__(self, store: Store, paths: Paths, limits: Limits, progress: Callable[[str], None]) -> None:
        self._store = store
        self._paths = paths
        self.limits = limits
        self._progress = progress
        self._progress_lock = threading.Lock()
        self._taken: set[str] = set()
        self._lost: dict[str, str] = {}
        self._placed: dict[str, Layer] = {}

    def progress(self, text: str) -> None:
        """Tell the caller, one line at a time also when two layers are worked on."""
        with self._progress_lock:
            self._progress(text)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Workshop]:
        """Hold the lock. When the block raises, everything that has no row is gone afterwards."""
        files.make_folders(self._paths.root)
        lock = os.path.join(self._paths.root, "images.lock")
        if locks.is_held(lock):
            self.progress("waiting for another process that works on the images")
        with locks.held(lock):
            files.make_folders(self._paths.staging)
            files.make_folders(self._paths.layers)
            self.sweep()
            try:
                yield self
            except (OSError, sqlite3.OperationalError) as error:
                self._sweep_after_failure()
                raise self._explained(error) from error
            except BaseException:
                self._sweep_after_failure()
                raise

    def sweep(self) -> None:
        """Remove what no row speaks of: staging, layers, configurations.

        Where containers are that the store does not know, the store is not the one that this root had (somebody lost
        or replaced it): then their layers may be in use, and only staging is swept.
        """
        with self._store.read() as connection:
            containers = {row["id"] for row in connection.execute("SELECT id FROM containers")}
            layers = {row["short"] for row in connection.execute("SELECT short FROM layers")}
            images = {row["id"].partition(":")[2] for row in connection.execute("SELECT id FROM images")}
        _keep_only((), self._paths.staging)
        if containers.issuperset(_names(os.path.join(self._paths.root, "containers"))):
            _keep_only(layers, self._paths.layers)
            _keep_only(images, self._paths.content)

    def temporary(self) -> int:
        """An empty file without a name on the same file system, open for reading and writing."""
        return files.open_for_writing(self._paths.staging, os.O_RDWR | os.O_TMPFILE)

    def place(self, sources: Sequence[LayerSource], diff_ids: Sequence[str]) -> tuple[Layer, ...]:
        """Unpack the layers that are not here yet, lowest first, and put them in place; `sync` before rows are written.

        `diff_ids` are the digests that the plain tars must have. Layers that come twice stay once, at the upper place,
        where they hide what they hid below. Raises `ReconcilerError` (code "bad-image") or OSError.
        """
        last = {diff_id: index for index, diff_id in enumerate(diff_ids)}
        keys = _keys_by_position(diff_ids)
        known = self._known()
        wanted = sorted(last.values())
        missing = [index for index in wanted if not (known.get(diff_ids[index]) or known.get(keys[index]))]
        staged = dict(zip(missing, self._stage_all([(sources[i], diff_ids[i]) for i in missing]), strict=True))
        placed: list[Layer] = []
        for index in wanted:
            if index in staged:
                placed.append(self._put(staged[index], diff_ids[index], keys[index], placed))
            else:
                placed.append(known.get(diff_ids[index]) or known[keys[index]])
        return tuple(placed)

    def sync(self) -> None:
        """What was placed is on the disk, content and names."""
        if not self._placed:
            return
        fd = os.open(self._paths.layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copying.sync_filesystem(fd)
        finally:
            os.close(fd)

    def _known(self) -> dict[str, Layer]:
        with self._store.read() as connection:
            rows = connection.execute("SELECT diff_id, short, size FROM layers").fetchall()
        self._taken.update(row["short"] for row in rows)
        layers = [Layer(row["diff_id"], row["short"], row["size"]) for row in rows]
        there = set(os.listdir(self._paths.layers))
        self._taken.update(there)
        # A folder that somebody removed by hand comes back under the name that images know it by.
        self._lost = {layer.key: layer.short for layer in layers if layer.short not in there}
        return {**{layer.key: layer for layer in layers if layer.short in there}, **self._placed}

    def _stage_all(self, wanted: Sequence[tuple[LayerSource, str]]) -> list[_Staged]:
        # Decompressing runs beside unpacking, and two threads save a third of the time. Unpacking two plain layers at
        # once takes longer than one after the other: they fight for the interpreter between short system calls.
        if len(wanted) < 2 or not any(streams.compression(source.span) for source, _ in wanted):
            return [self._stage(source, diff_id) for source, diff_id in wanted]
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(_WORKERS) as pool:
            return list(pool.map(lambda pair: self._stage(*pair), wanted))

    def _stage(self, source: LayerSource, diff_id: str) -> _Staged:
        """One layer, checked and unpacked aside."""
        with contextlib.ExitStack() as stack:
            before = _version(source.span.fd)
            span, diff = source.span, ""
            if kind := streams.compression(span):
                self.progress(f"{source.what}: decompressing {human_size(span.size)}")
                target = self.temporary()
                stack.callback(os.close, target)
                expanded = streams.expand(span, kind, target, self.limits, source.what)
                span, diff = expanded.span, expanded.plain_digest
                _check(source.what, "digest", source.digest, expanded.compressed_digest)
            else:
                diff = streams.digest(span)
                _check(source.what, "digest", source.digest, diff)
            _check(source.what, "digest of the plain layer", diff_id, diff)
            self.progress(f"{source.what}: unpacking {human_size(span.size)}")
            folder = os.path.join(self._paths.staging, diff_id.partition(":")[2])
            files.mkdir(folder)
            files.chmod(folder, 0o755)  # whatever the umask is; a "./" in the tar may say otherwise
            with rooted.open_root(folder) as root:
                unpacked = unpack.unpack(span, root, self.limits, source.what)
            if _version(source.span.fd) != before:
                raise bad_image(source.what, "the file was changed while it was read", "load it again")
            return _Staged(folder, unpacked)

    def _put(self, staged: _Staged, diff_id: str, dependent_key: str, below: Sequence[Layer]) -> Layer:
        key = diff_id
        if staged.unpacked.unnamed:
            key = dependent_key
            self._adopt(staged, below)
        short = self._lost.get(key) or self._free_name(key)
        files.rename(staged.folder, os.path.join(self._paths.layers, short))
        layer = self._placed[key] = Layer(key, short, staged.unpacked.size)
        return layer

    def _adopt(self, staged: _Staged, below: Sequence[Layer]) -> None:
        """Folders that the tar did not name look as in the highest layer that has them."""
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(rooted.open_root(staged.folder))
            lowers = [
                stack.enter_context(rooted.open_root(os.path.join(self._paths.layers, layer.short)))
                for layer in reversed(below)
            ]
            for path in staged.unpacked.unnamed:
                for lower in lowers:
                    if _adopt_from(lower, target, path):
                        break

    def _free_name(self, key: str) -> str:
        text = base64.b32encode(hashlib.sha256(key.encode()).digest()).decode().lower().rstrip("=")
        for length in range(_SHORTEST, _LONGEST + 1):
            for start in range(0, len(text) - length, length):
                short = text[start : start + length]
                if short not in self._taken:
                    self._taken.add(short)
                    return short
        raise ReconcilerError("no free name for a layer", code="images", hint="remove images that nobody uses")

    def _sweep_after_failure(self) -> None:
        with contextlib.suppress(OSError, sqlite3.Error, ReconcilerError):
            self.sweep()

    def _explained(self, error: OSError | sqlite3.OperationalError) -> BaseException:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or (isinstance(error, sqlite3.Error) and "full" in str(error)):
            free = os.statvfs(self._paths.root)
            return ReconcilerError(
                f"the disk of {self._paths.root} is full: {human_size(free.f_bavail * free.f_frsize)} and "
                f"{free.f_favail} files are free after what was unpacked so far has been removed",
                code="disk-full",
                hint="remove images that nobody uses, or set RECONCILER_ROOT to a folder on a larger disk",
            )
        return ReconcilerError(f"{self._paths.root}: {error}", code="images")


def _keys_by_position(diff_ids: Sequence[str]) -> list[str]:
    """For each layer a key that depends on all below it and is nobody's digest."""
    keys: list[str] = []
    for diff_id in diff_ids:
        below = keys[-1] if keys else ""
        keys.append("sha256:" + hashlib.sha256(f"{below} {diff_id}".encode()).hexdigest())
    return keys


def _check(what: str, name: str, expected: str, got: str) -> None:
    if expected and expected != got:
        raise bad_image(what, f"the {name} does not match: expected {expected}, got {got}", "get the archive again")


def _version(fd: int) -> tuple[int, int, int]:
    # The time of change can't be set back, so nobody can slip other content under a digest that was just checked.
    facts = os.fstat(fd)
    return facts.st_ctime_ns, facts.st_mtime_ns, facts.st_size


def _adopt_from(lower: rooted.Rooted, target: rooted.Rooted, path: str) -> bool:
    """Whether the search ends here: a folder was found and copied from, or something hides what is below."""
    try:
        inside = lower.open(path, os.O_PATH | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        facts = os.fstat(inside)
        if stat.S_ISDIR(facts.st_mode):
            outside = target.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                copying.copy_attributes(inside, outside, b".", facts)
            finally:
                os.close(outside)
        return True
    finally:
        os.close(inside)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _keep_only(kept: Collection[str], folder: str) -> None:
    for name in _names(folder):
        if name in kept:
            continue
        path = os.path.join(folder, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            files.remove_tree(path)
        else:
            files.remove_file(path)
