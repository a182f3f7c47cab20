"""Copying files between the host and a container, running or not: what `cp` does, as `docker cp`.

A running container's root is /proc/PID/root, with all that is mounted in it, and every path is resolved inside of it,
also while the container swaps links. One that does not run is mounted, volumes and all, in a mount namespace that ends
with the copy: nothing of it is left, whenever the copy is killed. Not for images (`images.unpack`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from typing import TYPE_CHECKING, TypeVar

from reconciler.engine.containers import bundle, mounting, status
from reconciler.engine.images import streams
from reconciler.engine.images.unpack import unpack
from reconciler.engine.kernel import copying, files, mounts
from reconciler.engine.kernel.copying import Manner
from reconciler.engine.kernel.rooted import Rooted, open_root, split
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import quote

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.lifecycle import Lifecycle

T = TypeVar("T")

STREAM = "-"
"""Instead of a path of the host: a tar archive on standard input or output."""

_MOST_LINKS = 40
_WHO = os.O_PATH | os.O_NOFOLLOW


class Copying(Frozen):
    """`archive`: owners, set-user-id bits and attributes as they are, devices too; else root owns all and those stay behind.

    `follow`: where the source is a link, what it leads to.
    """

    archive: bool = False
    follow: bool = False

    @property
    def manner(self) -> Manner:
        return Manner(merge=True, owner=None if self.archive else (0, 0), tame=not self.archive)


def copy_in(lifecycle: Lifecycle, source: str, name: str, path: str, how: Copying) -> int:
    """Copy a file or folder of the host (or a tar from standard input) into a container; returns the bytes of all files.

    `source` is absolute, or "-". Raises ReconcilerError.
    """
    if source == STREAM:
        return _with_root(lifecycle, name, lambda root: _unpack(lifecycle, root, name, path))
    with open_root("/") as host:
        found = _Source(host, source, how.follow, missing=f"lstat {source}: no such file or directory")
        return _with_root(lifecycle, name, lambda root: _transfer(found, root, path, f"{name}:{path}", how))


def copy_out(lifecycle: Lifecycle, name: str, path: str, target: str, how: Copying) -> int:
    """Copy a file or folder of a container to an absolute path of the host, or as a tar to standard output."""

    def act(root: Rooted) -> int:
        found = _Source(root, path, how.follow, missing=f"No such container:path: {name}:{path}")
        if target == STREAM:
            return _pack(found)
        with open_root("/") as host:
            return _transfer(found, host, target, target, how)

    return _with_root(lifecycle, name, act)


# --- a container's root ---------------------------------------------------------------------------------------------


def _with_root(lifecycle: Lifecycle, name: str, act: Callable[[Rooted], T]) -> T:
    """Run `act` with the root that the container has, or would have if it ran."""
    record = lifecycle.registry.find(name)
    while True:
        if lifecycle.registry.status(record).is_up:
            with _inside(record) as root:
                return act(root)
        with lifecycle.lock(record.id):
            record = lifecycle.registry.find(record.id)
            if not lifecycle.registry.status(record).is_up:
                return _mounted(lifecycle, record, act)


@contextlib.contextmanager
def _inside(record: Record) -> Iterator[Rooted]:
    with open_root(f"/proc/{record.pid}/root") as root:
        if not status.lives(record):
            raise ReconcilerError(f"container {record.name} has just ended", code="not-running", hint="try again")
        yield root


def _mounted(lifecycle: Lifecycle, record: Record, act: Callable[[Rooted], T]) -> T:
    """Run `act` with the container's root in a mount namespace of its own; the caller holds the container's lock."""
    paths = lifecycle.paths
    image = lifecycle.images.resolve(record.image)
    folder = bundle.root_folder(paths, record.id)
    results: list[T] = []

    def inside() -> None:
        nonlocal folder
        if not os.path.ismount(folder):
            folder = paths.container(record.id)
            files.make_folders(folder)
            bundle.mount_layers(paths, record.id, image, folder)
        with open_root(folder) as root:
            mounting.furnish(paths, record.mounts, None if record.generation else root)
            for bind in mounting.bind_mounts(paths, record.mounts):
                place = _mount_point(root, bind.source, bind.target)
                mounts.bind(bind.source, functools.partial(root.open, place, _WHO), read_only=bind.read_only)
            if record.config.security.read_only:
                mounts.make_read_only(functools.partial(root.open, "/", _WHO))
            with root.subroot("/") as seen:
                results.append(act(seen))

    mounts.in_private_namespace(inside)
    return results[0]


def _mount_point(root: Rooted, source: str, target: str) -> str:
    return root.makedirs(target) if os.path.isdir(source) else root.ensure_file(target)


# --- what is copied -------------------------------------------------------------------------------------------------


class _Source:
    """What is to be copied: a path inside `root`. `contents`: of a folder, what is in it and not the folder itself."""

    def __init__(self, root: Rooted, path: str, follow: bool, *, missing: str) -> None:
        self.root = root
        self.shown = path
        self.contents = path.endswith("/.") or path.strip("/") in ("", ".")
        folder_meant = path.endswith(("/", "/."))
        self.name = os.path.basename(path.rstrip("/").removesuffix("/.")) or "."
        try:
            self.path = _real(root, path) if follow or folder_meant else path
            self.is_folder = stat.S_ISDIR(root.stat(self.path, follow=self.contents).st_mode)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ReconcilerError(missing, code="not-found", hint="correct the path") from error
        if folder_meant and not self.is_folder:
            raise ReconcilerError(f"{quote(path, 200)} is not a directory", code="cp", hint="leave the last slash out")


def _real(root: Rooted, path: str) -> str:
    """The path with its last component no link any more; one inside, but not to be trusted to stay what it is."""
    for _ in range(_MOST_LINKS):
        bare = path.rstrip("/").removesuffix("/.") or "/"
        try:
            target = root.readlink(bare)
        except OSError as error:
            if error.errno in (
                errno.EINVAL,
                errno.ENOENT,
            ):  # readlinkat(2) of a descriptor says ENOENT for what is no link
                return bare
            raise
        path = os.path.join(os.path.dirname(bare), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _transfer(source: _Source, target: Rooted, path: str, shown: str, how: Copying) -> int:
    """Put the source where `path` inside `target` says, by the rules of cp(1) and `docker cp`."""
    try:
        folder, name = _destination(source, target, path, shown)
        with target.subroot(folder) as above:
            if not source.is_folder:
                with source.root.parent(source.path) as (inside, old):
                    return copying.copy_entry(inside, old, above.fd, name, how.manner)
            with source.root.subroot(source.path) as inside_folder:
                if not name:
                    return copying.copy_tree(inside_folder, above, itself=False, manner=how.manner)
                copying.enter_folder(above.fd, name, merge=True)
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                with Rooted(os.open(name, flags, dir_fd=above.fd)) as made:
                    return copying.copy_tree(inside_folder, made, manner=how.manner)
    except OSError as error:
        raise _failure(error, source.shown, shown) from error


def _destination(source: _Source, target: Rooted, path: str, shown: str) -> tuple[str, bytes]:
    """(folder, name in it) that the source gets, the name b"" for a folder's contents.

    Links in what the user typed are followed, but not one of that name: an earlier copy may have brought it.
    """
    try:
        is_folder = stat.S_ISDIR(target.stat(path).st_mode)
    except FileNotFoundError:
        if path.endswith("/") and not source.is_folder:
            raise _no_folder(shown) from None
        above, name = split(path)
        try:
            target.stat(above)
        except OSError:
            raise _no_folder(os.path.dirname(shown.rstrip("/"))) from None
        return os.fsdecode(above), name
    if is_folder:
        return path, b"" if source.contents else os.fsencode(source.name)
    if source.is_folder:
        message = f"{shown} is a file, and {quote(source.shown, 200)} is a directory"
        raise ReconcilerError(message, code="cp", hint="name a directory")
    if path.endswith("/"):
        raise ReconcilerError(f"{shown} is not a directory", code="cp", hint="leave the last slash out")
    above, name = split(_real(target, path))
    return os.fsdecode(above), name


def _no_folder(shown: str) -> ReconcilerError:
    return ReconcilerError(f"no such directory: {shown}", code="cp", hint="make it, or correct the path")


def _failure(error: OSError, source: str, target: str) -> ReconcilerError:
    where = quote(os.fsdecode(error.filename), 200) if error.filename else quote(source, 200)
    if error.errno == errno.EROFS:
        return ReconcilerError(
            f"can't write to {target}: that file system is mounted read-only",
            code="read-only",
            hint="the container's `read_only`, or `:ro` of a mount, says so",
        )
    if error.errno == errno.EPERM and error.strerror == "it is a device":
        return ReconcilerError(
            f"{where} is a device, which is not copied out of a container like a file",
            code="cp",
            hint="-a copies devices, owners and set-user-id bits as they are: only where you trust the source",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ReconcilerError(f"can't write to {target}: the disk is full", code="disk-full", hint="make room")
    if error.errno in (errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
        message = f"{where} is a directory on one side and a file on the other"
        return ReconcilerError(message, code="cp", hint="remove it at the target, or choose another target")
    return ReconcilerError(f"can't copy {where} to {target}: {error.strerror}", code="cp")


# --- tar archives ---------------------------------------------------------------------------------------------------


def _unpack(lifecycle: Lifecycle, root: Rooted, name: str, path: str) -> int:
    """A tar on standard input, compressed or not, into a folder of the container, which must be there."""
    try:
        folder = root.subroot(path)
    except OSError as error:
        raise ReconcilerError(f"no such directory: {name}:{path}", code="cp", hint="make it first") from error
    what, limits = "the archive on standard input", streams.Limits()
    with folder, contextlib.ExitStack() as opened:
        spool = _temporary(lifecycle, opened)
        while piece := os.read(0, 1 << 20):
            files.write_all(spool, piece)
        span = streams.Span.whole(spool)
        if kind := streams.compression(span):
            span = streams.expand(span, kind, _temporary(lifecycle, opened), limits, what).span
        try:
            return unpack(span, folder, limits, what, live=True).size
        except OSError as error:
            raise _failure(error, what, f"{name}:{path}") from error


def _temporary(lifecycle: Lifecycle, opened: contextlib.ExitStack) -> int:
    """An unnamed file under ROOT: gone when it is closed, also by a SIGKILL."""
    fd = files.open_for_writing(lifecycle.paths.root, os.O_RDWR | os.O_TMPFILE)
    opened.callback(os.close, fd)
    return fd


def _pack(source: _Source) -> int:
    """The source as a tar on standard output; returns the bytes of all files."""
    import tarfile  # noqa: PLC0415 - for this form only

    size = 0
    with (
        open(1, "wb", closefd=False) as output,
        tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        links: dict[tuple[int, int], str] = {}
        for path, shown in _walk(source):
            with contextlib.ExitStack() as opened:
                fd = source.root.open(path, _WHO)
                opened.callback(os.close, fd)
                facts = os.fstat(fd)
                member = _member(tar, shown, facts, fd)
                if member is None:
                    continue  # a socket: tar has none
                first = links.setdefault((facts.st_dev, facts.st_ino), shown)
                if first != shown and facts.st_nlink > 1 and not member.isdir():
                    member.type, member.linkname, member.size = tarfile.LNKTYPE, first, 0
                if not member.isreg():
                    tar.addfile(member)
                    continue
                size += member.size
                file = opened.enter_context(open(source.root.open_file(path, os.O_RDONLY | os.O_NOFOLLOW), "rb"))
                tar.addfile(member, file)
    return size


def _member(tar: tarfile.TarFile, name: str, facts: os.stat_result, fd: int) -> tarfile.TarInfo | None:
    import tarfile  # noqa: PLC0415

    kinds = {
        stat.S_IFREG: tarfile.REGTYPE,
        stat.S_IFDIR: tarfile.DIRTYPE,
        stat.S_IFLNK: tarfile.SYMTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
        stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
    }
    kind = kinds.get(stat.S_IFMT(facts.st_mode))
    if kind is None:
        return None
    member = tar.tarinfo(name)
    member.type, member.mode = kind, stat.S_IMODE(facts.st_mode)
    member.uid, member.gid, member.mtime = facts.st_uid, facts.st_gid, facts.st_mtime
    if kind == tarfile.REGTYPE:
        member.size = facts.st_size
    elif kind == tarfile.SYMTYPE:
        member.linkname = os.readlink("", dir_fd=fd)
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        member.devmajor, member.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    return member


def _walk(source: _Source) -> Iterator[tuple[str, str]]:
    """(path inside, name in the archive) of the source and all below it, parents first."""
    start = "." if source.contents else source.name
    todo = [(source.path, start)]
    while todo:
        path, shown = todo.pop()
        yield path, shown
        try:
            fd = source.root.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if shown == start else os.O_NOFOLLOW))
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENOENT):
                continue
            raise
        try:
            names = sorted(os.listdir(fd), reverse=True)
        finally:
            os.close(fd)
        todo += [(os.path.join(path, each), os.path.join(shown, each)) for each in names]
