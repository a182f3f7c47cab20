"""What a runtime must look at so that a stack can be planned. For whoever calls `observe` before `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.observed import Scope
from reconciler.planner.hostports import scope_ports
from reconciler.planner.images import policy_of
from reconciler.planner.options import Options

if TYPE_CHECKING:
    from reconciler.model.desired import Stack


def scope_of(stack: Stack, options: Options = Options()) -> Scope:  # noqa: B008 - it can't be changed
    """All that `plan` reads about a stack: its containers, names, volumes, images and host ports.

    Registries are asked only about images that are always to be pulled.
    """
    containers = stack.containers.values()
    return Scope(
        stack=stack.name,
        names=tuple(sorted({c.name for c in containers} | {a.name for a in stack.adopt if a.kind == "container"})),
        volumes=tuple(sorted({v.name for v in stack.volumes.values()} | _former_volumes(stack))),
        images=tuple(sorted({c.image for c in containers})),
        host_ports=scope_ports(iter(containers)),
        wanted=tuple(containers),
        remote=tuple(sorted({c.image for c in containers if policy_of(c, options) == "always"})),
        former=stack.former_names(),
    )


def _former_volumes(stack: Stack) -> set[str]:
    """The names that volumes may still have."""
    stacks = (stack.name, *stack.former_names())
    moved = {f"{name}_{move.old}" for move in stack.moved if move.kind == "volume" for name in stacks}
    return moved | {adoption.name for adoption in stack.adopt if adoption.kind == "volume"}
