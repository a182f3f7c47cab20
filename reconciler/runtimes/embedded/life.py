"""What this machine lacks for the life of a container: the judges of `refusals`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.desired import Container


def _init(_container: Container, _wanted: bool) -> tuple[str, str] | None:
    return None if runtime.find_init() else (runtime.NO_INIT, runtime.INIT_HINT)


JUDGES: dict[str, Callable[[Container, Any], tuple[str, str] | None]] = {"init": _init}
