"""`reconciler down`: take a stack's containers away. Volumes go only when they are asked for and their loss is confirmed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reconciler.cli.passes import add_pass_options, carry_out
from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.text import plural, printable
from reconciler.loop.converge import take_down
from reconciler.model.action import RemoveVolume
from reconciler.planner.options import Options

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.model.observed import Observed
    from reconciler.model.plan import Plan


def add_arguments(parser: Parser) -> None:
    parser.add_argument("target", metavar="SPEC|STACK", help="a spec file, or the name of a stack")
    parser.add_argument("--volumes", action="store_true", help="delete the stack's volumes too, with all their data")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before volumes are deleted")
    add_pass_options(parser)
    parser.instead["-v"] = "write --volumes: it deletes the stack's volumes, with all their data"


def run(options: Any, shell: Shell) -> int:
    if options.volumes and not options.yes and not (on_terminal(sys.stdin) and on_terminal(sys.stderr)):
        raise UsageError(
            "down --volumes deletes data, and there is no terminal to ask on", hint="confirm it with --yes"
        )
    runtime = shell.runtime
    kept: list[str] = []

    def approve(plan: Plan, observed: Observed) -> None:
        doomed = [step.action.name for step in plan.steps if isinstance(step.action, RemoveVolume)]
        kept.extend(v.name for v in observed.volumes if v.stack == plan.stack and v.name not in doomed)
        if doomed and not options.yes:
            _confirm(doomed, shell)

    code = carry_out(
        options,
        shell,
        lambda manner, reporter: take_down(options.target, runtime, manner, reporter, is_spec=_is_spec(options.target)),
        planning=Options(take_over=options.take_over, remove_volumes=options.volumes),
        idle="has no containers",
        approve=approve,
    )
    if kept and not (options.quiet or options.json):
        shell.line(f"kept {plural(len(kept), 'volume')}: {', '.join(printable(name) for name in kept)}")
    return code


def _is_spec(target: str) -> bool:
    return target == "-" or "/" in target or target.endswith((".yaml", ".yml")) or os.path.isfile(target)


def _confirm(doomed: list[str], shell: Shell) -> None:
    shell.note(f"This deletes {plural(len(doomed), 'volume')} with all data:")
    for name in doomed:
        shell.note(f"  {printable(name)}")
    sys.stderr.write('Type "yes" to go on: ')
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise ReconcilerError("nothing was removed: it was not confirmed", code="not-confirmed")
