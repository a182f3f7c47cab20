"""Which values must not be shown, and what is shown in their place: the one notion of that, for plans, errors and verbs.

A name decides, or a password inside an address; never what a value looks like, which would miss weak passwords. Not for
keeping or resolving secrets. Imports nothing of the project; anyone may import it.
"""

from __future__ import annotations

import functools
import re

MASK = "***"

_WORDS = re.compile(
    r"pass(word|wd|phrase)?s?|secrets?|tokens?|credentials?|auth|private|apikeys?|keys?|salts?|dsn",
)
_GLUED = re.compile(r"password|passwd|passphrase|(secret|token|credential|apikey|privatekey|accesskey)s?[0-9]*$")
_HARMLESS_KEYS = ("public", "pub", "primary", "foreign", "partition", "sort", "host")
_ABOUT = ("file", "path", "dir", "url", "uri", "ttl", "expiry", "length")
"""What ends the name of something about a secret: MYSQL_ROOT_PASSWORD_FILE holds a path."""
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ARGUMENT = re.compile(r"(-{0,2}[A-Za-z][\w.-]*)=.+", re.DOTALL)
_USERINFO = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_ASSIGNED = re.compile(r"""([A-Za-z][\w.-]*)["']?\s*[:=]\s*""")


@functools.lru_cache(maxsize=1024)
def looks_secret(name: str) -> bool:
    """Whether a variable of this name most likely holds a secret: MYSQL_ROOT_PASSWORD, api-key, AUTH_TOKEN, dbPass.

    Errs on the side of hiding.
    """
    words = [word for word in _SEPARATORS.split(_HUMP.sub("_", name).lower()) if word]
    if not words or words[-1] in _ABOUT:
        return False
    for before, word in zip(["", *words], words, strict=False):
        if word in ("key", "keys") and before in _HARMLESS_KEYS:
            continue
        if word == "pwd" and before not in ("", "old"):  # else it is where a shell is
            return True
        if _WORDS.fullmatch(word) or _GLUED.search(word):
            return True
    return False


def masked(name: str, value: str) -> str:
    """The value as it may be shown under this name; "" stays "", so that an unset password can be seen."""
    if value and looks_secret(name):
        return MASK
    return _USERINFO.sub(rf"\1:{MASK}@", value)


def masked_words(words: list[str]) -> list[str]:
    """A command's words as they may be shown: without what follows --password, --password= or TOKEN=."""
    shown = []
    hide = False
    for word in words:
        found = _ARGUMENT.fullmatch(word)
        if hide or (found and looks_secret(found[1])):
            shown.append(f"{found[1]}={MASK}" if found and not hide else MASK)
        else:
            shown.append(masked("", word))
        hide = not hide and word.startswith("--") and "=" not in word and looks_secret(word)
    return shown


def masked_line(line: str) -> str:
    """A line of a spec or env file with the values masked that follow a name that looks like a secret.

    Columns before the first masked value stay. In a flow map ({A: b, C: d}) a bare value ends at a comma or brace.
    """
    out, end = [], 0
    for match in _ASSIGNED.finditer(line):
        if match.start() < end or not looks_secret(match[1]):
            continue
        stop = _value_end(line, match.end())
        if line[match.end() : stop].strip():
            out += [masked("", line[end : match.end()]), MASK]
            end = stop
    return "".join([*out, masked("", line[end:])])


def _value_end(line: str, start: int) -> int:
    """Where the value that begins at `start` ends: after its closing quote, in a flow map at , or }, else at the end."""
    if line[start : start + 1] in ("'", '"'):
        close = line.find(line[start], start + 1)
        return len(line) if close < 0 else close + 1
    if "{" not in line[:start]:
        return len(line.rstrip())
    ends = [at for at in (line.find(",", start), line.find("}", start)) if at >= 0]
    return min(ends, default=len(line))
