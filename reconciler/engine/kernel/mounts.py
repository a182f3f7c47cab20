"""Mounts: overlay file systems and taking mounts away; reading the mount table.

Overlay layers are named relative to their common folder, because the kernel takes one page of mount data (4095 bytes,
silently cut): a thread of its own with a working directory of its own makes the call and ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from typing import TYPE_CHECKING

from reconciler.engine.kernel.effects import effect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_MS_RDONLY = 1
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_DATA_LIMIT = 4095

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, path: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


@effect
def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(data)),
        target,
    )


@effect
def _umount(path: str, flags: int) -> None:
    _check(_libc.umount2(os.fsencode(path), ctypes.c_int(flags | _UMOUNT_NOFOLLOW)), path)


def unshare(flags: int) -> None:
    """unshare(2) of the calling thread, which is to be one of its own (see `in_own_thread`)."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount_tmpfs(target: str, size: int, inodes: int) -> None:
    """Mount a file system in memory of at most `size` bytes and `inodes` files at `target`; nothing in it runs."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _mount("tmpfs", target, "tmpfs", flags, f"size={size},nr_inodes={inodes},mode=755")


def mount_overlay(folder: str, layers: Sequence[str], upper: str, work: str, target: str) -> None:
    """Mount an overlay at `target`; `layers` are names inside `folder`, lowest first, as an image lists them.

    Raises OSError; E2BIG when the layer names do not fit into one page (127 of eight characters do).
    """
    data = f"lowerdir={':'.join(reversed(layers))},upperdir={upper},workdir={work}"
    if len(os.fsencode(data)) > _DATA_LIMIT:
        raise OSError(errno.E2BIG, f"{len(layers)} layers do not fit into one overlay mount", target)

    def mount() -> None:
        unshare(_CLONE_FS)
        os.chdir(folder)
        _mount("overlay", target, "overlay", 0, data)

    in_own_thread(mount)


def in_private_namespace(function: Callable[[], None]) -> None:
    """Run `function` in a thread with a mount namespace of its own: what it mounts nobody else sees, and ends with it.

    Also when this process is killed. Nothing else of this process shares that view: paths are opened inside of it.
    """

    def alone() -> None:
        unshare(_CLONE_FS | _CLONE_NEWNS)
        _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
        function()

    in_own_thread(alone)


def bind(source: str, target: Callable[[], int], *, read_only: bool = False) -> None:
    """Mount `source`, and what is mounted below it, at the file or folder that `target` opens (O_PATH will do).

    It is opened once more to make the mount read-only: a descriptor names what was there when it was opened.
    """
    _at(target, lambda place: _mount(source, place, "", _MS_BIND | _MS_REC, ""))
    if read_only:
        make_read_only(target)


def make_read_only(target: Callable[[], int]) -> None:
    """Make the mount whose root `target` opens read-only, in this namespace."""
    _at(target, lambda place: _mount("none", place, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY, ""))


def _at(target: Callable[[], int], mount: Callable[[str], None]) -> None:
    fd = target()
    try:
        mount(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def in_own_thread(function: Callable[[], None]) -> None:
    """Run `function` in a thread that does only that and ends: for what changes the calling thread for good."""
    failures: list[BaseException] = []

    def body() -> None:
        try:
            function()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def unmount(path: str) -> None:
    """Take away all that is mounted at `path`, however often; nothing there is fine.

    A mount that somebody still has a file open on is detached: it is gone from the table and ends with its last user.
    """
    while True:
        try:
            _umount(path, 0)
        except OSError as error:
            if error.errno == errno.EBUSY:
                _umount(path, _MNT_DETACH)
            elif error.errno in (errno.EINVAL, errno.ENOENT):
                return
            else:
                raise


def mounts_below(folder: str) -> list[str]:
    """Mount points at or below `folder`, deepest first, from /proc/self/mountinfo."""
    found = []
    prefix = folder.rstrip("/") + "/"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = _unescape(line.split(" ", 5)[4])
            if point == folder or point.startswith(prefix):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes (space, tab, newline, backslash)."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
