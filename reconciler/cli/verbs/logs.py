"""`reconciler logs`: what a container wrote, its stdout to stdout and its stderr to stderr."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from reconciler.cli.moments import moment
from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import UsageError
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import LogRecord

_PIECE = 1 << 16
"""Bytes written at once: as much as a pipe holds."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what it writes from now on")
    parser.add_argument("-n", "--tail", default="all", metavar="N", help="only the last N lines")
    parser.add_argument("-t", "--timestamps", action="store_true", help="begin each line with its time")
    parser.add_argument("--since", metavar="TIME", help='from then on: "2026-01-31T12:00:00Z", or "10m" ago')
    parser.add_argument("--until", metavar="TIME", help="up to then")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="on a terminal, pass on control sequences other than colours as they are (always so elsewhere)",
    )
    parser.add_argument("name", metavar="CONTAINER", help="name, STACK/KEY or (the beginning of) an id")


def run(options: Any, shell: Shell) -> int:
    now = time.time()
    since = moment(options.since, now) if options.since else None
    until = moment(options.until, now) if options.until else None
    tail = _tail(options.tail)
    from reconciler.runtimes.console import LogOptions  # noqa: PLC0415 - loaded with the runtime in any case

    records = shell.console.logs(options.name, LogOptions(options.follow, tail, since, until))
    out = _Stream(sys.stdout, raw=options.raw, buffered=not options.follow)
    err = _Stream(sys.stderr, raw=options.raw, buffered=not options.follow)
    mixed = _same_file(sys.stdout, sys.stderr)
    for record in records:
        stream, other = (out, err) if record.stream == "stdout" else (err, out)
        if mixed:
            other.flush()
        stream.write(record, timestamps=options.timestamps)
    out.flush()
    err.flush()
    if on_terminal(sys.stderr):
        _tell_why(options.name, shell)
    return 0


def _tell_why(name: str, shell: Shell) -> None:
    """For a person only: what a container could not write itself, as memory ran out."""
    container = shell.console.container(name)
    if container.oom and container.state in ("exited", "restarting"):
        shell.note(printable(f"{container.name} exited with code {container.exit_code}: {container.error}"))


class _Stream:
    """One of our two streams, and whether it is within a line.

    `buffered` output is written in large pieces, but on a terminal; we do that ourselves, as Python may have been told
    not to (PYTHONUNBUFFERED).
    """

    def __init__(self, text: Any, *, raw: bool, buffered: bool) -> None:
        text.flush()
        terminal = text.isatty()
        self._out: BinaryIO = text.buffer
        self._escape = terminal and not raw
        self._most = _PIECE if buffered and not terminal else 0
        self._within = False
        self._held = bytearray()

    def write(self, record: LogRecord, *, timestamps: bool) -> None:
        data = record.data
        if self._escape:
            from reconciler.kits.text import printable_log  # noqa: PLC0415 - only on a terminal

            data = printable_log(data.removesuffix(b"\r").decode("utf-8", "backslashreplace")).encode()
        if timestamps and not self._within:
            self._held += f"{record.time} ".encode()
        self._held += data
        if not record.partial:
            self._held += b"\n"
        self._within = record.partial
        if len(self._held) > self._most:
            self.flush()

    def flush(self) -> None:
        """Write what is held. Raises BrokenPipeError, or ReconcilerError where it can't be written otherwise."""
        if not self._held:
            return
        held, self._held = memoryview(bytes(self._held)), bytearray()
        try:
            while held:
                held = held[self._out.write(held) :]  # an unbuffered file may take a part only
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            from reconciler.cli.streams import unwritten  # noqa: PLC0415 - hardly ever

            raise unwritten(error) from error


def _same_file(one: Any, other: Any) -> bool:
    """Whether both streams end in one file, where the order of what is written to them counts (2>&1)."""
    try:
        return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    except (OSError, ValueError):
        return True


def _tail(text: str) -> int | None:
    if text == "all" or text.startswith("-"):
        return None
    if not text.isdecimal():
        raise UsageError(f'--tail: "{text}" is not a number of lines', hint='give a number, or "all"')
    return int(text)
