"""Log lines of the engine as records of the port: times in UTC, bounds in time."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from reconciler.runtimes.console import LogRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.containers.logs import Line
    from reconciler.runtimes.console import LogOptions


def records(lines: Iterator[Line], options: LogOptions) -> Iterator[LogRecord]:
    """Those of the lines that are within the bounds."""
    return (found for found in map(_record, lines) if _within(found, options))


def _record(line: Line) -> LogRecord:
    return LogRecord(line.stream, line.data, _utc(line.time), line.partial)


def _utc(text: str) -> str:
    """Conmon stamps local time with nanoseconds and an offset; Docker shows UTC."""
    stamp, nanoseconds, offset = text[:19], text[20:29], text[29:]
    if offset in ("+00:00", "-00:00", "Z"):
        return f"{stamp}.{nanoseconds}Z"
    try:
        moment = datetime.datetime.fromisoformat(stamp + offset).astimezone(datetime.UTC)
    except ValueError:
        return text
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds}Z"


def _within(record: LogRecord, options: LogOptions) -> bool:
    if options.since is None and options.until is None:
        return True
    try:
        moment = datetime.datetime.fromisoformat(f"{record.time[:26]}Z").timestamp()
    except ValueError:
        return True
    return (options.since is None or moment >= options.since) and (options.until is None or moment <= options.until)
