"""`reconciler logs`: what a container wrote, its stdout to stdout and its stderr to stderr."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.units import parse_duration

if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import LogRecord


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
    streams = {"stdout": _Stream(sys.stdout, raw=options.raw), "stderr": _Stream(sys.stderr, raw=options.raw)}
    for record in records:
        streams[record.stream].write(record, timestamps=options.timestamps, flush=options.follow)
    for stream in streams.values():
        stream.flush()
    return 0


class _Stream:
    """One of our two streams, and whether it is within a line."""

    def __init__(self, text: Any, *, raw: bool) -> None:
        text.flush()
        self._out: BinaryIO = text.buffer
        self._escape = text.isatty() and not raw
        self._within = False

    def write(self, record: LogRecord, *, timestamps: bool, flush: bool) -> None:
        data = record.data
        if self._escape:
            from reconciler.kits.text import printable_log  # noqa: PLC0415 - only on a terminal

            data = printable_log(data.removesuffix(b"\r").decode("utf-8", "backslashreplace")).encode()
        prefix = f"{record.time} ".encode() if timestamps and not self._within else b""
        self._out.write(prefix + data + (b"" if record.partial else b"\n"))
        self._within = record.partial
        if flush:
            self._out.flush()

    def flush(self) -> None:
        self._out.flush()


def moment(text: str, now: float) -> float:
    """Seconds since the epoch of an RFC 3339 time or date (local without a zone), of such a number, or of "10m" ago."""
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    if re.match(r"\d{4}-\d{2}-\d{2}", text):
        from datetime import datetime  # noqa: PLC0415 - only for a time given as a date

        digits = re.sub(r"(\.\d{6})\d+", r"\1", text)
        try:
            return datetime.fromisoformat(digits).astimezone().timestamp()
        except ValueError as error:
            raise UsageError(f'"{text}" is not a time', hint='write it like "2026-01-31T12:00:00Z"') from error
    try:
        return now - parse_duration(text)
    except ReconcilerError as error:
        raise UsageError(f'"{text}" is not a time', hint='write it like "2026-01-31T12:00:00Z" or "10m"') from error


def _tail(text: str) -> int | None:
    if text == "all" or text.startswith("-"):
        return None
    if not text.isdecimal():
        raise UsageError(f'--tail: "{text}" is not a number of lines', hint='give a number, or "all"')
    return int(text)
