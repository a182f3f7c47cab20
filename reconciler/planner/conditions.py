"""Who waits for whom to be healthy, or to have done its work, before it is started: `depends_on` with a condition.

And what `apply --wait` waits for at the end. Decides; `steps` orders. For `planning`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.model.action import READY
from reconciler.model.desired import COMPLETED, HEALTHY, STARTED
from reconciler.model.observed import HEALTHY as IS_HEALTHY
from reconciler.model.observed import PAUSED, RUNNING

if TYPE_CHECKING:
    from reconciler.model.desired import Container, Stack
    from reconciler.model.observed import Observed
    from reconciler.planner.decisions import Decision, Decisions

    Awaited = dict[tuple[str, str], list[str]]
    """(container, condition) -> those that start once it has been reached, sorted; [] where only the user waits."""


def has_check(container: Container, observed: Observed) -> bool | None:
    """Whether there is a health check, the container's own or its image's; None where only an absent image can tell."""
    own = container.healthcheck.test if container.healthcheck else ()
    if own:
        return own[0] != "NONE"
    image = observed.images.get(container.image)
    return None if image is None else image.healthcheck


def check_conditions(stack: Stack, observed: Observed, problems: list[ReconcilerError]) -> None:
    """What is waited for can come: a healthy one has a health check, a job is not started again and again."""
    for key, container in sorted(stack.containers.items()):
        for index, need in enumerate(container.depends_on):
            target = stack.containers.get(need.container)
            if target is None or need.condition == STARTED:
                continue
            if need.condition == HEALTHY and has_check(target, observed) is False:
                off = target.healthcheck is not None and target.healthcheck.test[:1] == ("NONE",)
                why = f"which has no health check, nor has its image {target.image}"
                why = "whose health check is switched off" if off else why
                hint = f"give {target.key} a `healthcheck`, or wait for service_started"
            elif need.condition == COMPLETED and target.restart.policy in ("always", "unless-stopped"):
                why = f"which is started again whenever it ends: its restart policy is {target.restart.policy}"
                hint = f"give {target.key} `restart: on-failure`, or none"
            else:
                continue
            problems.append(
                ReconcilerError(
                    f"container {key} waits for {need.condition} of {target.key}, {why}",
                    code="condition",
                    position=stack.position_of("containers", key, "depends_on", index),
                    hint=hint,
                )
            )


def awaited(decisions: Decisions, *, everything: bool) -> Awaited:
    """What must be waited for, because it is not so yet. `everything`: the user wants to see all up and healthy."""
    found: Awaited = {}
    for key, decision in decisions.items():
        for need in decision.wanted.depends_on if decision.wanted and decision.starts else ():
            target = decisions.get(need.container)
            if need.condition != STARTED and target and not _holds(target, need.condition):
                found.setdefault((need.container, need.condition), []).append(key)
    if everything:
        known = {key for key, _ in found}
        for key, decision in decisions.items():
            if decision.wanted and key not in known and not _holds(decision, READY):
                found[key, READY] = []
    return {what: sorted(who) for what, who in sorted(found.items())}


def _holds(decision: Decision, condition: str) -> bool:
    """Whether a container that this plan leaves alone has reached the condition."""
    seen = decision.seen
    if seen is None or decision.starts or decision.removes:
        return False
    if condition == COMPLETED or (condition == READY and decision.finished):
        return decision.finished
    return seen.state in (RUNNING, PAUSED) and (seen.health == IS_HEALTHY or (condition == READY and not seen.health))
