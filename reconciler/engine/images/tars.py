"""Reading tar archives that somebody else made: the standard library's parser behind bounds that it lacks.

One pass over the headers, in memory that does not grow with the archive; content is not read here but found by offset.
The parser alone would read a header of any size into memory, take garbage in the middle for the end, and go backwards on
a negative size. Not for applying members to a folder (`unpack`). Only this room may import it.
"""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, Any

from reconciler.engine.images.configuration import bad_image
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.images.streams import Span

_BLOCK = tarfile.BLOCKSIZE
_MOST_HEADER = 256 << 10
"""One extended header: names and attributes. A path has 4 KiB, an attribute 64 KiB at most."""
_MOST_HEADERS = 4 << 20
"""All headers of one member, a sparse file's map included."""
_MOST_GLOBAL_HEADERS = 64

_ODD = (tarfile.TarError, ValueError, OverflowError, RecursionError, LookupError)


class _Window:
    """The file object that the parser reads headers from: one span, bounded for each member."""

    def __init__(self, span: Span, what: str) -> None:
        self._span = span
        self._what = what
        self._position = 0
        self.budget = _MOST_HEADERS

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < 0:
            raise tarfile.ReadError("negative offset")
        self._position = position
        return position

    def read(self, count: int) -> bytes:
        if not 0 <= count <= _MOST_HEADER or count > self.budget:
            raise tarfile.ReadError("a header of impossible size")
        self.budget -= count
        left = max(0, min(count, self._span.size - self._position))
        data = os.pread(self._span.fd, left, self._span.offset + self._position)
        self._position += len(data)
        return data


def members(span: Span, what: str, most: int) -> Iterator[tarfile.TarInfo]:
    """The members of a plain tar, one by one; `offset_data` counts from the span's start.

    Raises `ReconcilerError` with code "bad-image" that names `what` for anything that is no tar, is cut off, or has
    more than `most` members. An archive without its closing zeros is taken when it ends between two members: whoever
    has a digest to compare knows better.
    """
    window = _Window(span, what)
    count = 0
    last = -1
    try:
        tar = _open(window)
        while True:
            window.budget = _MOST_HEADERS
            member = tar.next()
            if member is None:
                break
            tar.members.clear()  # type: ignore[attr-defined]  # or it keeps them all
            if tar.offset <= last or len(tar.pax_headers) > _MOST_GLOBAL_HEADERS:
                raise tarfile.ReadError("its headers contradict one another")
            last = tar.offset
            count += 1
            if count > most:
                raise bad_image(what, f"holds more than {most} files")
            _check_content(member, span, what)
            yield member
    except _ODD as error:
        if isinstance(error, tarfile.ReadError) and "end of data" in str(error):
            raise bad_image(what, "ends early: the file is cut off") from None
        raise bad_image(what, f"not a tar archive that can be read ({error})") from None
    _check_end(span, tar.offset, what)


def _open(window: _Window) -> tarfile.TarFile:
    # The constructor, not tarfile.open: nothing is guessed about compression.
    return tarfile.TarFile(
        fileobj=window,  # type: ignore[arg-type]
        mode="r",
        encoding="utf-8",
        errors="surrogateescape",
    )


def _check_content(member: tarfile.TarInfo, span: Span, what: str) -> None:
    """The content must lie inside the archive, and a sparse file's pieces inside the file."""
    if member.size < 0:
        raise tarfile.ReadError("negative size")
    stored = end = 0
    if member.isreg():
        for offset, size in pieces(member):
            if offset < end or size < 0 or offset + size > member.size:
                raise tarfile.ReadError("a sparse file's map contradicts itself")
            end = offset + size
            stored += size
    if member.offset_data + stored > span.size:
        raise bad_image(what, f"ends early, in the middle of {quote(member.name[:200])}: the file is cut off")


def pieces(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    """(offset, size) of what a file's content consists of, which lies in the archive one after the other."""
    sparse: Any = member.sparse  # the type stubs say bytes
    # The parser keeps the unused places of GNU's map, too.
    return [(0, member.size)] if sparse is None else [piece for piece in sparse if piece[1]]


def _check_end(span: Span, offset: int, what: str) -> None:
    """After the last member come two blocks of zeros, or one, or the end; anything else is damage."""
    rest = os.pread(span.fd, max(0, min(2 * _BLOCK, span.size - offset)), span.offset + offset)
    if len(rest) % _BLOCK:
        raise bad_image(what, "ends early: the file is cut off")
    if any(rest):
        raise bad_image(what, f"not a tar archive that can be read (damaged at byte {offset})")


def has_end(span: Span) -> bool:
    """Whether a tar closes with a block of zeros, as it should."""
    return span.size >= _BLOCK and not any(os.pread(span.fd, _BLOCK, span.offset + span.size - _BLOCK))


def modified(member: tarfile.TarInfo) -> int:
    """A member's time in nanoseconds, exact where the archive is; out of range becomes the nearest that is possible."""
    text = member.pax_headers.get("mtime", "")
    whole, _, part = text.partition(".")
    try:
        if whole.lstrip("-").isdecimal() and part.isdecimal():
            fraction = int(part[:9].ljust(9, "0"))
            value = int(whole[:20]) * 10**9 + (-fraction if whole.startswith("-") else fraction)
        else:
            value = int(member.mtime * 10**9) if isinstance(member.mtime, float) else member.mtime * 10**9
    except (ValueError, OverflowError):
        value = 0
    return max(-(2**31) * 10**9, min(value, (2**34 - 1) * 10**9))
