"""Files and folders: the single system calls as effects, and the few composites that everybody needs.

For paths of our own (under the roots) and the machine's (/proc, /etc) only. Paths inside an image, container or volume
go through `kernel.rooted`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
import time
from typing import TYPE_CHECKING

from reconciler.engine.kernel.effects import effect

if TYPE_CHECKING:
    from collections.abc import Iterator

    StrPath = str | os.PathLike[str]


@effect
def mkdir(path: StrPath, mode: int = 0o700, *, dir_fd: int | None = None) -> None:
    """mkdir(2)."""
    os.mkdir(path, mode, dir_fd=dir_fd)


@effect
def rmdir(path: StrPath, *, dir_fd: int | None = None) -> None:
    """rmdir(2)."""
    os.rmdir(path, dir_fd=dir_fd)


@effect
def unlink(path: StrPath, *, dir_fd: int | None = None) -> None:
    """unlink(2)."""
    os.unlink(path, dir_fd=dir_fd)


@effect
def rename(old: StrPath, new: StrPath) -> None:
    """rename(2)."""
    os.rename(old, new)


@effect
def link(old: StrPath, new: StrPath) -> None:
    """link(2); never follows a symbolic link."""
    os.link(old, new, follow_symlinks=False)


@effect
def symlink(target: str, path: StrPath) -> None:
    """symlink(2)."""
    os.symlink(target, path)


@effect
def create(path: StrPath, mode: int = 0o600, flags: int = os.O_EXCL) -> int:
    """open(2) for writing with O_CREAT; returns the descriptor. `flags` are added (default O_EXCL)."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, mode)


@effect
def open_for_writing(path: StrPath, flags: int = os.O_WRONLY) -> int:
    """open(2) of something that exists, to change it; returns the descriptor."""
    return os.open(path, flags | os.O_CLOEXEC)


@effect
def write(fd: int, data: bytes | memoryview) -> int:
    """write(2); returns how much was written."""
    return os.write(fd, data)


@effect
def pwrite(fd: int, data: bytes, offset: int) -> int:
    """pwrite(2); returns how much was written."""
    return os.pwrite(fd, data, offset)


@effect
def truncate(fd: int, size: int) -> None:
    """ftruncate(2)."""
    os.ftruncate(fd, size)


@effect
def allocate(fd: int, size: int) -> None:
    """posix_fallocate(3): have `size` bytes of disk space behind the file."""
    os.posix_fallocate(fd, 0, size)


@effect
def fsync(fd: int) -> None:
    """fsync(2): what was written through `fd` is on the disk."""
    os.fsync(fd)


@effect
def chmod(path: StrPath | int, mode: int) -> None:
    """chmod(2), or fchmod(2) for a descriptor."""
    os.chmod(path, mode)


@effect
def chown(path: StrPath | int, uid: int, gid: int) -> None:
    """lchown(2), or fchown(2) for a descriptor."""
    if isinstance(path, int):
        os.fchown(path, uid, gid)
    else:
        os.lchown(path, uid, gid)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[write(fd, view) :]


def make_folders(path: StrPath, mode: int = 0o700) -> None:
    """Make `path` and what is missing above it; one that exists is left as it is.

    Raises NotADirectoryError where something else is in the way.
    """
    name = os.fspath(path)
    try:
        mkdir(name, mode)
    except FileExistsError:
        if not os.path.isdir(name):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
    except FileNotFoundError:
        make_folders(os.path.dirname(name), mode)
        with contextlib.suppress(FileExistsError):
            mkdir(name, mode)


_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_FS_TOPDIR_FL = 0x00020000


@effect
def spread_folders(path: StrPath) -> None:
    """FS_IOC_SETFLAGS: what is made in the folders of this one has nothing to do with each other (chattr(1), `+T`).

    ext4 gives each of them another part of the disk. In one part that files were removed from a moment ago it looks at
    all of them for each new file, which takes a hundred times as long. Other file systems know no such thing.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = int.from_bytes(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(4)), sys.byteorder)
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, (flags | _FS_TOPDIR_FL).to_bytes(4, sys.byteorder))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES):
            raise
    finally:
        os.close(fd)


def sync_folder(path: StrPath) -> None:
    """Make renames, creations and removals in the folder survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(fd)
    finally:
        os.close(fd)


def write_file(path: StrPath, data: bytes, mode: int = 0o600) -> None:
    """Write a file that only this process reads or that a record is written for afterwards: no rename, no fsync."""
    fd = create(path, mode, os.O_TRUNC)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def replace_file(path: StrPath, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write a file so that a reader, also after a crash, sees the old content or the new, never a mixture.

    The new content lies beside it as `.NAME.new` meanwhile; one that a killed run left is overwritten. Several writers
    take turns. With `durable` file and folder are synced before it returns.
    """
    folder, name = os.path.split(os.fspath(path))
    aside = os.path.join(folder, f".{name}.new")
    fd = _own_turn(aside, mode)
    try:
        write_all(fd, data)
        if durable:
            fsync(fd)
        rename(aside, path)
    finally:
        os.close(fd)
    if durable:
        sync_folder(folder)


def _own_turn(path: str, mode: int) -> int:
    """A new or emptied file that nobody else writes to until the descriptor is closed or the file is renamed."""
    while True:
        fd = create(path, mode, 0)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            ours = os.fstat(fd)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == ours.st_ino:
                    if ours.st_size:
                        truncate(fd, 0)
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its writer has renamed it while we waited


def remove_file(path: StrPath) -> bool:
    """Unlink `path` if it is there; returns whether it was."""
    try:
        unlink(path)
    except FileNotFoundError:
        return False
    return True


def names_in(folder: StrPath) -> list[str]:
    """What is in a folder; nothing where there is none."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def read_text(path: StrPath) -> str:
    """A small file's text, "" where it can't be read; undecodable bytes are replaced."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def size_of_tree(path: StrPath, until: float | None = None) -> int:
    """Bytes of the regular files below a folder, each counted once however many names it has.

    Follows no link, also when somebody swaps things meanwhile. What can't be read, or lies absurdly deep, is not
    counted; nor is what is left at `until` (monotonic seconds, None = no end).
    """
    try:
        fd = os.open(path, _FOLDER)
    except OSError:
        return 0
    return _size(fd, set(), 0, until)


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 100
"""Folders below each other that are held open at once."""


def _size(folder: int, seen: set[int], depth: int, until: float | None) -> int:
    total = 0
    try:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if until is not None and time.monotonic() > until:
                    break
                with contextlib.suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(facts.st_mode) and depth < _DEEPEST:
                        total += _size(os.open(entry.name, _FOLDER, dir_fd=folder), seen, depth + 1, until)
                    elif stat.S_ISREG(facts.st_mode) and facts.st_ino not in seen:
                        total += facts.st_size
                        if facts.st_nlink > 1:
                            seen.add(facts.st_ino)
    finally:
        os.close(folder)
    return total


def remove_tree(path: StrPath) -> None:
    """Remove a folder with all that is in it; nothing there is fine. Follows no link and enters no other file system.

    Raises OSError (EBUSY) when something is mounted there or below: what lies on the mount is not touched.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if _is_mount(top):
            raise OSError(errno.EBUSY, "something is mounted here", os.fspath(path))
        while _empty(top, os.fstat(top).st_dev, top, 0):
            pass
    finally:
        os.close(top)
    with contextlib.suppress(FileNotFoundError):
        rmdir(path)


def _is_mount(folder: int) -> bool:
    """Whether a folder is the root of a mount, of the same file system as what is above it, too."""
    above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return mount_id(folder) != mount_id(above)
    finally:
        os.close(above)


def mount_id(fd: int) -> str:
    """Which mount a descriptor is on (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as facts:
        return next(line for line in facts if line.startswith("mnt_id:"))


def _empty(folder: int, device: int, top: int, depth: int) -> bool:
    """Remove what is in a folder; True when something too deep was moved up into `top` instead.

    A container can make trees deeper than we have descriptors and stack for, and must not become unremovable by it.
    """
    moved = False
    for name, is_folder in list(_entries(folder)):
        if not is_folder:
            with contextlib.suppress(FileNotFoundError):
                unlink(name, dir_fd=folder)
            continue
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            continue
        try:
            facts = os.fstat(inner)
            if facts.st_dev != device:
                raise OSError(errno.EBUSY, "something is mounted here", name)
            if depth == _DEEPEST:
                _move(folder, name, top, f".{facts.st_ino:x}.deep")
                moved = True
                continue
            moved = _empty(inner, device, top, depth + 1) or moved
        finally:
            os.close(inner)
        with contextlib.suppress(FileNotFoundError):
            rmdir(name, dir_fd=folder)
    return moved


@effect
def _move(folder: int, name: str, top: int, new_name: str) -> None:
    """renameat(2)."""
    os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=top)


def _entries(folder: int) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as found:
        for entry in found:
            yield entry.name, stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode)
