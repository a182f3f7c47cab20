"""`reconciler down`: take a stack's containers away. Volumes go only when they are asked for and their loss is confirmed."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from reconciler.cli.passes import add_pass_options, carry_out
from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.text import plural, printable
from reconciler.kits.units import human_size
from reconciler.loop.converge import take_down
from reconciler.model.action import RemoveVolume
from reconciler.planner.options import Options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.model.observed import Observed, ObservedVolume
    from reconciler.model.plan import Plan

MEASURING = 2.0
"""Seconds that it may take to find out how much is in the volumes that are to be deleted."""


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
        names = {step.action.name for step in plan.steps if isinstance(step.action, RemoveVolume)}
        doomed = [volume for volume in observed.volumes if volume.name in names]
        kept.extend(v.name for v in observed.volumes if v.stack == plan.stack and v.name not in names)
        if doomed and not (options.yes and (options.quiet or options.json)):
            _tell(doomed, shell)
        if doomed and not options.yes:
            _confirm()

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


def _tell(doomed: Sequence[ObservedVolume], shell: Shell) -> None:
    """Which volumes go, how much there is in them, and who has them."""
    shell.note(f"This deletes {plural(len(doomed), 'volume')} with all data (sizes are of all files together):")
    until = time.monotonic() + MEASURING
    rows = []
    for volume in doomed:
        size, whole = shell.console.measure_volume(volume.name, max(0.0, until - time.monotonic()))
        shown = human_size(size) if whole else f"more than {human_size(size)}" if size else "not measured in time"
        users = f"used by {', '.join(volume.users)}" if volume.users else "used by no container"
        rows.append((f"  {printable(volume.name)}", shown, printable(users)))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for name, shown, users in rows:
        shell.note(f"{name:<{widths[0]}}  {shown:<{widths[1]}}  {users}")


def _confirm() -> None:
    sys.stderr.write('Type "yes" to go on: ')
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise ReconcilerError("nothing was removed: it was not confirmed", code="not-confirmed")
