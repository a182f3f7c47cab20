"""`reconciler restart`: stop containers and start them again; those that do not run are started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.choice import add_choice, add_time, chosen, stack_by_hand

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    add_time(parser)
    add_choice(parser)


def run(options: Any, shell: Shell) -> int:
    if options.stack:
        return stack_by_hand(options, shell, "restart", "has nothing that could be restarted", options.time)
    return shell.each(chosen(options, shell), lambda name: shell.console.restart(name, options.time), again="link")
