"""Points in time as users type them behind --since, --until and --filter until=. For those verbs."""

from __future__ import annotations

import re

from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.units import parse_duration


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
        return now - parse_duration(text.strip())
    except ReconcilerError as error:
        raise UsageError(f'"{text}" is not a time', hint='write it like "2026-01-31T12:00:00Z" or "10m"') from error
