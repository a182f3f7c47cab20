"""A layer's tar becomes a folder: the form that overlayfs wants, contained whatever the names and links say.

Every member is applied below one folder by `kernel.rooted`; content goes from file to file inside the kernel.
A later member wins over an earlier one of the same name. Source: OCI image-spec, layer.md; overlayfs.rst (whiteouts).
Only this room may import it.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

from reconciler.engine.images import tars, tarsplit
from reconciler.engine.images.configuration import bad_image
from reconciler.engine.images.streams import unhindered
from reconciler.engine.kernel import copying, files, rooted
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import quote
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.engine.images.streams import Limits, Span
    from reconciler.engine.kernel.rooted import Rooted

_WHITEOUT = b".wh."
_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_XATTR = "SCHILY.xattr."

_SPECIAL = {tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK}
_MOST_ID = 2**32 - 2
_CHUNK = 64 << 20
"""Bytes of one file between two looks at whether to go on."""

# What an archive's names, links and numbers cause, as against a disk that is full or fails.
_CONTENT_FAULTS = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP,
    errno.EINVAL, errno.EPERM, errno.EOVERFLOW, errno.EFBIG, errno.EILSEQ, errno.EMLINK, errno.ERANGE, errno.E2BIG,
})  # fmt: skip


class Unpacked(Frozen):
    """What came out: bytes of all files, and the folders that the tar does not name but needed.

    Such a folder hides the one of a lower layer, so it must look like it: see `layers`.
    """

    size: int
    unnamed: tuple[str, ...]


def unpack(
    span: Span,
    root: Rooted,
    limits: Limits,
    what: str,
    *,
    live: bool = False,
    record: int | None = None,
    check: Callable[[], None] = unhindered,
) -> Unpacked:
    """Apply a plain tar to a folder. On an error it is left half-made, for the caller to remove.

    With `live` the folder is one in use, as `cp` means it: no name is a whiteout, a folder never takes the place of what is
    none or the other way round, and what is mounted there stays. The empty file `record` gets what it takes to write a
    layer's tar again: see `tarsplit`. `check` is called at every member, and ends it by raising.
    Raises `ReconcilerError` with code "bad-image" that names `what`; OSError where the disk fails.
    """
    worker = _Unpacker(span, root, limits, what, live, check)
    try:
        recorder = None if record is None else tarsplit.Recorder(span, record)
        for member in _each(tars.members(span, what, limits.entries), check):
            path = worker.apply(member)
            if recorder and path:
                recorder.content(path, member)
        unpacked = worker.finish()
        if recorder and not worker.removed:
            recorder.finish()
        elif record is not None:
            os.lseek(record, 0, os.SEEK_SET)
            files.truncate(record, 0)
            again = _each(tars.members(span, what, limits.entries), check)
            tarsplit.record_by_comparing(span, root, record, again, worker.clean)
        return unpacked
    except EOFError:
        raise bad_image(what, "the file was cut while it was read") from None
    finally:
        worker.close()


def _each(members: Iterator[tarfile.TarInfo], check: Callable[[], None]) -> Iterator[tarfile.TarInfo]:
    for member in members:
        check()
        yield member


class _Unpacker:
    def __init__(
        self, span: Span, root: Rooted, limits: Limits, what: str, live: bool, check: Callable[[], None]
    ) -> None:
        self._span = span
        self._root = root
        self._limits = limits
        self._what = what
        self._live = live
        self._check = check
        self._size = 0
        self._times: dict[bytes, int] = {}
        self._unnamed: dict[bytes, None] = {}
        # Members mostly come folder by folder: the last parent stays open.
        self._parent: bytes | None = None
        self._parent_fd = -1
        self.removed = False
        """Whether something that the tar had brought had to go for something later in it."""

    def close(self) -> None:
        self._forget_parent()

    def apply(self, member: tarfile.TarInfo) -> bytes:
        """One member: a whiteout, or an entry with content and attributes. Returns where its content is, b"" for none."""
        path = self.clean(member.name)
        if not path:
            self._apply_root(member)
            return b""
        folder, _, name = path.rpartition(b"/")
        marks = [part for part in path.split(b"/") if part.startswith(_WHITEOUT) and not self._live]
        if any(part.startswith(_META) and part != _OPAQUE for part in marks):
            return b""  # bookkeeping of aufs
        try:
            if not marks:
                self._add(member, path, folder, name)
                return path if member.isreg() else b""
            if marks == [name]:
                self._white_out(folder, name)
            else:
                raise bad_image(self._what, f"{quote(member.name[:200])} lies below a whiteout")
        except OSError as error:
            if error.errno not in _CONTENT_FAULTS:
                raise
            raise bad_image(
                self._what, f"{quote(member.name[:200])} can't be unpacked: {os.strerror(error.errno or 0)}"
            ) from error
        return b""

    def finish(self) -> Unpacked:
        """Folders get their times when nothing in them changes any more."""
        self._forget_parent()
        for path, modified in self._times.items():
            try:
                fd = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # something else took its place later in the archive
            try:
                rooted.utime_fd(fd, modified, modified)
            finally:
                os.close(fd)
        return Unpacked(self._size, tuple(os.fsdecode(path) for path in self._unnamed))

    def _apply_root(self, member: tarfile.TarInfo) -> None:
        if not member.isdir():
            raise bad_image(self._what, f"{quote(member.name[:200])} would replace the root folder")
        fd = self._root.open(b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._set_attributes(fd, member)
        finally:
            os.close(fd)
        self._times[b"."] = tars.modified(member)

    def _add(self, member: tarfile.TarInfo, path: bytes, folder: bytes, name: bytes) -> None:
        parent = self._open_parent(folder)
        if member.isdir():
            self._add_folder(member, path, parent, name)
        elif member.isreg():
            self._add_file(member, parent, name)
        elif member.islnk():
            self._add_link(member, parent, name)
        elif member.issym():
            target = self._encoded(member.linkname)
            self._replacing(parent, name, lambda: rooted.symlink_at(target, parent, name))
            self._set_attributes_at(parent, name, member)
        elif member.type in _SPECIAL:
            kind = _SPECIAL[member.type] | 0o600
            device = os.makedev(member.devmajor, member.devminor) if member.type != tarfile.FIFOTYPE else 0
            self._replacing(parent, name, lambda: rooted.mknod_at(parent, name, kind, device))
            self._set_attributes_at(parent, name, member)
        else:
            raise bad_image(self._what, f"{quote(member.name[:200])} is of a type ({member.type!r}) that no layer has")

    def _add_folder(self, member: tarfile.TarInfo, path: bytes, parent: int, name: bytes) -> None:
        try:
            rooted.mkdir_at(parent, name, 0o700)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                if self._live:
                    shown = quote(member.name[:200])
                    raise bad_image(self._what, f"{shown} is a directory in the archive, and none there") from None
                self._remove(parent, name)
                rooted.mkdir_at(parent, name, 0o700)
                if _is_whiteout(found):
                    self._make_opaque(parent, name)
        fd = _open_folder(parent, name)
        try:
            self._set_attributes(fd, member)
        finally:
            os.close(fd)
        self._times[path] = tars.modified(member)
        self._unnamed.pop(path, None)

    def _add_file(self, member: tarfile.TarInfo, parent: int, name: bytes) -> None:
        pieces = tars.pieces(member)
        self._size += sum(size for _, size in pieces)
        if self._size > self._limits.bytes:
            raise bad_image(self._what, f"unpacks to more than {human_size(self._limits.bytes)}")
        fd = self._open_new(parent, name)
        try:
            source = self._span.offset + member.offset_data
            for offset, size in pieces:
                if member.sparse is not None:
                    os.lseek(fd, offset, os.SEEK_SET)
                for done in range(0, size, _CHUNK):
                    self._check()
                    copying.send_all(fd, self._span.fd, source + done, min(_CHUNK, size - done))
                source += size
            if member.sparse is not None:
                files.truncate(fd, member.size)
            self._set_attributes(fd, member)
            modified = tars.modified(member)
            rooted.utime_fd(fd, modified, modified)
        finally:
            os.close(fd)

    def _open_new(self, parent: int, name: bytes) -> int:
        there = _stat_at(parent, name) if self._live else None
        if there and stat.S_ISREG(there.st_mode) and rooted.is_mount_at(parent, name):
            fd = rooted.reopen_at(parent, name, os.O_WRONLY)
            files.truncate(fd, 0)
            return fd
        made: int = self._replacing(parent, name, lambda: rooted.create_at(parent, name))
        return made

    def _add_link(self, member: tarfile.TarInfo, parent: int, name: bytes) -> None:
        target = self.clean(member.linkname, escapes=False)
        folder, _, other = target.rpartition(b"/")
        try:
            if not other:
                raise FileNotFoundError
            source = self._root.open(folder, os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise self._dangling(member) from None
        try:
            try:
                facts = os.stat(other, dir_fd=source, follow_symlinks=False)
            except FileNotFoundError:
                raise self._dangling(member) from None
            if stat.S_ISDIR(facts.st_mode):
                raise bad_image(self._what, f"{quote(member.name[:200])} is a hard link to a folder")
            existing = _stat_at(parent, name)
            if existing and os.path.samestat(existing, facts):
                return
            self._replacing(parent, name, lambda: rooted.link_at(source, other, parent, name))
        finally:
            os.close(source)

    def _white_out(self, folder: bytes, name: bytes) -> None:
        parent = self._open_parent(folder)
        if name == _OPAQUE:
            rooted.setxattr_at(parent, b".", "trusted.overlay.opaque", b"y")
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise bad_image(self._what, f"{quote(os.fsdecode(name))} hides nothing that has a name")
        try:
            rooted.mknod_at(parent, hidden, stat.S_IFCHR, 0)
        except FileExistsError:
            # It hides what lower layers have, not what this one brings: only a folder would be merged with theirs.
            found = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._make_opaque(parent, hidden)

    def _replacing(self, parent: int, name: bytes, make: Callable[[], Any]) -> Any:
        """Call `make`; where something of that name is, remove it and call it again."""
        try:
            return make()
        except FileExistsError:
            self._remove(parent, name)
            return make()

    def _remove(self, parent: int, name: bytes) -> None:
        self.removed = True
        self._parent = None  # a name led here through what goes now, perhaps
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if self._live:
            self._remove_live(parent, name, is_folder=stat.S_ISDIR(facts.st_mode))
        elif stat.S_ISDIR(facts.st_mode):
            files.remove_tree(os.fsdecode(b"/proc/self/fd/%d/%s" % (parent, name)))
        else:
            rooted.unlink_at(parent, name)

    def _remove_live(self, parent: int, name: bytes, *, is_folder: bool) -> None:
        shown = quote(os.fsdecode(name)[:200])
        if is_folder:
            raise bad_image(self._what, f"{shown} is a directory there, and none in the archive")
        if rooted.is_mount_at(parent, name):
            raise bad_image(self._what, f"something is mounted at {shown} there")
        rooted.unlink_at(parent, name)

    def _make_opaque(self, parent: int, name: bytes) -> None:
        rooted.setxattr_at(parent, name, "trusted.overlay.opaque", b"y")

    def _open_parent(self, folder: bytes) -> int:
        if self._parent == folder:
            return self._parent_fd
        self._forget_parent()
        try:
            fd = self._root.open(folder, os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            fd = self._make_parent(folder)
        self._parent, self._parent_fd = folder, fd
        return fd

    def _forget_parent(self) -> None:
        self._parent = None
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
            self._parent_fd = -1

    def _make_parent(self, folder: bytes) -> int:
        """Folders that the tar does not name (or not yet); one that it has whited out comes back empty."""
        parts = folder.split(b"/")
        for count in range(1, len(parts) + 1):
            path = b"/".join(parts[:count])
            try:
                os.close(self._root.open(path, os.O_PATH | os.O_DIRECTORY))
                continue
            except FileNotFoundError:
                pass
            except NotADirectoryError:
                with self._root.parent(path) as (above, name):
                    if not _is_whiteout(os.stat(name, dir_fd=above, follow_symlinks=False)):
                        raise
                    rooted.unlink_at(above, name)
                    rooted.make_folder_at(above, name, 0o755, 0, 0)
                    self._make_opaque(above, name)
                    continue
            made = os.fsencode(self._root.makedirs(path)).strip(b"/").split(b"/")
            for depth in range(1, len(made) + 1):
                unnamed = b"/".join(made[:depth])
                if unnamed not in self._times:
                    self._unnamed[unnamed] = None
        return self._root.open(folder, os.O_PATH | os.O_DIRECTORY)

    def _set_attributes(self, fd: int, member: tarfile.TarInfo) -> None:
        # In this order: chown takes set-user-id bits and capabilities away.
        files.chown(fd, *self._owner(member))
        files.chmod(fd, member.mode & 0o7777)
        for key, value in self._xattrs(member):
            copying.ignoring_unsupported(rooted.setxattr_fd, fd, key, value)

    def _set_attributes_at(self, parent: int, name: bytes, member: tarfile.TarInfo) -> None:
        rooted.chown_at(parent, name, *self._owner(member))
        if not member.issym():
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                rooted.chmod_fd(fd, member.mode & 0o7777)
            finally:
                os.close(fd)
        for key, value in self._xattrs(member):
            if not key.startswith("user."):  # the kernel has those for files and folders only
                copying.ignoring_unsupported(rooted.setxattr_at, parent, name, key, value)
        modified = tars.modified(member)
        rooted.utime_at(parent, name, modified, modified)

    def _owner(self, member: tarfile.TarInfo) -> tuple[int, int]:
        if not (0 <= member.uid <= _MOST_ID and 0 <= member.gid <= _MOST_ID):
            raise bad_image(self._what, f"{quote(member.name[:200])} has an impossible owner {member.uid}:{member.gid}")
        return member.uid, member.gid

    def _xattrs(self, member: tarfile.TarInfo) -> list[tuple[str, bytes]]:
        found = []
        for header, value in member.pax_headers.items():
            key = header.removeprefix(_XATTR)
            if key == header or key.startswith(copying.UNCOPIED_XATTRS):
                continue
            if "\0" in key:
                raise bad_image(self._what, f"{quote(member.name[:200])} has an attribute whose name holds a NUL byte")
            found.append((key, value.encode("utf-8", "surrogateescape")))
        return found

    def clean(self, name: str, *, escapes: bool = True) -> bytes:
        """A member's name as a path inside, b"" for the folder itself. Names are bytes, whatever the locale is."""
        path = self._encoded(name)
        parts: list[bytes] = []
        for part in path.split(b"/"):
            if part == b"..":
                if not parts and not escapes:
                    raise bad_image(self._what, f"a hard link leads outside: {quote(name[:200])}")
                parts = parts[:-1]
            elif part not in (b"", b"."):
                parts.append(part)
        if len(parts) > self._limits.depth:
            raise bad_image(self._what, f"{quote(name[:200])} lies more than {self._limits.depth} folders deep")
        return b"/".join(parts)

    def _encoded(self, name: str) -> bytes:
        path = name.encode("utf-8", "surrogateescape")
        if b"\0" in path:
            raise bad_image(self._what, f"{quote(name[:200])} holds a NUL byte")
        return path

    def _dangling(self, member: tarfile.TarInfo) -> Exception:
        return bad_image(
            self._what,
            f"{quote(member.name[:200])} is a hard link to {quote(member.linkname[:200])}, which is not in it",
        )


def _is_whiteout(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0


def _stat_at(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _open_folder(parent: int, name: bytes) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
