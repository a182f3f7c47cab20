"""Where in the spec the fault lies that made a step fail: runtimes know no specs, so their errors have no positions.

For `converge` only, and only after a failure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.masking import masked_words
from reconciler.sources.files import LARGEST, STANDARD_INPUT_SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from reconciler.kits.source import Position
    from reconciler.model.desired import Stack
    from reconciler.model.plan import Step

_PROGRAM = ("entrypoint", "command", "image")
_FIELDS = {
    "no-such-command": _PROGRAM,
    "not-executable": _PROGRAM,
    "no-command": _PROGRAM,
    "user": ("user", "image"),
    "working-dir": ("working_dir", "image"),
    "group": ("group_add", "image"),
    "tmpfs": ("tmpfs",),
    "device": ("devices",),
    "seccomp": ("security_opt",),
    "platform": ("platform", "image"),
    "mount": ("volumes", "volumes_from", "image"),
    "port-taken": ("ports",),
    "no-such-address": ("ports",),
    "link": ("links",),
    "volumes-from": ("volumes_from",),
}
"""By the code of an error the settings that may be at fault: the first that the spec has is the one to look at."""


def locate(failed: Iterable[tuple[Step, BaseException]], stack: Stack) -> None:
    """Give the errors of failed steps their position in the stack's spec, and the line, where a setting is at fault."""
    for step, error in failed:
        kind, _, key = step.action.subject.partition(" ")
        container = stack.containers.get(key) if kind == "container" else None
        if container is None or not isinstance(error, ReconcilerError) or error.position:
            continue
        for name in _FIELDS.get(error.code, ()):
            path = ("containers", container.key, name)
            if path in stack.positions or getattr(container, name):
                value = getattr(container, name)
                error.position = stack.position_of(*path, *_item(stack, value, error.message))
                error.excerpt = _line(error.position) if error.position and not _has_secret(name, value) else ""
                break


def _item(stack: Stack, value: Any, message: str) -> tuple[int, ...]:
    """The index of the item of a setting that the message names; () where that is not to be told, or it is no list."""
    if not isinstance(value, tuple) or not value or isinstance(value[0], str):
        return ()
    if len(value) == 1:
        return (0,)
    for clues in (_clues(stack, item) for item in value), (_lesser_clues(item) for item in value):
        found = [index for index, words in enumerate(clues) if any(_mentions(message, word) for word in words)]
        if len(found) == 1:
            return (found[0],)
    return ()


def _clues(stack: Stack, item: Any) -> tuple[str, ...]:
    """The words that stand for a link, a mount, a port or a `volumes_from` in an engine's message."""
    if (key := getattr(item, "container", "")) in stack.containers:
        return (stack.containers[key].name,)
    if port := getattr(item, "host_port", 0):
        return (f"{port}/{item.protocol}", f"from {port} to")
    return (getattr(item, "target", ""),)


def _lesser_clues(item: Any) -> tuple[str, ...]:
    """Words that several items may share."""
    return (getattr(item, "source", ""), getattr(item, "host_ip", ""))


def _mentions(message: str, word: str) -> bool:
    """Whether the word stands in the message by itself: not within a longer name, a path not within a deeper one."""
    return bool(word) and re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w.-]|/\w)", message) is not None


def _has_secret(name: str, value: Any) -> bool:
    """Whether a command has a password among its words, which masking a line may not see."""
    return name in _PROGRAM[:2] and value is not None and masked_words(list(value)) != list(value)


def _line(position: Position) -> str:
    """The line as messages show it, "" where the file can't be read again (standard input) or has become shorter."""
    if position.file == STANDARD_INPUT_SHOWN:
        return ""
    from reconciler.spec.nodes import Source  # noqa: PLC0415 - after a failure only

    try:
        with open(position.file, "rb") as file:
            text = file.read(LARGEST).decode()
    except (OSError, ValueError):
        return ""
    return Source(position.file, text).excerpt(position.line, position.column)
