"""`reconciler wait`: wait until containers have ended, and print their exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.choice import add_choice, chosen

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


UNKNOWN = -1
"""Printed for an end that nobody saw."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--condition",
        choices=("not-running", "next-exit", "removed"),
        default="not-running",
        help="wait until they do not run (at once if so), end the next time, or are removed",
    )
    add_choice(parser)


def run(options: Any, shell: Shell) -> int:
    codes: dict[str, int | None] = {}

    def wait(name: str) -> None:
        codes[name] = shell.console.wait(name, options.condition)

    def show(name: str) -> None:
        shell.line(str(UNKNOWN if codes[name] is None else codes[name]))

    return shell.each(chosen(options, shell), wait, echo=show, at_once=True)
