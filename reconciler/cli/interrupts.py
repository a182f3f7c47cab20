"""Ctrl-C while a pass runs: the first time it ends at the next safe point, the second time at once.

What is cut off half-made is recognised by the next apply, so "at once" is safe too, just less tidy.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from reconciler.kits.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Between `catch` and `release`, SIGINT and SIGTERM turn `asked()` true instead of raising; a second one quits."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        return self._asked

    def catch(self) -> None:
        """From now on. For the main thread."""
        self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}

    def release(self) -> None:
        """As it was before; nothing if nothing was caught."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(EXIT_INTERRUPTED)
        self._asked = True
        with contextlib.suppress(OSError):
            # Straight to the descriptor: a handler may run in the middle of a print to the stream.
            os.write(2, b"\nstopping at the next safe point; once more quits at once\n")  # noqa: TID251
