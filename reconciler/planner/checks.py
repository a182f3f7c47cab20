"""What can't be planned: each check adds its problems to a list, so that a user sees all of them at once. For `planning`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import Problems, ReconcilerError
from reconciler.kits.text import nearest, quote
from reconciler.planner.graph import targets_first, used_by

if TYPE_CHECKING:
    from reconciler.model.desired import Stack
    from reconciler.model.observed import Observed, ObservedContainer
    from reconciler.planner.decisions import Decisions
    from reconciler.planner.options import Options


def raise_all(problems: list[ReconcilerError]) -> None:
    """Raise what was found, if anything, by position."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(sorted(problems, key=lambda p: (p.position is None, p.position or (), p.message)))


def check_owner(stack: str, origin: str, observed: Observed, options: Options, *, goes: bool = False) -> None:
    """A stack belongs to the file it was applied from: another one is refused unless it shall take over.

    `goes`: it is to be taken down, not brought up.
    """
    origins = sorted({c.origin for c in observed.containers if c.stack == stack and c.origin})
    others = [other for other in origins if other != origin]
    if others and not options.take_over:
        raise ReconcilerError(
            f"stack {stack} came from {', '.join(others)}, not from {origin}",
            code="other-origin",
            hint=f"to take the running one down all the same: reconciler down {stack}, or --take-over"
            if goes
            else "give this stack a name of its own, or take the running one over with --take-over",
        )


def check_asked_for(stack: Stack, options: Options, problems: list[ReconcilerError]) -> None:
    """Containers that a user names for this run are in the spec."""
    for name in sorted(options.anew - stack.containers.keys()):
        near = nearest(name, stack.containers)
        problems.append(
            ReconcilerError(
                f"stack {stack.name} has no container {quote(name)} that could be replaced",
                code="unknown-container",
                hint=f"did you mean {near}?" if near else f"it has {', '.join(sorted(stack.containers))}",
            )
        )


def check_graph(stack: Stack, problems: list[ReconcilerError]) -> None:
    """Links and dependencies lead to containers of the stack, and form no cycle."""
    for key, container in sorted(stack.containers.items()):
        problems += [
            ReconcilerError(
                f"container {key} uses {target}, which is not in stack {stack.name}",
                code="unknown-container",
                position=stack.position_of("containers", key),
            )
            for target in sorted(used_by(container) - stack.containers.keys())
        ]
    _, cycle = targets_first({key: tuple(sorted(used_by(c))) for key, c in stack.containers.items()})
    if cycle:
        problems.append(
            ReconcilerError(
                f"containers use each other in a circle: {' -> '.join(cycle)}",
                code="cycle",
                position=stack.position_of("containers", cycle[0]),
            )
        )


def check_links(stack: Stack, links: bool, runtime: str, problems: list[ReconcilerError]) -> None:
    """A runtime without links can't run containers that have some."""
    if not links:
        problems += [
            ReconcilerError(
                f"container {key} has links, and the {runtime} runtime has none",
                code="unsupported",
                position=stack.position_of("containers", key, "links"),
            )
            for key, container in sorted(stack.containers.items())
            if container.links
        ]


def check_refusals(stack: Stack, observed: Observed, problems: list[ReconcilerError]) -> None:
    """What the runtime can't do here is refused, never ignored."""
    problems += [
        ReconcilerError(
            f"container {refusal.key}: {refusal.message}",
            code="unsupported",
            position=stack.position_of("containers", refusal.key, refusal.field),
            hint=refusal.hint,
        )
        for refusal in observed.refusals
    ]


def check_names(
    stack: Stack, observed: Observed, decisions: Decisions, problems: list[ReconcilerError]
) -> dict[str, str]:
    """Each container's name is free, its own, or given up by another one of the stack in this plan.

    Returns who waits for whose removal to get its name.
    """
    holders = {container.name: container for container in observed.containers}
    waits: dict[str, str] = {}
    for key, decision in decisions.items():
        if decision.wanted is None or not decision.creates:
            continue
        holder = holders.get(decision.wanted.name)
        if holder is None or (holder.stack, holder.key) == (stack.name, key):
            continue
        if holder.stack == stack.name and decisions[holder.key].removes:
            waits[key] = holder.key
            continue
        problems.append(
            ReconcilerError(
                f"the name {decision.wanted.name} of container {key} is taken by {_owner(holder)}",
                code="name-taken",
                position=stack.position_of("containers", key, "container_name"),
                hint=f"names are for the whole machine: write container_name: {stack.name}-{key}, or remove the other"
                + (
                    f"; or take it in: adopt: [{{from: {holder.name}, to: containers.{key}}}]"
                    if not decision.seen
                    else ""
                ),
            )
        )
    return waits


def _owner(holder: ObservedContainer) -> str:
    if holder.stack:
        return f"container {holder.key} of stack {holder.stack}"
    return f"a container made by hand ({holder.id[:12]})" if holder.id else "a container made by hand"
