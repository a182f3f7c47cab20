"""Positions in the text a user wrote, and what a value came from on its way there: kept from the spec into the plan.

Not for reading files: a position is a name for a place, nothing more. Anyone may import it.
"""

from __future__ import annotations

from reconciler.kits.frozen import Frozen


class Position(Frozen):
    """A place in a text file; line and column count from 1, as editors do."""

    file: str
    line: int
    column: int

    def __lt__(self, other: Position) -> bool:
        return (self.file, self.line, self.column) < (other.file, other.line, other.column)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


VARIABLE, DEFAULT, UNSET, ENV_FILE, IMAGE = "variable", "default", "unset", "env_file", "image"


class Origin(Frozen):
    """What a value, or a part of it, came from beside the text at its position.

    `how` is "variable" (`name` is set; `position` where in a file of variables, None = in the environment), "default"
    (that of `name`, which is not set), "unset" (`name` is not, and `${name:+...}` says nothing for that), "env_file"
    (`position`: where the spec names the file that the value stands in) or "image" (the image's own value counts).
    """

    how: str
    name: str = ""
    position: Position | None = None

    def __str__(self) -> str:
        if self.how == VARIABLE:
            return f"${{{self.name}}} from {self.position or 'the environment'}"
        if self.how == DEFAULT:
            return f"default of ${{{self.name}}}"
        if self.how == UNSET:
            return f"${{{self.name}}} is not set"
        if self.how == ENV_FILE:
            return f"env_file at {self.position}"
        return "the image's counts"
