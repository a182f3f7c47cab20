"""What must be true of a simulated world after a plan was carried out, whoever planned it. For tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.action import StartContainer, StopContainer
from reconciler.model.desired import COMPLETED, HEALTHY, STARTED
from reconciler.model.observed import EXITED, PAUSED, RUNNING
from reconciler.model.observed import HEALTHY as IS_HEALTHY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.model.action import Action
    from reconciler.model.desired import Stack
    from reconciler.runtimes.simulated.world import World


def broken_links(world: World) -> list[str]:
    """Running containers that know a link's target by an address or identity that is no longer true; [] is well."""
    broken = []
    for container in sorted(world.containers.values(), key=lambda c: c.name):
        for link in container.targets if container.live else ():
            target = world.find(container.stack, link.container)
            if target is None or container.links[link.alias] != (target.id, target.address):
                broken.append(f"{container.name} has an old {link.container} as {link.alias}")
    return broken


def too_early(stack: Stack, starts: Iterable[tuple[str, str, dict[str, tuple[str, int | None, str]]]]) -> list[str]:
    """Containers that were started before what they depend on had reached its condition; [] is well."""
    wrong = []
    for name, key, others in starts:
        container = stack.containers.get(key) if name == stack.name else None
        for need in container.depends_on if container else ():
            state, code, health = others.get(need.container, ("", None, ""))
            met = {
                STARTED: True,
                HEALTHY: state in (RUNNING, PAUSED) and health == IS_HEALTHY,
                COMPLETED: (state, code) == (EXITED, 0),
            }
            if not met[need.condition]:
                wrong.append(f"{key} started while {need.container} was {health or state}, not {need.condition}")
    return wrong


def out_of_order(stack: Stack, trace: Iterable[Action]) -> list[str]:
    """Starts of a user before what it uses, where both start in this trace, and stops the wrong way round; [] is well."""
    starts: dict[str, int] = {}
    stops: dict[str, int] = {}
    for number, action in enumerate(trace):
        if isinstance(action, StartContainer):
            starts[action.key] = number
        elif isinstance(action, StopContainer):
            stops[action.key] = number
    wrong = []
    for key, container in sorted(stack.containers.items()):
        used = {link.container for link in container.links}
        used |= {need.container for need in container.depends_on}
        used |= {source.container for source in container.volumes_from}
        for target in sorted(used):
            if key in starts and starts[key] < starts.get(target, -1):
                wrong.append(f"{key} started before {target}")
            if key in stops and target in stops and stops[key] > stops[target]:
                wrong.append(f"{key} stopped after {target}")
    return wrong
