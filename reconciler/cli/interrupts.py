"""Ctrl-C, and a terminal that is closed, while a pass runs: it ends at the next safe point, a second Ctrl-C at once.

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

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Between `catch` and `release`, SIGINT, SIGTERM and SIGHUP turn `asked()` true; a second SIGINT or SIGTERM quits.

    SIGHUP does not count: a terminal that is closed brings several, and a SIGTERM too at a logout. What was ignored
    when we were started (by nohup, or in the background of a script) stays so.
    """

    def __init__(self) -> None:
        self._asked = False
        self._insisted = False
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        return self._asked

    def catch(self) -> None:
        """From now on. For the main thread."""
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._hear) for number in heard}

    def release(self) -> None:
        """As it was before; nothing if nothing was caught."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if number == signal.SIGHUP:
            return  # nobody is there to read
        if self._insisted:
            os._exit(EXIT_INTERRUPTED)
        self._insisted = True
        with contextlib.suppress(OSError):
            # Straight to the descriptor: a handler may run in the middle of a print to the stream.
            os.write(2, b"\nstopping at the next safe point; once more quits at once\n")  # noqa: TID251
