"""The embedded runtime: both ports over `engine.facade.Engine`. The only one that may import the engine."""

from reconciler.runtimes.embedded.runtime import EmbeddedRuntime

__all__ = ["EmbeddedRuntime"]
