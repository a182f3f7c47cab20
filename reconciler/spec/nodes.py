"""The tree that a YAML file becomes: scalars, sequences and mappings that know where they stand.

Data with positions, no parsing and no meaning. For the spec room only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.masking import looks_secret, masked_line
from reconciler.kits.source import Origin, Position
from reconciler.spec.scalars import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTION = "secrets"
"""A key of specs and Compose files that only names them."""


class Source:
    """A text file that nodes stand in: its name as shown, its text."""

    __slots__ = ("_lines", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self._lines: list[str] | None = None

    def line(self, number: int) -> str:
        """The line of this number, from 1; "" beyond the end."""
        if self._lines is None:
            self._lines = self.text.splitlines()
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def excerpt(self, number: int, column: int) -> str:
        """The line for a message that points at `column`: secrets masked, what a terminal would obey replaced.

        Columns are kept; where a masked value stands before `column` they cannot be, and there is no excerpt. Nor is
        there one of a line that is part of a secret's value.
        """
        whole = self.line(number)
        if self._is_of_a_secret(number):
            return ""
        line = masked_line(whole)
        if (
            line != whole
            and (rest := whole[column - 1 :])
            and line.endswith(rest)
            and not whole.startswith(line[: column - 1])
        ):
            return ""
        return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)

    def _is_of_a_secret(self, number: int) -> bool:
        """Whether the line belongs to the value of a key above it whose name looks like a secret's: a list, a text block."""
        line = self.line(number)
        indent = _indent(line)
        for above in range(number - 1, 0, -1):
            upper = self.line(above)
            outer = _indent(upper)
            in_it = outer < indent or (outer == indent and line.lstrip().startswith("-") and upper.lstrip()[:1] != "-")
            if not upper.strip() or not in_it:
                continue
            key, colon, _ = upper.strip().lstrip("- ").partition(":")
            if colon and key != _SECTION and looks_secret(key.strip("'\"")):
                return True
            line, indent = upper, outer
        return False


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class Node:
    """A place in a source; line and column count from 1."""

    __slots__ = ("column", "line", "source")

    def __init__(self, source: Source, line: int, column: int) -> None:
        self.source = source
        self.line = line
        self.column = column

    @property
    def position(self) -> Position:
        return Position(self.source.name, self.line, self.column)


class Scalar(Node):
    """A single value. `text` is the source text without quotes; `plain` says that it stood without quotes.

    `substituted` says that variables were replaced in it: it is text from then on, even where it stood without quotes.
    `failed` says that they could not be: what it means is unknown, so nothing more is said about it. `origins` are what
    the text came from beside the text of the source.
    """

    __slots__ = ("end_line", "failed", "origins", "plain", "substituted", "text")

    def __init__(self, source: Source, line: int, column: int, text: str, *, plain: bool, end_line: int = 0) -> None:
        super().__init__(source, line, column)
        self.text = text
        self.plain = plain
        self.end_line = end_line or line
        self.substituted = False
        self.failed = False
        self.origins: tuple[Origin, ...] = ()

    @property
    def value(self) -> str | int | float | bool | None:
        """The value by YAML 1.2's core schema: what is quoted is a string."""
        return resolve(self.text) if self.plain else self.text

    @property
    def truth(self) -> bool:
        """Whether it is true, for a scalar of which the shape is known to be true or false."""
        return resolve(self.text) is True

    @property
    def is_null(self) -> bool:
        return self.plain and self.value is None


class Sequence(Node):
    """A list of nodes."""

    __slots__ = ("items",)

    def __init__(self, source: Source, line: int, column: int) -> None:
        super().__init__(source, line, column)
        self.items: list[Node] = []


class Mapping(Node):
    """Keys in the order of the file. Each entry holds the key's scalar, for its position, and the value."""

    __slots__ = ("entries",)

    def __init__(self, source: Source, line: int, column: int) -> None:
        super().__init__(source, line, column)
        self.entries: dict[str, tuple[Scalar, Node]] = {}

    def get(self, key: str) -> Node | None:
        """The value under `key`, if there is one."""
        entry = self.entries.get(key)
        return entry[1] if entry else None

    def key(self, key: str) -> Scalar:
        """The key's own scalar."""
        return self.entries[key][0]

    def items(self) -> Iterator[tuple[str, Node]]:
        for key, (_, value) in self.entries.items():
            yield key, value


def origins_of(node: Node) -> tuple[Origin, ...]:
    """What a value came from beside the source's text: its own, or those of all that is in it, each once."""
    if isinstance(node, Scalar):
        return node.origins
    inside: list[Node] = []
    if isinstance(node, Sequence):
        inside = node.items
    elif isinstance(node, Mapping):
        inside = [value for _, value in node.items()]
    return tuple(dict.fromkeys(origin for each in inside for origin in origins_of(each)))


def kind_of(node: Node | None) -> str:
    """What a node is, in a user's words and with its article."""
    if isinstance(node, Mapping):
        return "a map"
    if isinstance(node, Sequence):
        return "a list"
    value: Any = node.value if isinstance(node, Scalar) else None
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    return "text" if isinstance(value, str) else "a number"
