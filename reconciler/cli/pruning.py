"""What verbs that prune have in common: filters, the question before, removing, and what is said of it. For those verbs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from reconciler.cli.moments import moment
from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.text import printable
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

    Labels = tuple[tuple[str, str | None, bool], ...]
    Filters = tuple[float | None, Labels]

_OVERTAKEN = ("running", "in-use", "not-found")
"""Codes of errors where somebody has started, taken or removed a thing meanwhile."""


def add_pruning(parser: Parser) -> None:
    """`--force` and `--filter`."""
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="FILTER",
        help='"until=24h" or a time: only what was made before; "label=KEY[=VALUE]", "label!=KEY[=VALUE]"',
    )


def confirmed(options: Any, shell: Shell, warning: str) -> bool:
    """Whether to go on: asked for on standard output, as docker does, unless it was said with --force.

    Raises UsageError where there is nobody to answer.
    """
    if options.force:
        return True
    shell.text(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer:
        shell.line()
        raise UsageError("nothing was removed: standard input gives no answer", hint="confirm it with --force")
    return answer.strip() in ("y", "Y")


def filters(options: Any) -> Filters:
    """(until, labels) as `console.UnusedImages` has them. Raises UsageError."""
    until: float | None = None
    labels = []
    for text in options.filter:
        name, has_value, value = text.partition("=")
        if not has_value or not value:
            raise UsageError(
                f'bad format of filter "{text}"', hint="write it like until=24h, label=KEY or label!=KEY=VALUE"
            )
        if name == "until":
            if until is not None:
                raise UsageError("there can be only one until filter")
            until = moment(value, time.time())
        elif name in ("label", "label!"):
            key, given, wanted = value.partition("=")
            labels.append((key, wanted if given else None, name == "label"))
        else:
            raise UsageError(f'invalid filter "{name}"', hint="there are until, label and label!")
    return until, tuple(labels)


def passes(wanted: Filters, created_at: float, labels: Mapping[str, str]) -> bool:
    """Whether something was made early enough, and has the labels it must have and none that it must not."""
    until, needed = wanted
    if until is not None and created_at >= until:
        return False
    return all((key in labels and (value is None or labels[key] == value)) == has for key, value, has in needed)


def of_stacks(stacks: Sequence[str], consequence: str) -> str:
    """A further line of a warning, where some of what goes belongs to stacks ("" = to none)."""
    owned = [stack for stack in stacks if stack]
    if not owned:
        return ""
    names = ", ".join(printable(name) for name in sorted(set(owned)))
    return f"\n{len(owned)} of them belong{'s' if len(owned) == 1 else ''} to stacks ({names}): {consequence}."


def remove_each(
    heading: str,
    names: Iterable[str],
    size_of: Callable[[str], int],
    remove: Callable[[str], None],
    shell: Shell,
) -> int:
    """Remove what is still there and still unused; says which, and returns the bytes that are free again."""
    reclaimed, deleted = 0, []
    for name in names:
        try:
            size = size_of(name)
            remove(name)
        except ReconcilerError as error:
            if error.code not in _OVERTAKEN:
                raise
        else:
            reclaimed += size
            deleted.append(name)
    show_deleted(heading, deleted, shell)
    return reclaimed


def show_deleted(heading: str, names: Sequence[str], shell: Shell) -> None:
    """What has gone, one a line; nothing if nothing has."""
    if names:
        shell.line(heading)
        for name in names:
            shell.line(printable(name))
        shell.line()


def show_total(shell: Shell, reclaimed: int) -> None:
    """The last line."""
    shell.line(f"Total reclaimed space: {human_size(reclaimed)}")
