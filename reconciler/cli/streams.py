"""Standard streams that may be lost while a pass runs: a reader that goes away must not leave a stack half down.

For the verbs that make a pass. What only shows things may end with its reader (see `main`).
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TextIO


class Enduring:
    """A text stream for writing that goes on silently once writing has failed (EPIPE, EIO, ENOSPC).

    `lost` is the error that ended it, None while it works. Its descriptor then is /dev/null, so that nothing that is
    still buffered fails again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        self.lost = self.lost or error
        silence(self._stream)


def silence(stream: TextIO) -> None:
    """Let what was written to a stream, and what will be, go to /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def unwritten(error: OSError) -> ReconcilerError:
    """The error of a write to standard output that failed, which is silenced. Not for a reader that went away."""
    silence(sys.stdout)
    return ReconcilerError(f"standard output could not be written: {error.strerror}", code="output")


@contextmanager
def enduring() -> Iterator[tuple[Enduring, Enduring]]:
    """Standard output and standard error, which within the block do not fail."""
    before = sys.stdout, sys.stderr
    streams = Enduring(sys.stdout), Enduring(sys.stderr)
    sys.stdout, sys.stderr = streams
    try:
        yield streams
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
