"""`reconciler start`: let containers run that were stopped or never ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.choice import add_choice, chosen, stack_by_hand

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    add_choice(parser)


def run(options: Any, shell: Shell) -> int:
    if options.stack:
        return stack_by_hand(options, shell, "start", "runs already")
    return shell.each(chosen(options, shell), shell.console.start, again="link")
