"""A spec's path to the stack it describes, by the cache where that still holds. For `converge` and verbs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.sources.files import STANDARD_INPUT, FileTree
from reconciler.state.spec_cache import SpecCache

if TYPE_CHECKING:
    from reconciler.model.desired import Stack


def read(path: str) -> Stack:
    """Read the spec, whatever is cached, and keep nothing. Raises ReconcilerError."""
    from reconciler.spec.resolve import load_stack  # noqa: PLC0415 - YAML and models: 100 ms that a cached spec saves

    return load_stack(FileTree(path, _standard_input), os.environ).stack


def resolve(path: str, *, remember: bool = True) -> Stack:
    """The stack of the spec at `path` as it is now; without `remember` nothing is written. Raises ReconcilerError."""
    if path == STANDARD_INPUT:
        return read(path)
    tree = FileTree(path, _standard_input)
    cache = SpecCache()
    if stack := cache.load(tree, os.environ):
        return stack
    from reconciler.spec.resolve import load_stack  # noqa: PLC0415 - as above

    if remember:
        cache.prepare()
    resolved = load_stack(tree, os.environ, salt=cache.key)
    if remember:
        cache.store(resolved.stack, resolved.inputs, tree, os.environ)
    return resolved.stack


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise ReconcilerError("standard input is closed", code="unreadable", hint="name a spec file, or pipe one in")
    return sys.stdin.buffer.read()
