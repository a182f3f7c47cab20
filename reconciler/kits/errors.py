"""The error types that reach a user: what is wrong, where, and what to do about it.

Few types on purpose: a caller that must tell errors apart looks at `code`, a stable machine-readable word.
Foreign exceptions are mapped to these where they enter (the adapters, the kernel wrappers, the loader). Anyone may import it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.kits.source import Position

EXIT_ERROR = 1
EXIT_CHANGES_PENDING = 2
EXIT_ROLLED_BACK = 3
EXIT_NOT_HEALTHY = 4
EXIT_LOCKED = 5
EXIT_USAGE = 125
EXIT_INTERRUPTED = 130


class ReconcilerError(Exception):
    """An error with a message for a person, and optionally a position, the line itself and a hint.

    `message` is one sentence without a full stop that names the thing that is wrong; `hint` says what to do;
    `excerpt` is the text of the line at `position`. `code` is for programs and stays the same over releases.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "error",
        position: Position | None = None,
        excerpt: str = "",
        hint: str = "",
        exit_code: int = EXIT_ERROR,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.position = position
        self.excerpt = excerpt
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        """Several lines: `file:line:col: message`, the line with a caret below the column, the hint."""
        place = f"{self.position}: " if self.position else ""
        lines = [place + self.message]
        if self.excerpt and self.position:
            text, caret = _window(self.excerpt.expandtabs(1), self.position.column - 1)
            lines += ["    " + text, "    " + " " * caret + "^"]
        if self.hint:
            lines.append("  hint: " + self.hint)
        return "\n".join(lines)


def _window(line: str, at: int, width: int = 100) -> tuple[str, int]:
    """The part of a long line around a column, and where the column is in it."""
    if len(line) <= width + 20:
        return line, min(at, len(line))
    start = max(0, min(at - width // 2, len(line) - width))
    left, right = ("..." if start else ""), ("..." if start + width < len(line) else "")
    return left + line[start : start + width] + right, at - start + len(left)


class Problems(ReconcilerError):  # noqa: N818 - the plural reads as what it is
    """Several errors found in one go, in the order of their positions."""

    def __init__(self, problems: Iterable[ReconcilerError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.message, code=first.code, position=first.position, exit_code=first.exit_code)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def problems_of(error: ReconcilerError) -> tuple[ReconcilerError, ...]:
    """The single errors that an error stands for: of `Problems` each, of any other itself."""
    return error.problems if isinstance(error, Problems) else (error,)


def as_failure(error: BaseException) -> ReconcilerError:
    """Whatever was raised as an error for a person: foreign ones are the machine's (OSError) or our own fault."""
    if isinstance(error, ReconcilerError):
        return error
    if isinstance(error, OSError):
        places = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up"
            return ReconcilerError(
                full + (f": {places[-1]} could not be written" if places else ""),
                code="disk-full",
                hint="make room (`df -h` and `df -i` say where there is none), and try again",
            )
        text = ": ".join([*places, error.strerror or str(error)])
        return ReconcilerError(text, code="system", hint="--debug shows where it happened")
    return ReconcilerError(
        f"this is a fault of reconciler itself: {type(error).__name__}: {error}",
        code="internal",
        hint="please report it with what --debug shows",
    )


class LockedError(ReconcilerError):
    """Somebody else holds a lock and the caller did not want to wait."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code="locked", hint=hint, exit_code=EXIT_LOCKED)


class InterruptedRunError(ReconcilerError):
    """The user asked to stop, and the run ended at a safe point."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code="interrupted", hint=hint, exit_code=EXIT_INTERRUPTED)


class UsageError(ReconcilerError):
    """The command line asks for something that does not exist or does not go together."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, code="usage", hint=hint, exit_code=EXIT_USAGE)
