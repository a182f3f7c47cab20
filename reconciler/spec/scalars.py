"""What a plain scalar means: the core schema of YAML 1.2, not the one of YAML 1.1 that PyYAML has.

So `no`, `on`, `22:22`, `1_000` and dates are text. One deliberate step further: a number with a leading zero (`0644`)
is text too, because its writer meant a mode or an identifier. For the spec room only.
Source: YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import re

_WORDS: dict[str, bool | float | None] = {"": None, "~": None}
_WORDS.update(dict.fromkeys(("null", "Null", "NULL")))
_WORDS.update(dict.fromkeys(("true", "True", "TRUE"), True))
_WORDS.update(dict.fromkeys(("false", "False", "FALSE"), False))
_WORDS.update({sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")})
_WORDS.update(dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")))

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_LONGEST = 400
"""Digits. Nothing in a spec is a longer number, and Python refuses to convert thousands of digits."""


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar with this source text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789" or len(text) > _LONGEST:
        return text
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    return float(text) if _FLOAT.fullmatch(text) else text
