"""Sizes and durations: read what people write, and write what they read, as Docker does.

Not for formatting dates in logs or plans. Imports nothing of the project but errors; anyone may import it.
"""

from __future__ import annotations

import re

from reconciler.kits.errors import ReconcilerError

# Compiled on first use: most verbs only write durations.
_SIZE = r"(?ai)(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?"
_DURATION_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)"

_SIZE_FACTORS = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t"))}
_TOO_LARGE = 2.0**63
"""Bytes that neither the kernel nor a file system can count."""
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}


def parse_size(text: str) -> int:
    """Bytes of "10m", "1.5 GiB", "512" or "64kb": a letter is a power of 1024, as for Docker's memory and log options.

    As strict as a spec: without white space around it. Raises ReconcilerError with code "bad-size".
    """
    found = re.fullmatch(_SIZE, text)
    size = float(found[1]) * _SIZE_FACTORS[found[2].lower()] if found else _TOO_LARGE
    if size >= _TOO_LARGE:
        raise ReconcilerError(f'"{text}" is not a size', code="bad-size", hint='write it like "10m", "1.5g" or "65536"')
    return int(size)


def parse_duration(text: str) -> float:
    """Seconds of "1m30s", "500ms", "1.5h", "2d" or a bare number of seconds ("10").

    Go's units, which Compose uses, and Compose's d and w. As strict as `parse_size`. Raises ReconcilerError with code
    "bad-duration".
    """
    if re.fullmatch(r"\d+(?:\.\d+)?", text, re.ASCII):
        return float(text)
    total, end = 0.0, 0
    for part in re.finditer(_DURATION_PART, text, re.ASCII):
        if part.start() != end:
            break
        total += float(part[1]) * _SECONDS[part[2]]
        end = part.end()
    if not end or end != len(text):
        raise ReconcilerError(
            f'"{text}" is not a duration', code="bad-duration", hint='write it like "90s", "1m30s" or "500ms"'
        )
    return total


def human_duration(seconds: float) -> str:
    """How long, as `docker ps` says it: "Less than a second", "About a minute", "47 hours", "3 weeks"."""
    whole = max(0, int(seconds))
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds / 3600) // 24 // 365} years"


def human_size(count: float) -> str:
    """Bytes as `docker images` says it: decimal units, three significant digits ("72.8MB", "1.24kB", "0B")."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g}{unit}" if size < 999.5 else f"{size:.0f}{unit}"
        size /= 1000
    return f"{size:.3g}PB"


def binary_size(count: float) -> str:
    """Bytes as limits are thought of: "32 MiB", "1.5 GiB", "512 B"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
