"""What `apply` and `down` have in common: their options, a pass with progress and Ctrl-C, and what they say at the end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.cli.parser import add_json, number_from
from reconciler.cli.problems import document_of
from reconciler.cli.progress import reporter_for
from reconciler.cli.streams import enduring
from reconciler.kits.errors import ReconcilerError
from reconciler.loop.converge import Manner

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.progress import Approve
    from reconciler.cli.shell import Shell
    from reconciler.loop.converge import Pass, PassReporter
    from reconciler.planner.options import Options


def add_pass_options(parser: Parser) -> None:
    """The options of every verb that makes a pass."""
    parser.add_argument("--no-wait", action="store_true", help="do not wait for a stack that another run has locked")
    parser.add_argument("--parallel", type=number_from(1), metavar="N", help="how many steps run at once")
    parser.add_argument("--take-over", action="store_true", help="go on with a stack that came from another file")
    parser.add_argument("-q", "--quiet", action="store_true", help="only errors")
    add_json(parser)


def carry_out(
    options: Any,
    shell: Shell,
    make_pass: Callable[[Manner, PassReporter], Pass],
    *,
    planning: Options,
    idle: str,
    approve: Approve | None = None,
    patience: float | None = None,
    announce: bool = True,
) -> int:
    """Make a pass, show how it goes, say what went wrong; the exit code. `idle`, `approve` and `announce` as for
    `progress.Lines`, `patience` as for `Manner`.

    Output that can't be written any more does not end the pass.
    """
    with enduring() as (output, _):
        code = _pass(
            options,
            shell,
            make_pass,
            planning=planning,
            idle=idle,
            approve=approve,
            patience=patience,
            announce=announce,
        )
        output.flush()
        if output.lost and not isinstance(output.lost, BrokenPipeError):
            shell.note(f"standard output could not be written: {output.lost.strerror}; the pass went on without it")
    return code


def _pass(
    options: Any,
    shell: Shell,
    make_pass: Callable[[Manner, PassReporter], Pass],
    *,
    planning: Options,
    idle: str,
    approve: Approve | None,
    patience: float | None,
    announce: bool,
) -> int:
    quiet = options.quiet or options.json
    reporter = reporter_for(shell, idle=idle, quiet=quiet, approve=approve, announce=announce)
    manner = Manner(
        " ".join(["reconciler", *sys.argv[1:]]),
        options=planning,
        wait=not options.no_wait,
        width=options.parallel,
        cancel=reporter.interrupts.asked,
        patience=patience,
    )
    try:
        made = make_pass(manner, reporter)
    except ReconcilerError as refusal:
        if options.json:
            shell.json(document_of(refusal))
        raise
    finally:
        reporter.close()
    if options.json:
        shell.json(document(made))
    error = made.error()
    if error:
        shell.report(error)
    return error.exit_code if error else 0


def document(made: Pass) -> dict[str, Any]:
    """A pass as JSON values: the plan as `plan --json` has it, and by step number how each ended."""
    from reconciler.planner.document import document as plan_document  # noqa: PLC0415 - only with --json

    result = made.result
    error = made.error()
    return {
        "plan": plan_document(made.plan),
        "ok": error is None,
        "done": [step.number for step in result.done],
        "failed": [{"step": step.number, "error": str(problem)} for step, problem in result.failed],
        "skipped": [step.number for step in result.skipped],
        "undone": [step.number for step in result.undone],
        "ended": [{"container": key, "error": problem.message} for key, problem in made.ended],
        "interrupted": result.interrupted,
    }
