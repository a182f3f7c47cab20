"""How a layer's tar was put together, so that it can be written again byte for byte from its unpacked folder.

Beside the content of files, which lies in the folder, a tar is headers and padding. Those are kept, compressed, with
references to the content in between: about a hundredth of the tar. Whoever writes a tar again has its digest to compare.
Only this room may import it.

The record: `MAGIC`, then a zlib stream of the tar's size (8 bytes) and entries in the tar's order:
`R` length(4) bytes, or `F` path-length(2) offset(8) size(8) path: that part of the folder's file.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from typing import TYPE_CHECKING

from reconciler.engine.images import tars
from reconciler.engine.images.streams import Span
from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable, Iterator
    from typing import Self

    from reconciler.engine.kernel.rooted import Rooted

MAGIC = b"tarsplit 1\n"
_SIZE = struct.Struct(">Q")
_RAW = struct.Struct(">cI")
_FILE = struct.Struct(">cHQQ")
_PIECE = 1 << 20
_FILL = 256 << 10
_LEVEL = 1
"""Headers are alike: the quickest level makes them a tenth, and the best one takes ten times as long for a third less."""


class Recorder:
    """Writes the record of one plain tar to the empty file `target`, in one pass: `content` in the tar's order, `finish`."""

    def __init__(self, span: Span, target: int) -> None:
        self._span = span
        self._target = target
        self._position = 0
        self._compressor = zlib.compressobj(_LEVEL)
        self._pending: list[bytes] = [_SIZE.pack(span.size)]
        self._filled = 0
        files.write_all(target, MAGIC)

    def content(self, path: bytes, member: tarfile.TarInfo) -> None:
        """The content of this member is that of the folder's file at `path`."""
        start = member.offset_data
        for offset, size in tars.pieces(member):
            if size:
                self._raw_until(start)
                self._add(_FILE.pack(b"F", len(path), offset, size) + path)
                self._position = start = start + size

    def finish(self) -> None:
        """All that follows the last content."""
        self._raw_until(self._span.size)
        files.write_all(self._target, self._compressor.compress(b"".join(self._pending)) + self._compressor.flush())

    def _raw_until(self, end: int) -> None:
        while self._position < end:
            count = min(end - self._position, _PIECE)
            data = os.pread(self._span.fd, count, self._span.offset + self._position)
            if not data:
                raise EOFError  # somebody has cut it meanwhile
            self._add(_RAW.pack(b"R", len(data)) + data)
            self._position += len(data)

    def _add(self, entry: bytes) -> None:
        self._pending.append(entry)
        self._filled += len(entry)
        if self._filled > _FILL:
            files.write_all(self._target, self._compressor.compress(b"".join(self._pending)))
            self._pending, self._filled = [], 0


def record_by_comparing(
    span: Span, root: Rooted, target: int, members: Iterator[tarfile.TarInfo], path_of: Callable[[str], bytes]
) -> None:
    """The record of a tar some of whose files have no place in the folder, as a later member of their name replaced them.

    Each member's content is compared with what the folder has at its place; where that is something else, the record
    holds the content itself.
    """
    recorder = Recorder(span, target)
    for member in members:
        if member.isreg() and (path := path_of(member.name)) and _is_there(span, member, root, path):
            recorder.content(path, member)
    recorder.finish()


def _is_there(span: Span, member: tarfile.TarInfo, root: Rooted, path: bytes) -> bool:
    try:
        fd = root.open_file(path)
    except OSError:
        return False
    try:
        start = span.offset + member.offset_data
        for offset, size in tars.pieces(member):
            ours, theirs = Span(span.fd, start, size).pieces(), Span(fd, offset, size).pieces()
            if any(one != other for one, other in zip(ours, theirs, strict=True)):
                return False
            start += size
    except ValueError:  # the folder's file is shorter
        return False
    finally:
        os.close(fd)
    return True


class Record:
    """A record that was written before: `size` is the tar's. Close it, or use it in a `with`."""

    def __init__(self, path: str) -> None:
        """Raises `ReconcilerError` (code "damaged") for what is no record."""
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _damaged("there is no record of it") from None
        self._decoder = zlib.decompressobj()
        self._buffer, self._at = b"", 0
        if os.read(self._fd, len(MAGIC)) != MAGIC:
            self.close()
            raise _damaged("its record is none")
        (self.size,) = _SIZE.unpack(self._take(_SIZE.size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def pieces(self, root: Rooted) -> Iterator[bytes | memoryview]:
        """The tar, piece by piece, each valid until the next. Raises `ReconcilerError` (code "damaged")."""
        left = self.size
        opened, fd = b"", -1
        try:
            while left:
                if (kind := self._take(1)) == b"R":
                    (length,) = struct.unpack(">I", self._take(4))
                    yield self._take(length)
                elif kind == b"F":
                    path_length, offset, length = struct.unpack(">HQQ", self._take(18))
                    path = self._take(path_length)
                    if path != opened:
                        if fd >= 0:
                            os.close(fd)
                        opened, fd = path, _open(root, path)
                    yield from _content(fd, offset, length)
                else:
                    raise _damaged("its record is none")
                left -= length
        finally:
            if fd >= 0:
                os.close(fd)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) - self._at < count:
            data = self._decoder.unconsumed_tail or os.read(self._fd, _FILL)
            more = self._decode(data)
            if not more and not data:
                raise _damaged("its record is cut off")
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _decode(self, data: bytes) -> bytes:
        try:
            return self._decoder.decompress(data, _PIECE)
        except zlib.error:
            raise _damaged("its record is corrupt") from None


def _open(root: Rooted, path: bytes) -> int:
    try:
        return root.open_file(path)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO):
            raise
        raise _damaged("files of it are gone") from None


def _content(fd: int, offset: int, length: int) -> Iterator[memoryview]:
    got = 0
    for piece in Span(fd, offset, length).pieces():
        got += len(piece)
        yield piece
    if got != length:
        raise _damaged("a file of it is shorter than it was")


def _damaged(why: str) -> ReconcilerError:
    return ReconcilerError(why, code="damaged", hint="remove the images that have it, and load or pull them again")
