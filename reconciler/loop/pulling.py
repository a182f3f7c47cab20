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
from reconciler.planner.pulling import as_foreseen, joined, new_pulls
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

    A pull may show that more must be pulled: a container that is to follow another one, and whose image has gone. So
    this is repeated, with each image once. Raises ReconcilerError where what is left can't be planned; then only images
    have come.
    """
    parts: list[Result] = []
    done = 0
    while new := new_pulls(made, done, options.pulled):
        parts.append(perform(replace(made, steps=new)))
        if not parts[-1].ok:
            for step in made.steps[done + len(new) :]:
                reporter.skipped(step)
            return made, Result.of_parts(made, *parts)
        options = options.after_pulling(
            frozenset(step.action.reference for step in new if isinstance(step.action, PullImage))
        )
        done += len(new)
        left = plan(stack, runtime.observe(scope_of(stack, options)), options, runtime.capabilities)
        if not as_foreseen(made.steps[done:], left):
            reporter.planned_again(left)
        made = joined(made.steps[:done], left)
    parts.append(perform(replace(made, steps=made.steps[done:])))
    return made, Result.of_parts(made, *parts)
