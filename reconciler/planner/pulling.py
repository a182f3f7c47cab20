"""A plan whose images are pulled first, taken apart: its pulls, and what is found to be left when those are here.

What an image says (its ports, its volumes, whether it is another one at all) is known only then. Pure, for `loop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.frozen import replace
from reconciler.model.action import PullImage

if TYPE_CHECKING:
    from reconciler.model.plan import Plan, Step


def new_pulls(plan: Plan, done: int, pulled: frozenset[str]) -> tuple[Step, ...]:
    """The pulls behind the first `done` steps, unless all of them have been pulled before: those are left to the rest.

    Pulls wait for nothing and come before all other steps.
    """
    pulls = tuple(step for step in plan.steps[done:] if isinstance(step.action, PullImage))
    return pulls if {step.action.reference for step in pulls if isinstance(step.action, PullImage)} - pulled else ()


def joined(done: tuple[Step, ...], rest: Plan) -> Plan:
    """What is done, and behind it what is left to do, numbered on."""
    return replace(rest, steps=(*done, *(_later(step, len(done)) for step in rest.steps)))


def _later(step: Step, by: int) -> Step:
    return replace(step, number=step.number + by, after=tuple(number + by for number in step.after))


def as_foreseen(foreseen: tuple[Step, ...], rest: Plan) -> bool:
    """Whether what is left is what was said."""
    return [(s.action, s.change) for s in foreseen] == [(s.action, s.change) for s in rest.steps]
