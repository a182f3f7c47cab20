"""`reconciler plan`: what apply would do and why. Changes nothing, takes no lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_json, add_pull, add_replace
from reconciler.kits.errors import EXIT_CHANGES_PENDING, ReconcilerError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("path", metavar="SPEC", help='a spec file; "-": standard input')
    parser.add_argument(
        "--detailed-exitcode", action="store_true", help="exit with 2 if there is something to do, with 0 if not"
    )
    parser.add_argument("--take-over", action="store_true", help="plan for a stack that came from another file")
    add_pull(parser)
    add_replace(parser)
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    from reconciler.loop.converge import preview  # noqa: PLC0415 - not for --help
    from reconciler.planner.options import Options  # noqa: PLC0415

    try:
        wishes = Options(take_over=options.take_over, pull=options.pull, anew=frozenset(options.replace))
        plan = preview(options.path, shell.runtime, wishes)
    except ReconcilerError as error:
        if options.json:
            from reconciler.cli.problems import document_of  # noqa: PLC0415 - only with --json

            shell.json(document_of(error))
        raise
    if options.json:
        from reconciler.planner.document import document  # noqa: PLC0415 - only with --json

        shell.json(document(plan))
    else:
        from reconciler.cli.progress import coloured_plan  # noqa: PLC0415 - not for JSON
        from reconciler.planner.text import render  # noqa: PLC0415

        shell.text(coloured_plan(render(plan)))
    return EXIT_CHANGES_PENDING if options.detailed_exitcode and not plan.empty else 0
