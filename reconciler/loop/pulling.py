"""A pass in two parts: pull, look again, plan once more, and carry out what is left. For `converge`.

Until all images are here nothing is touched that runs. What is then left may be more or less than was foreseen: only
now it is known which ports and volumes an image declares, or that a moved tag stands for the same image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.executor.report import Result
from reconciler.kits.frozen import replace
from reconciler.model.action import PullImage
from reconciler.planner.planning import plan
from reconciler.planner.pulling import as_foreseen, joined, pulls_of
from reconciler.planner.scope import scope_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.loop.converge import PassReporter
    from reconciler.model.desired import Stack
    from reconciler.model.plan import Plan
    from reconciler.planner.options import Options
    from reconciler.runtimes.base import Runtime


def pull_first(
    made: Plan,
    stack: Stack,
    runtime: Runtime,
    options: Options,
    perform: Callable[[Plan], Result],
    reporter: PassReporter,
) -> tuple[Plan, Result]:
    """Carry out a plan that has pulls; `perform` executes one. Returns the plan as it became, and how it ended.

    Raises ReconcilerError where what is left can't be planned; then only images have come.
    """
    pulls = pulls_of(made)
    pulled = perform(pulls)
    if not pulled.ok:
        for step in made.steps[len(pulls.steps) :]:
            reporter.skipped(step)
        return made, Result.of_parts(made, pulled)
    references = frozenset(step.action.reference for step in pulls.steps if isinstance(step.action, PullImage))
    wishes = options.after_pulling(references)
    left = plan(stack, runtime.observe(scope_of(stack, wishes)), wishes, runtime.capabilities)
    if not as_foreseen(made, left):
        reporter.planned_again(left)
    whole = joined(pulls, left)
    rest = perform(replace(whole, steps=whole.steps[len(pulls.steps) :]))
    return whole, Result.of_parts(whole, pulled, rest)
