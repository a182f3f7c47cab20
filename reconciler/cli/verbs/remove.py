"""`reconciler rm`: remove containers; named volumes stay in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.choice import add_choice, chosen
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="stop those that run; missing ones are no error")
    parser.add_argument("-v", "--volumes", action="store_true", help="remove their anonymous volumes too")
    add_choice(parser)


def run(options: Any, shell: Shell) -> int:
    missing: dict[str, ReconcilerError] = {}

    def remove(name: str) -> None:
        try:
            shell.console.remove(name, force=options.force, volumes=options.volumes)
        except ReconcilerError as error:
            if not (options.force and error.code == "not-found"):
                raise
            missing[name] = error

    def show(name: str) -> None:
        if name not in missing:
            shell.line(name)

    code = shell.each(chosen(options, shell), remove, echo=show, at_once=True)
    for error in missing.values():
        shell.report(error)
    return code
