"""Positions in the text a user wrote: where a value stands, kept from the YAML file into the plan.

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
