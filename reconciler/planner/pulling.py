"""A plan whose images are pulled first, taken apart: its pulls, and what is found to be left when those are here.

What an image says (its ports, its volumes, whether it is another one at all) is known only then. Pure, for `loop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.frozen import replace
from reconciler.model.action import PullImage

if TYPE_CHECKING:
    from reconciler.model.plan import Plan, Step


def pulls_of(plan: Plan) -> Plan:
    """The pulls alone, with the numbers that they have in the plan: they wait for nothing and come first."""
    return replace(plan, steps=tuple(step for step in plan.steps if isinstance(step.action, PullImage)))


def joined(pulls: Plan, rest: Plan) -> Plan:
    """The pulls, and behind them what is left to do after them, numbered on."""
    first = len(pulls.steps)
    return replace(rest, steps=(*pulls.steps, *(_later(step, first) for step in rest.steps)))


def _later(step: Step, by: int) -> Step:
    return replace(step, number=step.number + by, after=tuple(number + by for number in step.after))


def as_foreseen(plan: Plan, rest: Plan) -> bool:
    """Whether what is left after a plan's pulls is what it said."""
    foreseen = [(step.action, step.change) for step in plan.steps if not isinstance(step.action, PullImage)]
    return foreseen == [(step.action, step.change) for step in rest.steps]
