"""Layers on the disk: unpacked aside, checked, then renamed into place; what a killed run left is swept (`sweeping`).

A layer is shared by all images that have it. It is known by the digest of its plain tar, except one whose tar leaves out
folders: those must look as in the layers below, so such a layer is known by what is below it, too.

Several processes may work at once, each with its own images: they hold `images.lock` shared, and each layer is unpacked
by one of them while the others wait for it. Who sweeps holds the lock exclusively; so what somebody has found or placed
stays until it is done, also a layer that no image has yet. A layer's row may be written before its folder is on the
disk, an image's only afterwards (`Workshop.sync`): after a power loss no image has a layer that is not whole, and
layers that no image has are swept before anybody relies on them. Only this room may import it.
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
from typing import TYPE_CHECKING, Protocol

from reconciler.engine.images import streams, sweeping, unpack
from reconciler.engine.images.configuration import bad_image, digest_of
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
_RECORD = ".tarsplit"


class Source(Protocol):
    """What brings a layer. `what` names it in errors, `digest` is that of its bytes as they come, "" for not known."""

    @property
    def what(self) -> str: ...
    @property
    def digest(self) -> str: ...

    def compressed(self) -> bool:
        """Whether there is something to decompress, as far as one can tell now."""

    def opened(self) -> contextlib.AbstractContextManager[Span]:
        """The bytes, for a block that reads them; when it ends well they were what they should be, all the time."""

    def checked(self) -> None:
        """Called when the bytes are whole and right, before they are unpacked."""


class LayerSource(Frozen):
    """A layer as it lies in an archive. `digest` is what the archive calls these bytes, "" if it does not say."""

    span: Span
    what: str
    digest: str = ""

    def compressed(self) -> bool:
        return bool(streams.compression(self.span))

    @contextlib.contextmanager
    def opened(self) -> Iterator[Span]:
        before = _version(self.span.fd)
        yield self.span
        if _version(self.span.fd) != before:
            raise bad_image(self.what, "the file was changed while it was read", "load it again")

    def checked(self) -> None:
        pass


class Layer(Frozen):
    """A layer in its place: the store's key, the folder's name, bytes of its files."""

    key: str
    short: str
    size: int


class _Staged(Frozen):
    """A layer that was unpacked aside, and the record of its tar: paths."""

    folder: str
    record: str
    unpacked: unpack.Unpacked


class Workshop:
    """Where images are taken in. Use it inside `opened()`; safe to use from several threads there."""

    def __init__(
        self,
        store: Store,
        paths: Paths,
        limits: Limits,
        progress: Callable[[str], None],
        check: Callable[[], None] | None = None,
    ) -> None:
        """`check` is called again and again at long work and while another process has what we need; it ends both by raising."""
        self._store = store
        self._paths = paths
        self.limits = limits
        self._progress = progress
        self._check = check
        self._progress_lock = threading.Lock()
        # Two at once take longer than one after the other: they fight for the interpreter between short system calls.
        self._one_unpacks = threading.Lock()
        self._own: set[str] = set()
        self._staged: dict[str, _Staged] = {}

    def progress(self, text: str) -> None:
        """Tell the caller, one line at a time also when two layers are worked on."""
        with self._progress_lock:
            self._progress(text)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Workshop]:
        """Hold the lock. When the block raises, what it has unpacked is gone afterwards, unless others are at work, too."""
        files.make_folders(self._paths.root)
        sweeping.sweep(self._store, self._paths)
        try:
            with locks.held(self._paths.images_lock, shared=True):
                if not os.path.isdir(self._paths.staging):
                    files.make_folders(self._paths.staging)
                    files.spread_folders(self._paths.staging)  # where layers are unpacked, and stay
                files.make_folders(self._paths.layers)
                files.make_folders(self._paths.tarsplit)
                try:
                    yield self
                finally:
                    for path in self._own:
                        files.remove_tree(path)
                        files.remove_file(path + _RECORD)
        except (OSError, sqlite3.OperationalError) as error:
            sweeping.sweep_quietly(self._store, self._paths)  # or it says too little is free
            raise self._explained(error) from error
        finally:
            sweeping.sweep_quietly(self._store, self._paths)

    @contextlib.contextmanager
    def using(self) -> Iterator[dict[str, Layer]]:
        """Hold the lock only to read: nothing that is here goes meanwhile. Gives all layers, by key."""
        try:
            with locks.held(self._paths.images_lock, shared=True):
                yield self._known()
        finally:
            sweeping.sweep_quietly(self._store, self._paths)  # what others have removed meanwhile

    def temporary(self) -> int:
        """An empty file without a name on the same file system, open for reading and writing."""
        return files.open_for_writing(self._paths.staging, os.O_RDWR | os.O_TMPFILE)

    def missing(self, diff_ids: Sequence[str]) -> list[int]:
        """The places, from the lowest, of the layers that are not here yet."""
        keys = keys_by_position(diff_ids)
        known = self._known()
        return [index for index in _places(diff_ids) if not (known.get(diff_ids[index]) or known.get(keys[index]))]

    def place(self, sources: Sequence[Source], diff_ids: Sequence[str]) -> tuple[Layer, ...]:
        """Have an image's layers in their places, lowest first; `sync` before the image's row is written.

        `diff_ids` are the digests that the plain tars must have. Layers that come twice stay once, at the upper place,
        where they hide what they hid below. Raises `ReconcilerError` (code "bad-image") or OSError.
        """
        keys = keys_by_position(diff_ids)
        self._take_all([(sources[index], diff_ids[index]) for index in self.missing(diff_ids)])
        known = self._known()
        placed: list[Layer] = []
        for index in _places(diff_ids):
            layer = known.get(diff_ids[index]) or known.get(keys[index])
            if layer is None:
                staged = self._staged.pop(diff_ids[index])
                self._adopt(staged, placed)
                layer = self._put(staged, keys[index])
            placed.append(layer)
        return tuple(placed)

    def sync(self) -> None:
        """What was placed, by us or by others, is on the disk, content and names."""
        copying.sync_filesystem(self._paths.layers)

    def _known(self) -> dict[str, Layer]:
        with self._store.read() as connection:
            return layers_in(connection, set(files.names_in(self._paths.layers)))

    def _take_all(self, wanted: Sequence[tuple[Source, str]]) -> None:
        # Decompressing runs beside unpacking, and two threads save a third of the time. Unpacking two plain layers at
        # once takes longer than one after the other: they fight for the interpreter between short system calls.
        if len(wanted) < 2 or not any(source.compressed() for source, _ in wanted):
            for source, diff_id in wanted:
                self.take(source, diff_id)
            return
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(_WORKERS) as pool:
            for done in [pool.submit(self.take, *pair) for pair in wanted]:
                done.result()

    def take(self, source: Source, diff_id: str) -> None:
        """One layer, checked and unpacked, and in its place unless that depends on layers below it: see `place`."""
        lock = os.path.join(self._paths.staging, diff_id.partition(":")[2] + ".lock")
        if locks.is_held(lock):
            self.progress(f"{source.what}: waiting for another process that unpacks the same")
        with locks.held(lock, waiting=self._check):
            if diff_id in self._staged or diff_id in self._known():
                return
            staged = self._stage(source, diff_id)
            if not staged.unpacked.unnamed:
                self._put(staged, diff_id)
                return
        self._staged[diff_id] = staged

    def _stage(self, source: Source, diff_id: str) -> _Staged:
        check = self._check or streams.unhindered
        with contextlib.ExitStack() as stack:
            span, diff = stack.enter_context(source.opened()), ""
            if kind := streams.compression(span):
                self.progress(f"{source.what}: decompressing {human_size(span.size)}")
                target = self.temporary()
                stack.callback(os.close, target)
                expanded = streams.expand(span, kind, target, self.limits, source.what, check=check)
                span, diff = expanded.span, expanded.plain_digest
                _check(source.what, "digest", source.digest, expanded.compressed_digest)
            else:
                diff = streams.digest(span)
                _check(source.what, "digest", source.digest, diff)
            _check(source.what, "digest of the plain layer", diff_id, diff)
            self.progress(f"{source.what}: unpacking {human_size(span.size)}")
            source.checked()
            folder = os.path.join(self._paths.staging, f"{diff_id.partition(':')[2]}.{os.urandom(8).hex()}")
            self._own.add(folder)
            files.mkdir(folder)
            files.chmod(folder, 0o755)  # whatever the umask is; a "./" in the tar may say otherwise
            record = files.create(folder + _RECORD)
            stack.callback(os.close, record)
            with self._one_unpacks, rooted.open_root(folder) as root:
                unpacked = unpack.unpack(span, root, self.limits, source.what, record=record, check=check)
            return _Staged(folder, folder + _RECORD, unpacked)

    def _put(self, staged: _Staged, key: str) -> Layer:
        """Rename a layer into place, under a name that nobody has; one that others were quicker with is theirs."""
        with self._store.write() as connection:
            there = set(os.listdir(self._paths.layers))
            known = layers_in(connection, there).get(key)
            if known:
                return known
            rows = connection.execute("SELECT diff_id, short FROM layers").fetchall()
            # A folder that somebody removed by hand comes back under the name that images know it by.
            lost = {row["diff_id"]: row["short"] for row in rows}
            short = lost.get(key) or _free_name(key, there | set(lost.values()))
            files.rename(staged.record, os.path.join(self._paths.tarsplit, short))
            files.rename(staged.folder, os.path.join(self._paths.layers, short))
            connection.execute("INSERT OR REPLACE INTO layers VALUES (?, ?, ?)", (key, short, staged.unpacked.size))
        return Layer(key, short, staged.unpacked.size)

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


def layers_in(connection: sqlite3.Connection, there: Collection[str]) -> dict[str, Layer]:
    """The layers by key whose folder is among those that are there."""
    rows = connection.execute("SELECT diff_id, short, size FROM layers")
    return {row["diff_id"]: Layer(row["diff_id"], row["short"], row["size"]) for row in rows if row["short"] in there}


def _free_name(key: str, taken: Collection[str]) -> str:
    text = base64.b32encode(hashlib.sha256(key.encode()).digest()).decode().lower().rstrip("=")
    for length in range(_SHORTEST, _LONGEST + 1):
        for start in range(0, len(text) - length, length):
            if text[start : start + length] not in taken:
                return text[start : start + length]
    raise ReconcilerError("no free name for a layer", code="images", hint="remove images that nobody uses")


def _places(diff_ids: Sequence[str]) -> list[int]:
    """Where each layer is, from the lowest; one that comes twice at its upper place."""
    return sorted({diff_id: index for index, diff_id in enumerate(diff_ids)}.values())


def keys_by_position(diff_ids: Sequence[str]) -> list[str]:
    """For each layer a key that depends on all below it and is nobody's digest."""
    keys: list[str] = []
    for diff_id in diff_ids:
        below = keys[-1] if keys else ""
        keys.append(digest_of(f"{below} {diff_id}".encode()))
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
                copying.copy_attributes(inside, b".", outside, b".", facts)
            finally:
                os.close(outside)
        return True
    finally:
        os.close(inside)
