"""The same for many names at a time, so that grace periods do not add up. For `shell`."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from reconciler.kits.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST = 50
"""At a time, as Docker's command line has it."""


def attempts(names: Sequence[str], act: Callable[[str], None]) -> list[Callable[[], None]]:
    """Begin `act` on every name; for each a function that waits for its end and raises what it raised."""
    room = threading.Semaphore(_MOST)

    def attempt(name: str) -> None:
        with room:
            act(name)

    return [Background(name, partial(attempt, name), daemon=True).result for name in names]
