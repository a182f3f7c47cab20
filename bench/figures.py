"""The arithmetic of the benchmark: medians, and who is how much faster than whom. Knows nothing of containers."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Spread:
    """The middle of some measurements and how far they reach."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None for no values."""
        return cls(statistics.median(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Aim:
    """`times`: how much faster than the best peer; `most`: seconds that it may take at the most; 0 = any."""

    times: float
    most: float = 0.0


def best(peers: Mapping[str, Spread]) -> str:
    """Whose median is the least; "" without peers."""
    return min(peers, key=lambda name: peers[name].median) if peers else ""


def times_faster(ours: Spread, peers: Mapping[str, Spread]) -> float | None:
    """How many of ours fit into the best peer's time; None when nobody else can do it."""
    return peers[best(peers)].median / ours.median if peers else None


def reached(ours: Spread, peers: Mapping[str, Spread], aim: Aim) -> bool:
    """Whether the medians meet the aim. Where no peer has the operation only its longest time counts."""
    times = times_faster(ours, peers)
    return (times is None or times >= aim.times) and (not aim.most or ours.median <= aim.most)
