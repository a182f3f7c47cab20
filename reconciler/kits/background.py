"""Work that goes on in a thread meanwhile, because it waits for the kernel or another process; its result later."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Background(Generic[T]):
    """A function that has begun. Whoever begins it waits for its end, by `result` or `join`, whatever happens.

    A `daemon` is given up where the program ends before: for what is as good left half-done, as when a user presses
    Ctrl-C.
    """

    def __init__(self, name: str, function: Callable[[], T], *, daemon: bool = False) -> None:
        self._function = function
        self._results: list[T] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=daemon)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._failure = error

    def join(self) -> None:
        """Wait for the end, good or bad."""
        self._thread.join()

    def result(self) -> T:
        """Wait for the end; what the function returned, or raised."""
        self.join()
        if self._failure:
            raise self._failure
        return self._results[0]
