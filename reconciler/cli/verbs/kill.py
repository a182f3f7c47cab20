"""`reconciler kill`: send a signal to the first process of running containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.choice import add_choice, chosen

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-s", "--signal", default="KILL", metavar="SIGNAL", help="name or number (KILL)")
    add_choice(parser)


def run(options: Any, shell: Shell) -> int:
    names = chosen(options, shell, ("running", "paused", "restarting"))
    return shell.each(names, lambda name: shell.console.kill(name, options.signal), at_once=True)
