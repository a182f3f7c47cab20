"""What an image archive consists of, whether it is a folder or a tar: named files, found without unpacking anything.

Not for what the files mean (`archives`). Only this room may import it.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from reconciler.engine.images import streams, tars
from reconciler.engine.images.configuration import bad_image
from reconciler.engine.images.streams import Span
from reconciler.engine.kernel import files, rooted
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import printable
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.images.layers import Workshop

_PIECE = 1 << 20
_MOST_FILES = 200_000
_MOST_LINKS = 8


class Source:
    """Files by their names in an archive: relative, with slashes."""

    def find(self, name: str) -> Span | None:
        """The content of a file, None if there is no file of that name."""
        raise NotImplementedError


class FolderSource(Source):
    """An archive that lies unpacked in a folder; links in it do not lead out."""

    def __init__(self, root: rooted.Rooted, stack: contextlib.ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._found: dict[str, Span] = {}

    def find(self, name: str) -> Span | None:
        if name not in self._found:
            try:
                fd = self._root.open_file(name)
            except OSError:
                return None
            self._stack.callback(os.close, fd)
            self._found[name] = Span.whole(fd)
        return self._found[name]


class TarSource(Source):
    """An archive in a plain tar: its headers are read once, content stays where it is."""

    def __init__(self, span: Span, what: str) -> None:
        self._span = span
        self._files: dict[str, Span] = {}
        self._links: dict[str, str] = {}
        for member in tars.members(span, what, _MOST_FILES):
            name = _normal(member.name)
            if member.isreg() and member.sparse is None:
                self._files[name] = Span(span.fd, span.offset + member.offset_data, member.size)
            elif member.islnk():
                self._links[name] = _normal(member.linkname)
            elif member.issym():  # old docker-archives have a link for a layer that another image brings
                self._links[name] = _normal(posixpath.join(posixpath.dirname(name), member.linkname))

    def find(self, name: str) -> Span | None:
        name = _normal(name)
        for _ in range(_MOST_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                break
            name = self._links[name]
        return None


def _normal(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")


@contextlib.contextmanager
def opened(path: str, work: Workshop) -> Iterator[Source]:
    """The archive at `path`: a folder, a tar, a compressed tar, or "-" for standard input.

    Raises `ReconcilerError`: code "not-found" where nothing is, "bad-image" for what is no archive.
    """
    with contextlib.ExitStack() as stack:
        if path != "-" and os.path.isdir(path):
            yield FolderSource(stack.enter_context(rooted.open_root(path)), stack)
            return
        yield TarSource(plain_file(path, work, stack), _told(path))


def plain_file(path: str, work: Workshop, stack: contextlib.ExitStack) -> Span:
    """A file (or "-") in plain form, as a span that can seek; a temporary file where it has to be one."""
    fd = 0 if path == "-" else _open(path)
    if fd:
        stack.callback(os.close, fd)
    what = _told(path)
    span = Span.whole(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else _received(fd, work, stack)
    if not span.size:
        raise ReconcilerError(f"{what} is empty", code="bad-image", hint="see whether what wrote it failed")
    kind = streams.compression(span)
    if not kind:
        return span
    work.progress(f"{what}: decompressing {human_size(span.size)}")
    return streams.expand(span, kind, _temporary(work, stack), work.limits, what).span


def _told(path: str) -> str:
    return "standard input" if path == "-" else printable(path)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ReconcilerError(f"no such file: {printable(path)}", code="not-found") from None
    except OSError as error:
        raise ReconcilerError(f"{printable(path)} can't be read: {os.strerror(error.errno or 0)}") from error


def _received(fd: int, work: Workshop, stack: contextlib.ExitStack) -> Span:
    """All that comes through a pipe, kept: what it names may come in any order."""
    target = _temporary(work, stack)
    size = 0
    while data := os.read(fd, _PIECE):
        size += len(data)
        if size > work.limits.bytes:
            raise bad_image("standard input", f"more than {human_size(work.limits.bytes)} came")
        files.write_all(target, data)
    return Span(target, 0, size)


def _temporary(work: Workshop, stack: contextlib.ExitStack) -> int:
    target = work.temporary()
    stack.callback(os.close, target)
    return target
