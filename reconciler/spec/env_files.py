r"""Files of variables: `env_file` of a container and `.env` beside a spec. For the spec room only.

The format is Compose's: NAME=value a line, `export` before it is ignored, # begins a comment at the start of a line
or after white space, single quotes keep everything as it is, double quotes know \n and friends, both may span lines,
and variables are replaced outside single quotes. `docker run --env-file` differs: it keeps quotes and dollars.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.source import VARIABLE, Origin
from reconciler.kits.text import quote
from reconciler.spec.loader import decode
from reconciler.spec.nodes import Scalar
from reconciler.spec.variables import VariableError, substitute

if TYPE_CHECKING:
    from reconciler.kits.source import Position
    from reconciler.sources.tree import Tree
    from reconciler.spec.findings import Findings
    from reconciler.spec.nodes import Source
    from reconciler.spec.variables import Variables

_LINE = re.compile(r"(?:export[ \t]+)?(?P<name>[^\s=:#'\"]+)[ \t]*(?P<sign>[=:])?[ \t]*(?P<value>.*)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$$", "'": "'"}
_COMMENT = re.compile(r"(?:^|\s)#.*")


class Assignment(Scalar):
    """One variable of a file: its name, and where it stands. `text` is the value as it applies."""

    __slots__ = ("name",)

    def __init__(self, source: Source, line: int, column: int, name: str, text: str) -> None:
        super().__init__(source, line, column, text, plain=False)
        self.name = name


def read(tree: Tree, path: str, data: bytes, variables: Variables, findings: Findings) -> dict[str, Assignment]:
    """The variables in the bytes of the file at `path` of `tree`."""
    try:
        source = decode(tree.display(path), data)
    except ReconcilerError as error:
        findings.take(error)
        return {}
    return parse(source, variables, findings)


def parse(source: Source, variables: Variables, findings: Findings) -> dict[str, Assignment]:
    """The file's variables by name; a later line wins, and earlier lines serve later ones as variables.

    A name without `=` takes its value from `variables`, and is left out when it is not set there.
    """
    found: dict[str, Assignment] = {}
    lines = source.text.splitlines()
    number = 0
    while number < len(lines):
        text = lines[number].strip()
        number += 1
        if not text or text.startswith("#"):
            continue
        column = len(lines[number - 1]) - len(lines[number - 1].lstrip()) + 1
        match = _LINE.fullmatch(text)
        at = Assignment(source, number, column, match["name"] if match else "", "")
        if not match:
            findings.add("a line of an env file is NAME=value", at, hint="put # before a comment")
            continue
        if not match["sign"] and match["value"] and not match["value"].startswith("#"):
            findings.add(f"the name {quote(text.partition('=')[0].strip())} contains white space", at)
            continue
        if not match["sign"]:
            value = variables.get(at.name)
            if value is not None:
                at.origins = (Origin(VARIABLE, at.name, variables.place_of(at.name)),)
        else:
            raw, number = _gather(match["value"], lines, number)
            value = _value(raw, at, _Layered(found, variables), findings)
        if value is not None:
            at.text = value
            found[at.name] = at
    return found


class _Layered:
    """Variables of a file's earlier lines, then those from outside."""

    def __init__(self, found: dict[str, Assignment], outer: Variables) -> None:
        self._found = found
        self._outer = outer

    def get(self, name: str) -> str | None:
        value = self._outer.get(name)
        return self._found[name].text if value is None and name in self._found else value

    def place_of(self, name: str) -> Position | None:
        return self._found[name].position if self._outer.get(name) is None else self._outer.place_of(name)

    def names(self) -> list[str]:
        return [*self._found, *self._outer.names()]


def _gather(value: str, lines: list[str], number: int) -> tuple[str, int]:
    """A quoted value with the lines that it spans, and the number of lines read so far."""
    mark = value[:1]
    if mark not in ("'", '"') or _closing(value, mark) >= 0:
        return value, number
    for end in range(number, len(lines)):
        if _closing("x" + lines[end], mark) >= 0:
            return "\n".join([value, *lines[number : end + 1]]), end + 1
    return value, number


def _closing(text: str, mark: str) -> int:
    """Where the quote ends that begins at the first character, -1 when it does not."""
    at = 1
    while (at := text.find(mark, at)) >= 0:
        slashes = len(text[:at]) - len(text[:at].rstrip("\\"))
        if mark == "'" or slashes % 2 == 0:
            return at
        at += 1
    return -1


def _value(raw: str, at: Assignment, variables: _Layered, findings: Findings) -> str | None:
    mark = raw[:1]
    if mark not in ("'", '"'):
        return _substituted(_COMMENT.sub("", raw).rstrip(), at, variables, findings)
    end = _closing(raw, mark)
    if end < 0:
        findings.add(f"the quote after {at.name}= is not closed", at)
        return None
    rest = raw[end + 1 :].strip()
    if rest and not rest.startswith("#"):
        findings.add(f"there is text after the closing quote of {at.name}", at, hint="put # before a comment")
        return None
    inner = raw[1:end]
    if mark == "'":
        return inner
    inner = _ESCAPE.sub(lambda m: _ESCAPES.get(m[1], m[0]), inner)
    return _substituted(inner, at, variables, findings)


def _substituted(text: str, at: Assignment, variables: _Layered, findings: Findings) -> str | None:
    try:
        value, at.origins = substitute(text, variables)
    except VariableError as error:
        findings.add(error.message, at, hint=error.hint, code="bad-variable")
        return None
    return value
