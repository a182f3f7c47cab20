"""`reconciler container prune`: remove all containers that do not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.pruning import add_pruning, confirmed, filters, of_stacks, passes, remove_each, show_total

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.pruning import Filters
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import ContainerSummary

STOPPED = ("created", "exited", "dead")


def add_arguments(parser: Parser) -> None:
    add_pruning(parser)


def run(options: Any, shell: Shell) -> int:
    wanted = filters(options)
    doomed = prunable(shell, wanted)
    warning = "This will remove all stopped containers." + of_stacks(
        [container.stack for container in doomed], "the next apply makes them anew, and finished jobs run again"
    )
    show_total(shell, remove(doomed, shell) if confirmed(options, shell, warning) else 0)
    return 0


def prunable(shell: Shell, wanted: Filters) -> list[ContainerSummary]:
    """The containers that do not run and pass the filters, newest first."""
    every = shell.console.containers()
    return [c for c in every if c.state in STOPPED and passes(wanted, c.created_at, c.labels)]


def remove(doomed: list[ContainerSummary], shell: Shell) -> int:
    """Remove them, as long as they do not run; says which, and returns the bytes that are free again."""
    console = shell.console
    return remove_each("Deleted Containers:", [one.id for one in doomed], console.container_size, console.remove, shell)
