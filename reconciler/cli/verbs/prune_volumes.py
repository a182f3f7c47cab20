"""`reconciler volume prune`: delete volumes that no container has. Named ones only when it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.pruning import add_pruning, confirmed, filters, of_stacks, passes, remove_each, show_total
from reconciler.kits.text import plural, printable

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.pruning import Filters
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import VolumeSummary

_ANONYMOUS = "This will remove anonymous local volumes not used by at least one container."
_ALL = "This will remove all local volumes not used by at least one container."


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also volumes that have a name")
    add_pruning(parser)


def run(options: Any, shell: Shell) -> int:
    doomed = prunable(shell, filters(options), named=options.all)
    protected = [v.name for v in shell.console.volumes() if v.protected and not v.users] if options.all else []
    warning = (_ALL if options.all else _ANONYMOUS) + stacks_of(doomed)
    show_total(shell, remove(doomed, shell) if confirmed(options, shell, warning) else 0)
    if protected:
        names = ", ".join(printable(name) for name in protected)
        shell.line(f"kept {plural(len(protected), 'protected volume')}: {names}")
    return 0


def stacks_of(doomed: list[VolumeSummary]) -> str:
    """What to say of those that hold data of stacks which are down."""
    return of_stacks([v.stack for v in doomed], "the next apply would mount them again, with their data")


def prunable(shell: Shell, wanted: Filters, *, named: bool = False) -> list[VolumeSummary]:
    """The volumes that no container has, that are not protected and that pass the filters, by name."""
    every = shell.console.volumes()
    free = [v for v in every if not v.users and not v.protected]
    return [v for v in free if (named or v.anonymous) and passes(wanted, v.created_at, v.labels)]


def remove(doomed: list[VolumeSummary], shell: Shell) -> int:
    """Delete them, as long as no container has them; says which, and returns the bytes that are free again."""
    console = shell.console
    return remove_each(
        "Deleted Volumes:", [one.name for one in doomed], console.volume_size, console.remove_volume, shell
    )
