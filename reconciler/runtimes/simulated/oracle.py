"""What must be true of a simulated world after a plan was carried out, whoever planned it. For tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.action import StartContainer, StopContainer

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
