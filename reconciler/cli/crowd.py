"""The same for many names at a time, so that grace periods do not add up. For `shell`."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST = 50
"""At a time, as Docker's command line has it."""


def attempts(names: Sequence[str], act: Callable[[str], None]) -> list[Callable[[], None]]:
    """Begin `act` on every name; for each a function that waits for its end and raises what it raised."""
    room = threading.Semaphore(_MOST)
    made = [_Attempt(room, partial(act, name)) for name in names]
    for one in made:
        one.thread.start()
    return [one.result for one in made]


class _Attempt:
    def __init__(self, room: threading.Semaphore, act: Callable[[], None]) -> None:
        self._room = room
        self._act = act
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with self._room:
            try:
                self._act()
            except BaseException as error:  # told where it is waited for
                self._error = error

    def result(self) -> None:
        self.thread.join()
        if self._error:
            raise self._error
