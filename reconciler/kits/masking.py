"""Which values must not be shown: told by the name of the variable, or by a password inside an address.

Not for keeping or resolving secrets (see `secrets`). Imports nothing of the project; anyone may import it.
"""

from __future__ import annotations

import re

MASK = "***"

_WORDS = re.compile(
    r"pass(word|wd|phrase)?s?|pwd|secrets?|tokens?|credentials?|auth|private|apikeys?|keys?|salts?|dsn",
)
_GLUED = re.compile(r"password|passwd|passphrase|secret|token|credential|apikey|privatekey|accesskey")
_HARMLESS_KEYS = ("public", "pub", "primary", "foreign", "partition", "sort", "host")
_ARGUMENT = re.compile(r"(-{0,2}[A-Za-z][\w.-]*)=.+", re.DOTALL)
_USERINFO = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")


def looks_secret(name: str) -> bool:
    """Whether a variable of this name most likely holds a secret: MYSQL_ROOT_PASSWORD, api-key, AUTH_TOKEN, dbPass.

    Errs on the side of hiding; a name whose last word is FILE or PATH says where a secret is, which is none.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) if word]
    if not words or words[-1] in ("file", "path", "dir"):
        return False
    for before, word in zip(["", *words], words, strict=False):
        if word in ("key", "keys") and before in _HARMLESS_KEYS:
            continue
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
