"""Copying content: file data inside the kernel, whole trees with all that makes a file, and getting it onto the disk.

For the volumes' first use (copy-up from the image), for unpacking and for `cp`. Follows no link. Only the engine may import it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files, rooted
from reconciler.engine.kernel.effects import effect
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.kernel.rooted import Rooted

_CHUNK = 1 << 30
UNCOPIED_XATTRS = ("trusted.overlay.", "user.overlay.", "security.selinux")
"""Prefixes of attributes that belong to a place, not to a file: overlayfs's bookkeeping and the host's labels."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@effect
def send(target: int, source: int, offset: int, count: int) -> int:
    """sendfile(2): from `offset` in a file to the current position of another; returns how much."""
    return os.sendfile(target, source, offset, count)


@effect
def copy_range(source: int, target: int, count: int, offset: int) -> int:
    """copy_file_range(2), the same offset in both files; shares blocks where the file system can. Returns how much."""
    return os.copy_file_range(source, target, count, offset, offset)


@effect
def sync_filesystem(folder: str) -> None:
    """syncfs(2): everything written so far to the file system that the folder is on is on the disk."""
    import ctypes  # noqa: PLC0415 - costs milliseconds that most verbs do not need

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(ctypes.c_int(fd)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(fd)


def send_all(target: int, source: int, offset: int, count: int) -> None:
    """Append `count` bytes from `offset` of `source` to where `target` stands. EOFError when there are fewer."""
    while count:
        sent = send(target, source, offset, min(count, _CHUNK))
        if not sent:
            raise EOFError("the data ends early")
        offset += sent
        count -= sent


def copy_data(source: int, target: int) -> None:
    """Copy a whole file into an empty one, holes as holes. Both are descriptors of regular files."""
    facts = os.fstat(source)
    size, position = facts.st_size, 0
    if facts.st_blocks * 512 >= size:  # no holes
        _copy_span(source, target, 0, size)
        return
    while position < size:
        start, end = _next_data(source, position, size)
        if start < end:
            _copy_span(source, target, start, end)
        position = end
    files.truncate(target, size)


def _next_data(source: int, position: int, size: int) -> tuple[int, int]:
    try:
        start = os.lseek(source, position, os.SEEK_DATA)
        return start, os.lseek(source, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a hole up to the end
            return size, size
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return position, size
        raise


def _copy_span(source: int, target: int, start: int, end: int) -> None:
    try:
        while start < end:
            count = copy_range(source, target, min(end - start, _CHUNK), start)
            if not count:
                return  # the file was cut meanwhile
            start += count
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
        os.lseek(target, start, os.SEEK_SET)
        send_all(target, source, start, end - start)


class Manner(Frozen):
    """How a tree is copied. `merge`: into a folder that has something; equal names are replaced, folders are merged.

    `owner` is the user and group that all of it gets, None = as it was. `tame`: what could harm whoever gets it is left
    behind: set-user-id and set-group-id bits, extended attributes (capabilities), and devices are refused.
    """

    merge: bool = False
    owner: tuple[int, int] | None = None
    tame: bool = False


AS_IT_IS = Manner()


def copy_tree(source: Rooted, target: Rooted, *, itself: bool = True, manner: Manner = AS_IT_IS) -> int:
    """Copy what is in one folder into another; returns the bytes of all files.

    Owner, group, mode, times, extended attributes (not overlayfs's own), hard links among the copied, devices, fifos,
    sockets, holes. With `itself` the target folder gets the source folder's owner, mode, times and attributes as well.
    Other file systems mounted below the source are copied as the folders they are mounted on look.
    """
    size = 0
    links: dict[tuple[int, int], bytes] = {}
    folders = [b"."]
    for folder in folders:  # grows while it is walked: parents before children
        inside = source.open(folder, _FOLDER)
        outside = target.open(folder, _FOLDER)
        try:
            for name in sorted(os.fsencode(entry) for entry in os.listdir(inside)):
                path = name if folder == b"." else folder + b"/" + name
                facts = os.stat(name, dir_fd=inside, follow_symlinks=False)
                if stat.S_ISDIR(facts.st_mode):
                    enter_folder(outside, name, merge=manner.merge)
                    folders.append(path)
                    continue
                first = links.setdefault((facts.st_dev, facts.st_ino), path) if facts.st_nlink > 1 else path
                if first == path:
                    size += copy_entry(inside, name, outside, name, manner)
                else:
                    _clear(outside, name, merge=manner.merge)
                    with target.parent(first) as (above, other):
                        rooted.link_at(above, other, outside, name)
        finally:
            os.close(inside)
            os.close(outside)
    # Children change their folder's time, so folders get theirs when everything is there.
    for folder in reversed(folders if itself else folders[1:]):
        inside = source.open(folder, _FOLDER)
        outside = target.open(folder, _FOLDER)
        try:
            copy_attributes(inside, b".", outside, b".", os.fstat(inside), manner)
        finally:
            os.close(inside)
            os.close(outside)
    return size


def enter_folder(outside: int, name: bytes, *, merge: bool) -> bool:
    """Have a folder of that name, no link to one; returns whether it was made. With `merge` one may be there."""
    try:
        rooted.mkdir_at(outside, name, 0o700)
    except FileExistsError:
        if not merge or not stat.S_ISDIR(os.stat(name, dir_fd=outside, follow_symlinks=False).st_mode):
            raise
        return False
    return True


def _clear(outside: int, name: bytes, *, merge: bool) -> None:
    """Have nothing of that name; a folder is not removed for what is none, nor anything that is mounted there.

    The kernel would let us unlink a mount of another namespace, and take it away from whoever has it.
    """
    if merge:
        with contextlib.suppress(FileNotFoundError):
            if rooted.is_mount_at(outside, name):
                raise OSError(errno.EBUSY, "something is mounted there", os.fsdecode(name))
            rooted.unlink_at(outside, name)


def copy_entry(inside: int, name: bytes, outside: int, new_name: bytes, manner: Manner = AS_IT_IS) -> int:
    """Copy what is no folder from one folder into another; returns its bytes."""
    facts = os.stat(name, dir_fd=inside, follow_symlinks=False)
    if manner.tame and (stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode)):
        raise OSError(errno.EPERM, "it is a device", os.fsdecode(name))
    if stat.S_ISREG(facts.st_mode):
        _copy_file(inside, name, outside, new_name, facts, manner)
        return facts.st_size
    _clear(outside, new_name, merge=manner.merge)
    if stat.S_ISLNK(facts.st_mode):
        rooted.symlink_at(os.readlink(name, dir_fd=inside), outside, new_name)
    else:
        rooted.mknod_at(outside, new_name, stat.S_IFMT(facts.st_mode) | 0o600, facts.st_rdev)
    copy_attributes(inside, name, outside, new_name, facts, manner)
    return 0


def _copy_file(inside: int, name: bytes, outside: int, new_name: bytes, facts: os.stat_result, manner: Manner) -> None:
    read = rooted.reopen_at(inside, name, os.O_RDONLY)  # never a device that took the name just now
    try:
        write = _new_file(outside, new_name, merge=manner.merge)
        try:
            copy_data(read, write)
            # In the order of `copy_attributes`; by descriptor, which takes half the time.
            files.chown(write, *(manner.owner or (facts.st_uid, facts.st_gid)))
            files.chmod(write, _mode(facts, manner))
            for key, value in _kept(rooted.xattrs(read), manner):
                ignoring_unsupported(rooted.setxattr_fd, write, key, value)
            rooted.utime_fd(write, facts.st_atime_ns, facts.st_mtime_ns)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _new_file(outside: int, name: bytes, *, merge: bool) -> int:
    """An empty file. One that is mounted there is emptied and stays, for whoever has that mount."""
    if merge and rooted.is_mount_at(outside, name):
        fd = rooted.reopen_at(outside, name, os.O_WRONLY)
        files.truncate(fd, 0)
        return fd
    _clear(outside, name, merge=merge)
    return rooted.create_at(outside, name)


def _mode(facts: os.stat_result, manner: Manner) -> int:
    return stat.S_IMODE(facts.st_mode) & (0o1777 if manner.tame else 0o7777)


def copy_attributes(
    inside: int, name: bytes, outside: int, new_name: bytes, facts: os.stat_result, manner: Manner = AS_IT_IS
) -> None:
    """Give `outside`/`new_name` the owner, mode, attributes and times of `inside`/`name`, whose facts are `facts`."""
    # In this order: chown takes set-user-id bits and capabilities away, and everything changes the times.
    rooted.chown_at(outside, new_name, *(manner.owner or (facts.st_uid, facts.st_gid)))
    if not stat.S_ISLNK(facts.st_mode):
        fd = os.open(new_name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=outside)
        try:
            rooted.chmod_fd(fd, _mode(facts, manner))
        finally:
            os.close(fd)
    for key, value in _kept(rooted.xattrs_at(inside, name), manner):
        ignoring_unsupported(rooted.setxattr_at, outside, new_name, key, value)
    rooted.utime_at(outside, new_name, facts.st_atime_ns, facts.st_mtime_ns)


def _kept(found: dict[str, bytes], manner: Manner) -> list[tuple[str, bytes]]:
    if manner.tame:
        return []
    return [(key, value) for key, value in found.items() if not key.startswith(UNCOPIED_XATTRS)]


def ignoring_unsupported(set_xattr: Callable[..., None], *arguments: object) -> None:
    """Set an extended attribute, unless the file system there has none of that kind: tar and cp lose those, too."""
    try:
        set_xattr(*arguments)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
