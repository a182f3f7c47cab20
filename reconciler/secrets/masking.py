"""Keeping secrets off the screen: which names look like one, and what is shown in place of their values.

Not for storing or decrypting secrets. A name decides, never a value: guessing from values would miss weak passwords.
Anyone above the engine may import it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

MASK = "****"

_ENDINGS = (
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
)
_WORDS = {"PASS", "SALT"}
_KEYS = {"ACCESS", "API", "AUTH", "ENCRYPTION", "MASTER", "PRIVATE", "SECRET", "SECURE", "SIGNING", "SSH"}
_PLAIN_LAST = {"FILE", "PATH", "DIR", "URL", "URI", "TTL", "EXPIRY", "LENGTH"}
"""What follows a secret's name to name something about it: MYSQL_ROOT_PASSWORD_FILE holds a path."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ASSIGNED = re.compile(r"""([A-Za-z][\w.-]*)["']?\s*[:=]\s*""")


@lru_cache(maxsize=1024)
def looks_secret(name: str) -> bool:
    """Whether a variable, label or setting of this name is likely to hold a secret (DB_PASSWORD, apiKey, PGPASSWORD)."""
    words = [word.upper() for word in _WORD.findall(name)]
    if not words or words[-1] in _PLAIN_LAST:
        return False
    if words[-1] == "PWD" and len(words) > 1 and words[-2] != "OLD":
        return True
    pairs = pairwise(words)
    return (
        any(word.endswith(_ENDINGS) or word in _WORDS for word in words)
        or any(second in ("KEY", "KEYS") and first in _KEYS for first, second in pairs)
    )  # fmt: skip


def mask(value: str) -> str:
    """What is shown instead of a secret. Its length says nothing about the secret's."""
    return MASK if value else ""


def mask_variables(variables: dict[str, str]) -> dict[str, str]:
    """A copy of an environment in which the values of names that look like a secret are masked."""
    return {name: mask(value) if looks_secret(name) else value for name, value in variables.items()}


def mask_line(line: str) -> str:
    """A line of a spec or env file with the values masked that follow a name that looks like a secret.

    Columns before the first masked value stay. In a flow map ({A: b, C: d}) a bare value ends at a comma or brace.
    """
    out, end = [], 0
    for match in _ASSIGNED.finditer(line):
        if match.start() < end or not looks_secret(match.group(1)):
            continue
        stop = _value_end(line, match.end())
        if line[match.end() : stop].strip():
            out += [line[end : match.end()], MASK]
            end = stop
    return "".join([*out, line[end:]])


def _value_end(line: str, start: int) -> int:
    """Where the value that begins at `start` ends: after its closing quote, in a flow map at , or }, else at the end."""
    if line[start : start + 1] in ("'", '"'):
        close = line.find(line[start], start + 1)
        return len(line) if close < 0 else close + 1
    if "{" not in line[:start]:
        return len(line.rstrip())
    ends = [at for at in (line.find(",", start), line.find("}", start)) if at >= 0]
    return min(ends, default=len(line))
