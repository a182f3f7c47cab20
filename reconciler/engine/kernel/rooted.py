"""Paths inside an image, a container or a volume: resolved by the kernel as if their folder were the root.

Whoever wrote the content may have put any link anywhere, and a running container may swap one at any moment. So no
path is ever joined: `openat2(2)` with RESOLVE_IN_ROOT opens the parent folder (absolute links and `..` stay inside,
/proc's magic links lead nowhere), and one *at call on that descriptor changes the last component, which it never follows.

Not for paths of our own (`kernel.files`). Only the engine may import it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

from reconciler.engine.kernel import files
from reconciler.engine.kernel.effects import effect
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    AnyPath = str | bytes

# linux/openat2.h; the number is the same on every architecture.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_HOW = struct.Struct("=QQQ")

_MOST_LINKS = 40  # as the kernel's own MAXSYMLINKS
_MOST_RETRIES = 1000  # EAGAIN: somebody renames folders while `..` is resolved

_openat2_call: Any = None


def _load_openat2() -> Any:
    """The system call by ctypes, imported on first use: it costs some milliseconds that not every verb needs."""
    global _openat2_call  # noqa: PLW0603 - loaded once
    if _openat2_call is None:
        import ctypes  # noqa: PLC0415

        call = ctypes.CDLL(None, use_errno=True).syscall
        call.restype = ctypes.c_long
        call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)

        def openat2(folder: int, path: bytes, how: bytes) -> int:
            fd: int = call(_SYS_OPENAT2, folder, path, how, len(how))
            return fd if fd >= 0 else -ctypes.get_errno()

        _openat2_call = openat2
    return _openat2_call


def _openat2(folder: int, path: AnyPath, flags: int, mode: int = 0) -> int:
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("a path holds a NUL byte")
    how = _HOW.pack(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    call = _openat2_call or _load_openat2()
    for _ in range(_MOST_RETRIES):
        result: int = call(folder, name or b".", how)
        if result >= 0:
            return result
        if -result not in (errno.EAGAIN, errno.EINTR):
            break
    if -result == errno.ENOSYS:
        raise ReconcilerError(
            "this kernel has no openat2(2), which keeps paths of an image inside it",
            code="kernel",
            hint="Linux 5.6 or newer is needed; inside a container its seccomp profile must allow openat2",
        )
    raise OSError(-result, os.strerror(-result), os.fsdecode(name))


# The effects: one system call each. `folder` is a descriptor, `name` one component, which is never followed.


@effect
def create(folder: int, path: AnyPath, flags: int, mode: int) -> int:
    """openat2(2) with O_CREAT or O_TRUNC below `folder`; returns the descriptor. `mode` is subject to the umask."""
    return _openat2(folder, path, flags, mode if flags & os.O_CREAT else 0)


@effect
def create_at(folder: int, name: AnyPath, mode: int = 0o600) -> int:
    """openat(2) of a new file for writing."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)


@effect
def mkdir_at(folder: int, name: AnyPath, mode: int = 0o755) -> None:
    """mkdirat(2); `mode` is subject to the umask."""
    os.mkdir(name, mode, dir_fd=folder)


@effect
def mknod_at(folder: int, name: AnyPath, mode: int, device: int = 0) -> None:
    """mknodat(2): a device, fifo or socket; `mode` has the type and is subject to the umask."""
    os.mknod(name, mode, device, dir_fd=folder)


@effect
def symlink_at(target: AnyPath, folder: int, name: AnyPath) -> None:
    """symlinkat(2)."""
    os.symlink(target, name, dir_fd=folder)


@effect
def link_at(source_folder: int, source: AnyPath, folder: int, name: AnyPath) -> None:
    """linkat(2), of a link itself where `source` is one."""
    os.link(source, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)


@effect
def unlink_at(folder: int, name: AnyPath) -> None:
    """unlinkat(2)."""
    os.unlink(name, dir_fd=folder)


@effect
def chown_at(folder: int, name: AnyPath, uid: int, gid: int) -> None:
    """fchownat(2). Takes set-user-id bits and file capabilities away: chmod and set the xattrs afterwards."""
    os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


@effect
def chmod_fd(fd: int, mode: int) -> None:
    """chmod(2) of what `fd` names; a descriptor opened with O_PATH will do."""
    os.chmod(f"/proc/self/fd/{fd}", mode)


@effect
def utime_at(folder: int, name: AnyPath, accessed: int, modified: int) -> None:
    """utimensat(2); nanoseconds since the epoch."""
    os.utime(name, ns=(accessed, modified), dir_fd=folder, follow_symlinks=False)


@effect
def utime_fd(fd: int, accessed: int, modified: int) -> None:
    """futimens(3); nanoseconds since the epoch."""
    os.utime(fd, ns=(accessed, modified))


@effect
def setxattr_at(folder: int, name: AnyPath, key: AnyPath, value: bytes) -> None:
    """lsetxattr(2)."""
    os.setxattr(_through(folder, name), key, value, follow_symlinks=False)


@effect
def setxattr_fd(fd: int, key: AnyPath, value: bytes) -> None:
    """fsetxattr(2)."""
    os.setxattr(fd, key, value)


def xattrs_at(folder: int, name: AnyPath) -> dict[str, bytes]:
    """All extended attributes of something, without following it; none where the file system has none."""
    return xattrs(_through(folder, name))


def xattrs(place: int | bytes) -> dict[str, bytes]:
    """The same of a descriptor or of a path of our own."""
    follow = isinstance(place, int)
    try:
        keys = os.listxattr(place, follow_symlinks=follow)
        return {key: os.getxattr(place, key, follow_symlinks=follow) for key in keys}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA):
            return {}
        raise


def _through(folder: int, name: AnyPath) -> bytes:
    # There is no lsetxattrat: the descriptor's own magic link, then one component that is not followed.
    return b"/proc/self/fd/%d/%s" % (folder, os.fsencode(name))


def open_root(path: str | os.PathLike[str]) -> Rooted:
    """The folder `path` (of our own, absolute) as a root. Close it, or use it in a `with`."""
    return Rooted(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


class Rooted:
    """A folder inside of which paths are resolved. Every path is taken as absolute inside: `x`, `/x` and `../x` are one.

    Errors are OSError as the system call gives them. Safe to use from several threads.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        """Take over `fd`, a folder's descriptor; O_PATH will do."""
        self.fd = fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def open(self, path: AnyPath, flags: int = os.O_PATH) -> int:
        """Open what is there and return the descriptor; links are followed inside unless `flags` has O_NOFOLLOW.

        Not for changing content (`open_file`). Beware of opening fifos and devices for real: O_PATH does not.
        """
        return _openat2(self.fd, path, flags)

    def subroot(self, path: AnyPath) -> Rooted:
        """A folder inside as a root of its own."""
        return Rooted(self.open(path, os.O_PATH | os.O_DIRECTORY))

    @contextlib.contextmanager
    def parent(self, path: AnyPath) -> Iterator[tuple[int, bytes]]:
        """The folder that `path` is in, resolved, and the last component, which the caller must not follow."""
        folder, name = split(path)
        fd = self.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def stat(self, path: AnyPath, *, follow: bool = True) -> os.stat_result:
        """stat(2), or lstat(2) without `follow`."""
        fd = self.open(path, os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def readlink(self, path: AnyPath) -> str:
        """Where a link points, as written."""
        fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.readlink("", dir_fd=fd)
        finally:
            os.close(fd)

    def open_file(self, path: AnyPath, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
        """Open a regular file and return the descriptor. With O_CREAT it is made, subject to the umask.

        Anything else that is there (a fifo would block, a device may act on being opened) is refused: OSError EINVAL,
        or IsADirectoryError.
        """
        try:
            found = self.open(path, os.O_PATH)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            return create(self.fd, path, flags | os.O_EXCL if flags & os.O_NOFOLLOW else flags, mode)
        try:
            kind = os.fstat(found).st_mode
            if stat.S_ISDIR(kind):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))
            if not stat.S_ISREG(kind):
                raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
            return _reopen(found, flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW))
        finally:
            os.close(found)

    def read_file(self, path: AnyPath, limit: int = 1 << 20) -> bytes:
        """All of a regular file; OSError EFBIG when it is longer than `limit` bytes."""
        fd = self.open_file(path)
        with os.fdopen(fd, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fsdecode(path))
        return data

    def makedirs(self, path: AnyPath, mode: int = 0o755, uid: int = 0, gid: int = 0) -> str:
        """Make a folder and what is missing above it; returns where it really is, links resolved.

        Folders that exist stay as they are. A link to something missing is followed inside, and the missing is made.
        Raises NotADirectoryError where something else is in the way.
        """
        return os.fsdecode(b"/" + b"/".join(self._walk(path, mode, uid, gid)))

    def ensure_file(self, path: AnyPath, mode: int = 0o644) -> str:
        """Make an empty file, with folders above it, where nothing is; returns where it really is, links resolved.

        Raises IsADirectoryError where a folder is; other things (a device, a socket) may stay.
        """
        folder, name = split(path)
        for _ in range(_MOST_LINKS):
            above = self._walk(folder, 0o755, 0, 0)
            inside = self.open(b"/".join(above), os.O_PATH | os.O_DIRECTORY)
            try:
                try:
                    os.close(create_at(inside, name, mode))
                except FileExistsError:
                    kind = os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode
                    if stat.S_ISLNK(kind):
                        target = os.readlink(name, dir_fd=inside)
                        folder, name = split(target if target.startswith(b"/") else b"/".join([*above, target]))
                        continue
                    if stat.S_ISDIR(kind):
                        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path)) from None
            finally:
                os.close(inside)
            return os.fsdecode(b"/" + b"/".join([*above, name]))
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))

    def _walk(self, path: AnyPath, mode: int, uid: int, gid: int) -> list[bytes]:
        """Resolve `path` component by component, make folders where nothing is; returns the resolved components.

        Each step starts at the root again, so a link that is swapped meanwhile may lead elsewhere, but never outside.
        """
        done: list[bytes] = []
        todo = [part for part in reversed(os.fsencode(path).split(b"/")) if part not in (b"", b".")]
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                done = done[:-1]
                continue
            inside = self.open(b"/".join(done), os.O_PATH | os.O_DIRECTORY)
            try:
                kind = _kind_at(inside, part)
                if stat.S_ISLNK(kind):
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
                    target = os.readlink(part, dir_fd=inside)
                    if target.startswith(b"/"):
                        done = []
                    todo += [piece for piece in reversed(target.split(b"/")) if piece not in (b"", b".")]
                    continue
                if not kind:
                    make_folder_at(inside, part, mode, uid, gid)
                elif not stat.S_ISDIR(kind):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))
                done.append(part)
            finally:
                os.close(inside)
        return done


def make_folder_at(folder: int, name: AnyPath, mode: int, uid: int, gid: int) -> None:
    """A new folder with exactly that owner and mode; one that somebody else has just made stays as it is."""
    try:
        mkdir_at(folder, name, mode & 0o777)
    except FileExistsError:
        return
    if (uid, gid) != (os.geteuid(), os.getegid()):
        chown_at(folder, name, uid, gid)
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            chmod_fd(fd, mode)
    finally:
        os.close(fd)


def _kind_at(folder: int, name: bytes) -> int:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _reopen(found: int, flags: int) -> int:
    path = f"/proc/self/fd/{found}"
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
        return _open_for_change(path, flags)
    return os.open(path, flags | os.O_CLOEXEC)


@effect
def _open_for_change(path: str, flags: int) -> int:
    """open(2) of something that exists, to change it."""
    return os.open(path, flags | os.O_CLOEXEC)


def is_mount_at(folder: int, name: AnyPath) -> bool:
    """Whether something is mounted at `name` in the namespace that `folder` is of; False where nothing is."""
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        return files.mount_id(found) != files.mount_id(folder)
    finally:
        os.close(found)


def reopen_at(folder: int, name: AnyPath, flags: int) -> int:
    """Open a regular file that exists; a link is not followed, anything else is OSError EINVAL and is not opened."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(name))
        return _reopen(found, flags)
    finally:
        os.close(found)


def split(path: AnyPath) -> tuple[bytes, bytes]:
    """(folder, last component). OSError EINVAL where the last component names no entry of a folder: "", "." or ".."."""
    folder, _, name = os.fsencode(path).rstrip(b"/").rpartition(b"/")
    if name in (b"", b".", b".."):
        raise OSError(errno.EINVAL, "the path names no entry of a folder", os.fsdecode(path))
    return folder, name


def lookup_executable(root: Rooted, search: str, name: str, working_dir: str = "/") -> str | None:
    """Where `execvp` inside the root would find `name`: a path inside, None when nothing is there.

    `search` is the container's PATH. A name with a slash is not searched for; a relative one starts at `working_dir`.
    Raises PermissionError when all that was found is a folder or lacks every x bit.
    """
    if not name:
        return None
    if "/" in name:
        candidates = [name if name.startswith("/") else f"{working_dir}/{name}"]
    else:
        candidates = [f"{folder or working_dir}/{name}" for folder in search.split(":")]
    denied = False
    for candidate in candidates:
        try:
            mode = root.stat(candidate).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES):
                raise
            denied = denied or error.errno == errno.EACCES
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return candidate
        denied = denied or "/" in name or stat.S_ISREG(mode)
    if denied:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    return None
