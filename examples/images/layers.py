"""Turns a folder into an OCI image layer: a plain tar whose bytes depend on nothing but the folder's content.

For the image recipes beside it only. Sources: OCI image-spec layer.md (whiteouts), pax(5), overlayfs.txt of the kernel.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import tarfile
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPABILITY = "security.capability"  # of ping: lost capabilities break it for everybody but root

# What no image needs, and what differs from build to build (logs, caches, back-ups). The folder itself stays.
LEFT_OUT = (
    "dev/*",
    "etc/*-",
    "etc/.pwd.lock",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "root/.bash_history",
    "tmp/*",
    "usr/share/doc/*/*",
    "usr/share/gcc/*",
    "usr/share/gdb/*",
    "usr/share/info/*",
    "usr/share/lintian/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/*",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/log/alternatives.log",
    "var/log/apt",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
)
KEPT = ("usr/share/doc/*/copyright",)

# An engine mounts files of its own over these: they must exist. The bootstrap copies the host's.
EMPTY = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


class HashingFile:
    """A file to write to that knows the SHA-256 and the number of the bytes that went through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def write_layer(folder: str, target: str, *, epoch: int, base: bool) -> tuple[str, int]:
    """Writes the layer that `folder` is: a whole tree (base), or the upper directory of an overlay.

    Modification times after `epoch` (seconds) become `epoch`. Returns the layer's digest and size in bytes.
    """
    with open(target, "wb", buffering=1 << 20) as file:
        hashing = HashingFile(file)
        with tarfile.open(
            fileobj=cast("BinaryIO", hashing), mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20
        ) as tar:
            links: dict[tuple[int, int], str] = {}
            for name in _names(folder, ""):
                for entry in _entries(folder, name, links, epoch=epoch, base=base):
                    _add(tar, entry, os.path.join(folder, name))
    return hashing.digest, hashing.size


def _names(folder: str, under: str) -> Iterator[str]:
    for name in sorted(os.listdir(os.path.join(folder, under))):
        path = os.path.join(under, name)
        if any(_matches(path, pattern) for pattern in LEFT_OUT) and not any(_matches(path, kept) for kept in KEPT):
            continue
        yield path
        if stat.S_ISDIR(os.lstat(os.path.join(folder, path)).st_mode):
            yield from _names(folder, path)


def _matches(path: str, pattern: str) -> bool:
    # As in a shell, "*" ends at a slash.
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def _entries(
    folder: str,
    name: str,
    links: dict[tuple[int, int], str],
    *,
    epoch: int,
    base: bool,
) -> Iterator[tarfile.TarInfo]:
    """The layer's entries for one path: none, one, or a folder and the mark that hides what lies below it."""
    path = os.path.join(folder, name)
    status = os.lstat(path)
    if name in EMPTY and not base:
        return
    entry = tarfile.TarInfo(name)
    entry.uid, entry.gid, entry.mode = status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
    entry.mtime = min(int(status.st_mtime), epoch)
    if stat.S_ISDIR(status.st_mode):
        entry.type = tarfile.DIRTYPE
        yield entry
        if b"y" in _attribute(path, "trusted.overlay.opaque"):
            yield _whiteout(os.path.join(name, ".wh..wh..opq"), epoch)
    elif stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        yield _whiteout(os.path.join(os.path.dirname(name), ".wh." + os.path.basename(name)), epoch)
    elif stat.S_ISLNK(status.st_mode):
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        yield entry
    elif stat.S_ISREG(status.st_mode):
        first = links.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            entry.type, entry.linkname = tarfile.LNKTYPE, first
        else:
            entry.size = 0 if name in EMPTY else status.st_size
            if capability := _attribute(path, CAPABILITY):
                # PAX values are text: these bytes pass through tarfile as surrogates.
                entry.pax_headers["SCHILY.xattr." + CAPABILITY] = capability.decode("utf-8", "surrogateescape")
        yield entry
    elif not stat.S_ISSOCK(status.st_mode):
        raise SystemExit(f"{path}: a device or pipe has no place in these images")


def _attribute(path: str, attribute: str) -> bytes:
    try:
        return os.getxattr(path, attribute, follow_symlinks=False)
    except OSError:  # none there, or a file system without
        return b""


def _whiteout(name: str, epoch: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = 0, epoch
    return entry


def _add(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> None:
    if entry.type == tarfile.REGTYPE and entry.size:
        with open(path, "rb") as content:
            tar.addfile(entry, content)
    else:
        tar.addfile(entry)
