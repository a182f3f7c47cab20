"""`reconciler apply`: make the containers be what a spec says. It asks nothing; `plan` is for looking first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_pull, add_replace, duration
from reconciler.cli.passes import add_pass_options, carry_out
from reconciler.loop.converge import converge
from reconciler.planner.options import Options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("path", metavar="SPEC", help='a spec file; "-": standard input')
    add_pull(parser)
    add_replace(parser)
    parser.add_argument(
        "--wait", action="store_true", help="wait until all is up and healthy, or done; exit code 4 if not"
    )
    parser.add_argument(
        "--wait-timeout", type=duration, metavar="DURATION", help="the same, and wait for health so long at most"
    )
    add_pass_options(parser)


def run(options: Any, shell: Shell) -> int:
    runtime = shell.runtime
    return carry_out(
        options,
        shell,
        lambda manner, reporter: converge(options.path, runtime, manner, reporter),
        planning=Options(
            take_over=options.take_over,
            pull=options.pull,
            anew=frozenset(options.replace),
            wait=options.wait or options.wait_timeout is not None,
        ),
        idle="is as it should be",
        patience=options.wait_timeout,
    )
