"""`reconciler stop`: end containers by their stop signal, and by SIGKILL when their time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_names, number_from

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "-t",
        "--time",
        "--timeout",
        type=number_from(0),
        metavar="SECONDS",
        help="how long to wait before SIGKILL (the container's own grace period)",
    )
    add_names(parser)


def run(options: Any, shell: Shell) -> int:
    return shell.each(options.names, lambda name: shell.console.stop(name, options.time))
