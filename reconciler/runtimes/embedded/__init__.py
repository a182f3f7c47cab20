"""The embedded runtime: both ports over `engine.facade.Engine`. The only one that may import the engine.

What an apply needs and what the other verbs need are loaded apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.runtimes.embedded.console import EmbeddedConsole
    from reconciler.runtimes.embedded.runtime import EmbeddedRuntime


def open_runtime() -> EmbeddedRuntime:
    """The executor's port; raises ReconcilerError when the roots can't be used."""
    from reconciler.runtimes.embedded.runtime import EmbeddedRuntime  # noqa: PLC0415

    return EmbeddedRuntime()


def open_console() -> EmbeddedConsole:
    """The verbs' port; raises ReconcilerError when the roots can't be used."""
    from reconciler.engine.facade import Engine  # noqa: PLC0415
    from reconciler.runtimes.embedded.console import EmbeddedConsole  # noqa: PLC0415

    return EmbeddedConsole(Engine())
