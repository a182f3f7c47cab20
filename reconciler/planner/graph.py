"""Who uses whom among the containers of a stack, and orders over that. For the planner's other modules.

A graph maps each key to the keys that it uses, sorted. All walks are iterative: a chain of thousands is fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.model.desired import Container

    Graph = dict[str, tuple[str, ...]]

BINDING = ("links", "volumes_from")
"""Fields whose target is built into the user when that is created; `depends_on` gives order only."""
ORDERING = (*BINDING, "depends_on")


def used_by(container: Container, fields: tuple[str, ...] = ORDERING) -> set[str]:
    """The keys that a desired container uses through these fields."""
    return {item.container for name in fields for item in getattr(container, name)}


def used_before(settings: Mapping[str, Any], fields: tuple[str, ...] = ORDERING) -> set[str]:
    """The same from the settings a container was last applied with ("db:mysql", "data:ro", "db:service_healthy")."""
    return {str(item).partition(":")[0] for name in fields for item in settings.get(name, ())}


def targets_first(graph: Graph) -> tuple[list[str], list[str]]:
    """The keys so that each comes after what it uses, and a cycle if there is one ([] if not; its first key ends it).

    With a cycle the order is still complete: one edge of it is left out, always the same one.
    """
    order: list[str] = []
    cycle: list[str] = []
    state: dict[str, int] = {}  # 1 = on the path, 2 = done
    for root in sorted(graph):
        if root in state:
            continue
        state[root] = 1
        path = [(root, iter(graph[root]))]
        while path:
            key, rest = path[-1]
            target = next((t for t in rest if t in graph and state.get(t) != 2), None)
            if target is None:
                state[key] = 2
                order.append(key)
                path.pop()
            elif target in state:
                if not cycle:
                    keys = [k for k, _ in path]
                    cycle = [*keys[keys.index(target) :], target]
            else:
                state[target] = 1
                path.append((target, iter(graph[target])))
    return order, cycle


def acyclic(graph: Graph) -> Graph:
    """The graph without the edges that close a cycle. What runs may be a mix of two revisions, whose links cross."""
    order, cycle = targets_first(graph)
    if not cycle:
        return graph
    rank = {key: number for number, key in enumerate(order)}
    return {key: tuple(t for t in used if t in rank and rank[t] < rank[key]) for key, used in graph.items()}


def through(graph: Graph, order: Iterable[str], members: set[str]) -> Graph:
    """For each key the nearest `members` that it uses, directly or through keys that are no members.

    `order` is `targets_first`. Two members keep their order even if what stands between them is not touched.
    """
    near: dict[str, tuple[str, ...]] = {}
    for key in order:
        found: set[str] = set()
        for target in graph[key]:
            if target in members:
                found.add(target)
            else:
                found.update(near.get(target, ()))
        near[key] = tuple(sorted(found))
    return near
