"""Collecting everything that is wrong with a spec, to report it in one go. For the spec room only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from reconciler.kits import text
from reconciler.kits.errors import Problems, ReconcilerError
from reconciler.kits.source import Position
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.spec.nodes import Node

_NOWHERE = Position("", 0, 0)
MOST = 50
"""Findings that are shown; a file with more is broken in one way that repeats."""


class BadValueError(ValueError):
    """A value that means nothing where it stands; whoever knows the place adds it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Findings:
    """Errors of one spec, each at a node."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, str], ReconcilerError] = {}

    def add(self, message: str, at: Node, *, hint: str = "", code: str = "bad-spec") -> None:
        """Keep an error that stands at `at`; the same one at the same place counts once."""
        self.take(finding(message, at, hint=hint, code=code))

    def take(self, error: ReconcilerError) -> None:
        """Keep an error that knows its place."""
        self._found.setdefault((error.position, error.message), error)

    def fail(self) -> NoReturn:
        """Raise what was found, in the order of positions: one error as itself, several as `Problems`."""
        errors = sorted(self._found.values(), key=lambda e: e.position or _NOWHERE)
        if len(errors) == 1:
            raise errors[0]
        if len(errors) > MOST:
            rest = ReconcilerError(f"and {len(errors) - MOST} more problems", code="bad-spec")
            errors = [*errors[:MOST], rest]
        raise Problems(errors)

    def check(self) -> None:
        """Raise if anything was found."""
        if self._found:
            self.fail()


def finding(message: str, at: Node, *, hint: str = "", code: str = "bad-spec") -> ReconcilerError:
    """An error at a node, with its line."""
    excerpt = at.source.excerpt(at.line, at.column)
    return ReconcilerError(message, code=code, position=at.position, excerpt=excerpt, hint=hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, whatever its case and dashes; "" if none is near."""
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    return folded.get(text.nearest(word.lower().replace("-", "_"), folded), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message: "; did you mean 'x'?", or nothing."""
    near = nearest(word, known)
    return f"; did you mean {quote(near)}?" if near else ""
