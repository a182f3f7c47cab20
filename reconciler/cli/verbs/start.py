"""`reconciler start`: let containers run that were stopped or never ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_names

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    add_names(parser)


def run(options: Any, shell: Shell) -> int:
    return shell.each(options.names, shell.console.start, again="link")
