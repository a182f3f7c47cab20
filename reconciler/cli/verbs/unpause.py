"""`reconciler unpause`: let paused containers run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.choice import add_choice, chosen

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    add_choice(parser)


def run(options: Any, shell: Shell) -> int:
    return shell.each(chosen(options, shell, ("paused",)), shell.console.unpause)
