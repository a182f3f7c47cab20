"""Showing text that others wrote: made safe for a terminal, cut, counted, quoted; and the nearest word to one meant.

Names, log lines, image metadata and specs from Git are hostile: a control character in them must not drive a
terminal. What comes out is for a person's eyes only, not for shells or files. Not for secrets (see `masking`).
Anyone may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def printable(text: str, *, keep: str = "") -> str:
    r"""`text` with everything escaped that a terminal would obey or hide: ESC is shown as \x1b.

    Control characters, bidirectional and other format characters, unusual spaces and lone surrogates are escaped as
    Python spells them; characters in `keep` ("\n", "\t") stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def printable_log(text: str) -> str:
    """A container's own output for a terminal: colours and tabs stay, nothing that moves the cursor or asks."""
    if text.isprintable():
        return text
    import re  # noqa: PLC0415 - most lines are plain

    parts = re.split(r"(\x1b\[[0-9;:]*m)", text)
    return "".join(part if index % 2 else printable(part, keep="\t") for index, part in enumerate(parts))


def quote(text: str, limit: int = 60) -> str:
    """`text` in single quotes for a message: escaped, and cut in the middle of nowhere when longer than `limit`."""
    shown = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"'{printable(shown)}'"


def double_quote(text: str) -> str:
    """`text` in double quotes with quotes and backslashes escaped too: the form of Go's %q, which Docker uses."""
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def ellipsis(text: str, width: int) -> str:
    """Cut to `width` characters, the last of which then is an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 container", "3 containers"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(items: list[str], word: str = "and") -> str:
    """Items as a sentence has them: "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was most likely meant to be, "" if none is near."""
    from difflib import get_close_matches  # noqa: PLC0415 - only on an error's way out

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.6)), "")
