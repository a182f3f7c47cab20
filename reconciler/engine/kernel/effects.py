"""The seam that every effect passes: counted, traced, failed or crashed by whoever installs a watcher.

A watcher is for tests, tracing and fault injection; without one an effect costs one `if`. Effects are numbered in the
order in which they begin; the numbers are unique in the process also with several threads.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


class Watcher(Protocol):
    """Sees effects. What `before` or `after` raises, the caller of the effect gets."""

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Called before the system call is made."""

    def after(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Called after the system call succeeded."""


_watcher: Watcher | None = None


def watch(watcher: Watcher | None) -> Watcher | None:
    """Install `watcher` for all effects of this process (None: none); returns the one before."""
    global _watcher
    previous, _watcher = _watcher, watcher
    return previous


def effect(function: Callable[P, R]) -> Callable[P, R]:
    """Mark `function` as an effect: exactly one state-changing system call, or one process started."""
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"

    @functools.wraps(function)
    def seam(*args: P.args, **kwargs: P.kwargs) -> R:
        watcher = _watcher
        if watcher is None:
            return function(*args, **kwargs)
        arguments = (*args, *kwargs.values())
        watcher.before(name, arguments)
        result = function(*args, **kwargs)
        watcher.after(name, arguments)
        return result

    return seam
