"""`reconciler rm`: remove containers; named volumes stay in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_names
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="stop those that run; missing ones are no error")
    parser.add_argument("-v", "--volumes", action="store_true", help="remove their anonymous volumes too")
    add_names(parser)


def run(options: Any, shell: Shell) -> int:
    missing: list[ReconcilerError] = []

    def remove(name: str) -> None:
        try:
            shell.console.remove(name, force=options.force, volumes=options.volumes)
        except ReconcilerError as error:
            if not (options.force and error.code == "not-found"):
                raise
            missing.append(error)
        else:
            shell.line(name)

    code = shell.each(options.names, remove, echo=False)
    for error in missing:
        shell.report(error)
    return code
