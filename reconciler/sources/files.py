"""Specs on this machine's disk, or from standard input.

Reads files and nothing else: no parsing, no watching. The command line and the loop import it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import sys
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import nearest, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST = 4 << 20
"""Bytes. A spec or env file beyond this is not one: somebody named a log or an image."""

STANDARD_INPUT = "-"
STANDARD_INPUT_SHOWN = "standard input"
"""How messages and positions name it."""
_SUFFIXES = (".yaml", ".yml")


class FileTree:
    """A spec in a file, and the files beside it. Paths are relative to the spec's folder, or absolute.

    `path` may be "-": the spec comes from `stdin` and its folder is the working directory. A folder is refused with
    the specs in it as a hint (see `specs_in`).
    """

    def __init__(self, path: str, stdin: Callable[[], bytes] | None = None) -> None:
        self._stdin = stdin or sys.stdin.buffer.read
        self._reads: dict[str, bytes | None] = {}
        if path == STANDARD_INPUT:
            self.spec = STANDARD_INPUT
            self._folder = ""
            self.base = _working_directory()
            self.origin = STANDARD_INPUT
        else:
            self._folder, self.spec = posixpath.split(path)
            absolute = posixpath.normpath(posixpath.join(_working_directory(), path))
            self.origin = os.path.realpath(absolute)
            self.base = posixpath.dirname(absolute)
            if not self.spec:
                self._folder, self.spec = "", path

    @property
    def reads(self) -> Mapping[str, bytes | None]:
        return self._reads

    def display(self, path: str) -> str:
        if path == STANDARD_INPUT == self.spec:
            return STANDARD_INPUT_SHOWN
        return posixpath.normpath(posixpath.join(self._folder, path))

    def exists(self, path: str) -> bool:
        if os.path.exists(posixpath.join(self.base, path)):
            return True
        self._reads[path] = None
        return False

    def read(self, path: str) -> bytes:
        """The file's bytes, at most `LARGEST`; the same bytes again for a file that was read before."""
        known = self._reads.get(path)
        if known is None:
            try:
                known = self._read(path)
            except ReconcilerError as error:
                if error.code == "not-found":
                    self._reads[path] = None
                raise
            self._reads[path] = known
        return known

    def _read(self, path: str) -> bytes:
        if path == STANDARD_INPUT == self.spec:
            data = self._stdin()
        else:
            try:
                with open(posixpath.join(self.base, path), "rb") as file:
                    data = file.read(LARGEST + 1)
            except (OSError, ValueError) as error:
                raise self._unreadable(path, error) from None
        if len(data) > LARGEST:
            raise ReconcilerError(
                f"{quote(self.display(path))} is larger than {LARGEST >> 20} MiB",
                code="too-large",
                hint="a spec or env file is text of a few kilobytes: is this the right file?",
            )
        return data

    def _unreadable(self, path: str, error: OSError | ValueError) -> ReconcilerError:
        shown = quote(self.display(path), 200)
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        if number in (errno.ENOENT, errno.ENOTDIR):
            return ReconcilerError(f"there is no file {shown}", code="not-found", hint=self._neighbours(path))
        if number == errno.EISDIR:
            inside = specs_in(posixpath.join(self.base, path))
            names = ", ".join(posixpath.join(self.display(path), name) for name in inside[:5])
            hint = f"name one of its files: {names}" if names else "name a file"
            return ReconcilerError(f"{shown} is a folder, not a file", code="is-a-folder", hint=hint)
        if number in (errno.EACCES, errno.EPERM):
            hint = "run as a user who may read it"
            return ReconcilerError(f"{shown} cannot be read: permission denied", code="unreadable", hint=hint)
        why = os.strerror(number or errno.EINVAL)
        return ReconcilerError(f"{shown} cannot be read: {why}", code="unreadable")

    def _neighbours(self, path: str) -> str:
        """What to do about a missing file: the most alike name in the same folder, if there is one."""
        folder, name = posixpath.split(path)
        try:
            names = os.listdir(posixpath.join(self.base, folder))
        except (OSError, ValueError):
            return f"there is no folder {quote(self.display(folder or '.'), 200)} either"
        near = nearest(name, names)
        return f"did you mean {quote(self.display(posixpath.join(folder, near)), 200)}?" if near else ""


def specs_in(folder: str) -> list[str]:
    """The names of the spec files directly in `folder`, sorted: *.yaml and *.yml that are not hidden."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if name.endswith(_SUFFIXES) and not name.startswith(".")]


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ReconcilerError("the working directory has been removed", hint="change to one that exists") from None
