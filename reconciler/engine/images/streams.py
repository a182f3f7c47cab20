"""Bytes of an archive: a span of an open file, its digest, and its plain form when it is compressed.

Everything is read in pieces of a fixed size, so memory stays flat however long the content is. A compressed span is
written to a temporary file while both digests are taken: what comes after can seek, and the kernel can copy from it.
Only this room may import it.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from reconciler.engine.images.configuration import bad_image
from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_PIECE = 1 << 20
_SLICE = 16 << 10
"""What is read at once behind the end of a member: a decoder copies all that it has not used, for each of a thousand."""

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
)


class Limits(Frozen):
    """What one archive may ask of this machine; more than any real image needs, less than fills it unnoticed."""

    entries: int = 2_000_000
    """Files, folders, links and devices in one layer."""

    bytes: int = 128 << 30
    """Plain size of one layer."""

    ratio: int = 250
    """Plain bytes for a compressed one, from `ratio_floor` on. Text reaches 10, a file of zeros 1000."""

    ratio_floor: int = 1 << 30
    depth: int = 255
    """Folders above a file."""


class Span(Frozen):
    """`size` bytes from `offset` of an open file; whoever opened the file closes it."""

    fd: int
    offset: int
    size: int

    @classmethod
    def whole(cls, fd: int) -> Span:
        return cls(fd, 0, os.fstat(fd).st_size)

    def head(self, count: int) -> bytes:
        """The first bytes, fewer where there are not so many."""
        return os.pread(self.fd, min(count, self.size), self.offset)

    def read(self, limit: int, what: str) -> bytes:
        """All of it; more than `limit` bytes are an error."""
        if self.size > limit:
            raise bad_image(what, f"{human_size(self.size)} is more than it can sensibly be")
        return b"".join(bytes(piece) for piece in self.pieces())

    def pieces(self) -> Iterator[memoryview]:
        """The content piece by piece, each valid until the next; a file that was cut meanwhile ends early."""
        buffer = memoryview(bytearray(min(_PIECE, max(self.size, 1))))
        position, end = self.offset, self.offset + self.size
        while position < end:
            count = os.preadv(self.fd, [buffer[: end - position]], position)
            if not count:
                return
            position += count
            yield buffer[:count]


def digest(span: Span) -> str:
    """`sha256:` and the digest of a span."""
    hasher = hashlib.sha256()
    for piece in span.pieces():
        hasher.update(piece)
    return "sha256:" + hasher.hexdigest()


def compression(span: Span) -> str:
    """gzip, zstd, xz or bzip2 by the first bytes, "" for anything else."""
    head = span.head(8)
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


class Expanded(Frozen):
    """The plain form: `span` in the temporary file, and both digests."""

    span: Span
    compressed_digest: str
    plain_digest: str


def unhindered() -> None:
    """What is called again and again where nobody wants to end long work."""


def expand(
    span: Span, kind: str, target: int, limits: Limits, what: str, *, check: Callable[[], None] = unhindered
) -> Expanded:
    """Write the plain form of a compressed span to the empty file `target`; both digests are taken on the way.

    `check` is called at every step, and ends it by raising. Raises `ReconcilerError` with code "bad-image" for corrupt
    or cut data and for more than the limits allow.
    """
    compressed, plain = hashlib.sha256(), hashlib.sha256()
    size = 0

    def hashed() -> Iterator[memoryview]:
        for piece in span.pieces():
            compressed.update(piece)
            yield piece

    for piece in _decoded(hashed(), kind, what, check):
        size += len(piece)
        _check_size(size, span.size, limits, what)
        plain.update(piece)
        files.write_all(target, piece)
    return Expanded(Span(target, 0, size), "sha256:" + compressed.hexdigest(), "sha256:" + plain.hexdigest())


def _check_size(size: int, compressed: int, limits: Limits, what: str) -> None:
    if size > limits.bytes:
        raise bad_image(what, f"unpacks to more than {human_size(limits.bytes)}")
    if size > limits.ratio_floor and size > limits.ratio * compressed:
        raise bad_image(
            what,
            f"unpacks to more than {limits.ratio} times its size, as a decompression bomb does",
            "if you trust it, decompress it yourself and load the plain archive",
        )


def _decoded(pieces: Iterable[memoryview], kind: str, what: str, check: Callable[[], None]) -> Iterator[bytes]:
    """Plain pieces of bounded size. Members or frames may follow one another, zeros at the end are padding."""
    make, errors = _decoder(kind, what)
    member: Any = None
    started = False
    try:
        for piece in pieces:
            data, position, step = bytes(piece), 0, _PIECE
            while position < len(data) or (member and not member.hungry):
                check()
                part = data[position : position + step]
                if member is None:
                    padding = len(part) - len(part.lstrip(b"\0")) if started else 0
                    if padding:
                        position += padding
                        continue
                    member, started = make(), True
                elif not member.hungry:
                    part = b""
                plain = member.push(part)
                position += len(part)
                if plain:
                    yield plain
                if member.ended:
                    position -= member.unused
                    member, step = None, _SLICE
    except errors as error:
        raise bad_image(what, f"corrupt {kind} data ({error})") from None
    if member is not None:
        raise bad_image(what, f"the {kind} data ends early: the file is cut off")


def _decoder(kind: str, what: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    # Imported when such data comes: most archives need none or one of them.
    if kind == "gzip":
        zlib = _zlib_module()
        return lambda: _Gzip(zlib), (zlib.error,)
    if kind == "xz":
        import lzma  # noqa: PLC0415

        return lambda: _Buffered(lzma.LZMADecompressor()), (lzma.LZMAError,)
    if kind == "bzip2":
        import bz2  # noqa: PLC0415

        return lambda: _Buffered(bz2.BZ2Decompressor()), (ValueError,)
    zstd = _zstd_module(what)
    return lambda: _Buffered(zstd.ZstdDecompressor()), (zstd.ZstdError,)


def _zlib_module() -> Any:
    """ISA-L's, twice as fast, where it is installed; it has the same interface."""
    try:
        from isal import isal_zlib  # noqa: PLC0415
    except ImportError:
        import zlib  # noqa: PLC0415

        return zlib
    return isal_zlib


def _zstd_module(what: str) -> Any:
    import importlib  # noqa: PLC0415

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ReconcilerError(
        f"{what}: zstd data can't be read here",
        code="zstd",
        hint="install reconciler[fast] (backports.zstd), or decompress it first with: unzstd",
    )


class _Gzip:
    """One gzip member. `hungry`: give it more; `unused`: how many bytes followed the end."""

    def __init__(self, zlib: Any) -> None:
        self._decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._tail = b""
        self.hungry = True

    def push(self, data: bytes) -> bytes:
        plain: bytes = self._decoder.decompress(self._tail + data, _PIECE)
        self._tail = self._decoder.unconsumed_tail
        self.hungry = not self._tail and len(plain) < _PIECE
        return plain

    @property
    def ended(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused(self) -> int:
        return len(self._decoder.unused_data)


class _Buffered:
    """One member or frame of a decoder with the interface of lzma and bz2, which keep unread input themselves."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def push(self, data: bytes) -> bytes:
        try:
            plain: bytes = self._decoder.decompress(data, _PIECE)
        except OSError as error:  # how bz2 says that data is corrupt
            raise ValueError(str(error)) from None
        return plain

    @property
    def hungry(self) -> bool:
        return bool(self._decoder.needs_input)

    @property
    def ended(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused(self) -> int:
        return len(self._decoder.unused_data)
