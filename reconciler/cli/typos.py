"""The verb or option that was most likely meant. Stricter than `kits.text.nearest`: a wrong guess is worse than none.

For the command line's own words, on an error's way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def meant_by(word: str, known: Iterable[str]) -> str:
    """The known word that is one slip away (two from five letters on), or that it begins; "" if there is none."""
    bare = word.lstrip("-")
    allowed = min(2, 1 + len(bare) // 5) if len(bare) > 1 else 0
    near = [(distance(word, other), other) for other in known if other.startswith("--") == word.startswith("--")]
    best = min((pair for pair in near if pair[0] <= allowed), default=None)
    if best:
        return best[1]
    begun = [other for _, other in near if len(bare) > 1 and other.startswith(word)]
    return begun[0] if len(begun) == 1 else ""


def distance(one: str, other: str) -> int:
    """How many letters must be put in, left out, replaced or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
