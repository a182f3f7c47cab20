"""`reconciler image prune`: remove images that no container has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.pruning import add_pruning, confirmed, filters, show_deleted, show_total
from reconciler.runtimes.console import UnusedImages

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.pruning import Filters
    from reconciler.cli.shell import Shell

_DANGLING = "This will remove all dangling images."
_ALL = "This will remove all images without at least one container associated to them."


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also images that have a name")
    add_pruning(parser)


def run(options: Any, shell: Shell) -> int:
    wanted = filters(options)
    reclaimed = 0
    if confirmed(options, shell, _ALL if options.all else _DANGLING):
        reclaimed = remove(options.all, wanted, shell)
    show_total(shell, reclaimed)
    return 0


def remove(tagged: bool, wanted: Filters, shell: Shell) -> int:
    """Remove images that no container has; says which, and returns the bytes that are free again."""
    done = shell.console.prune_images(UnusedImages(tagged, *wanted))
    show_deleted("Deleted Images:", [f"{what}: {name}" for what, name in done.lines], shell)
    return done.reclaimed
