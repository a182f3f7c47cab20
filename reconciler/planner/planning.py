"""The planner's doors: `plan` brings a stack to what its spec says, `plan_down` takes it away, and `plan_by_hand` stops
and starts what is there without a spec.

All are pure functions: equal arguments, in whatever order their maps are, give equal plans. For `executor`'s callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from reconciler.kits.errors import ReconcilerError
from reconciler.model.observed import CREATED, DEAD, EXITED, PAUSED
from reconciler.model.plan import ASKED, REMOVE, START, STOP, Plan, Reason
from reconciler.planner import checks
from reconciler.planner.conditions import awaited, check_conditions
from reconciler.planner.decisions import LIVE, Decision, decide, notes_about, spread
from reconciler.planner.hostports import HostPorts
from reconciler.planner.images import needed_pulls, notes_about_pulls
from reconciler.planner.volumes import check_deletable, check_volumes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.desired import Stack
    from reconciler.model.observed import Observed
    from reconciler.planner.options import Options
    from reconciler.planner.renames import Rename, Renames


class Abilities(Protocol):
    """What the planner must know of a runtime; `runtimes.base.Capabilities` is one."""

    @property
    def name(self) -> str: ...
    @property
    def pull(self) -> bool: ...
    @property
    def links(self) -> bool: ...
    @property
    def prepare(self) -> bool: ...
    @property
    def rename(self) -> bool: ...
    @property
    def update_in_place(self) -> frozenset[str]: ...


def plan(desired: Stack, observed: Observed, options: Options, capabilities: Abilities) -> Plan:
    """The steps that make `observed` be `desired`, with reasons; empty if it is so already.

    `observed` must cover `scope.scope_of(desired, options)`. Raises ReconcilerError, or Problems where several things stand in
    the way; then nothing of the stack can be applied.
    """
    checks.check_owner(desired.name, desired.origin, observed, options)
    problems: list[ReconcilerError] = []
    checks.check_asked_for(desired, options, problems)
    checks.check_graph(desired, problems)
    checks.check_links(desired, capabilities.links, capabilities.name, problems)
    checks.check_refusals(desired, observed, problems)
    check_conditions(desired, observed, problems)
    renames, observed = _rename_first(desired, observed, options, capabilities, problems)
    checks.raise_all(problems)

    decisions = decide(desired, observed, options, capabilities.update_in_place)
    ports = HostPorts(desired, observed, decisions)
    ports.hand_over()
    spread(decisions)

    pulls = needed_pulls(desired, observed, decisions, options, capabilities.pull, problems)
    volumes = check_volumes(desired, observed, problems)
    waits = ports.claim(problems)
    for key, holder in checks.check_names(desired, observed, decisions, problems).items():
        waits.setdefault(key, set()).add(holder)
    checks.raise_all(problems)

    notes = (*notes_about(decisions), *notes_about_pulls(pulls, observed, decisions), *volumes.notes, *renames.notes)
    conditions = awaited(decisions, everything=options.wait)
    changes = renames.steps or volumes or any(d.change for d in decisions.values())
    if not (pulls or changes or conditions or observed.network_faults):
        return Plan(desired.name, desired.source, (), notes)
    from reconciler.planner.steps import steps_up  # noqa: PLC0415 - most looks find nothing to do

    steps = steps_up(
        desired,
        decisions,
        ports,
        pulls=pulls,
        renames=renames.steps,
        volumes=volumes,
        waits=waits,
        conditions=conditions,
        network_faults=observed.network_faults,
        prepare=capabilities.prepare,
    )
    return Plan(desired.name, desired.source, steps, notes)


class _NoRenames:
    steps: tuple[Rename, ...] = ()
    notes: tuple[str, ...] = ()


def _rename_first(
    desired: Stack,
    observed: Observed,
    options: Options,
    capabilities: Abilities,
    problems: list[ReconcilerError],
) -> tuple[Renames | _NoRenames, Observed]:
    """What is renamed, and the world as it is then; a spec that says nothing of it pays nothing for it."""
    if not (desired.moved or desired.adopt):
        return _NoRenames(), observed
    from reconciler.planner.renames import Renames, check_able  # noqa: PLC0415 - as said

    renames = Renames(desired, observed, options, problems)
    check_able(renames, capabilities.name, able=capabilities.rename, problems=problems)
    return renames, renames.observed


def plan_down(
    stack: str,
    observed: Observed,
    options: Options,
    *,
    source: str = "",
    origin: str = "",
    spec: Stack | None = None,
) -> Plan:
    """The steps that take all containers of a stack away, users first; its volumes stay unless the options say so.

    `source` and `origin` are those of the spec it was asked for with, if any: another file's stack is refused. What a
    `spec` protects is not deleted, whether that was applied or not.
    """
    if origin:
        checks.check_owner(stack, origin, observed, options, goes=True)
    decisions = {}
    for key, seen in sorted(observed.of_stack(stack).items()):
        decision = decisions[key] = Decision(key, None, seen)
        decision.change = REMOVE
        decision.reasons.append(Reason(f"stack {stack} is taken down", kind=ASKED))
    volumes = [v for v in observed.volumes if v.stack == stack] if options.remove_volumes else []
    problems: list[ReconcilerError] = []
    check_deletable(volumes, (d.seen.name for d in decisions.values() if d.seen), spec, problems)
    checks.raise_all(problems)
    from reconciler.planner.steps import steps_down  # noqa: PLC0415

    return Plan(stack, source, steps_down(stack, decisions, sorted(volumes, key=lambda v: v.name)))


def plan_by_hand(
    stack: str,
    observed: Observed,
    change: str,
    keys: Sequence[str] = (),
    *,
    timeout: float | None = None,
    prepare: bool = False,
) -> Plan:
    """The steps that stop, start or restart (`change`, a class of `model.plan`) a stack's containers as they are.

    Those of `keys`, or all. Finished jobs are started too: that is what was asked for. `timeout` is for the stops.
    Raises ReconcilerError for a key that the stack does not have.
    """
    there = observed.of_stack(stack)
    if unknown := sorted(set(keys) - there.keys()):
        raise ReconcilerError(
            f"No such container: {stack}/{unknown[0]}",
            code="not-found",
            hint=f"stack {stack} has {', '.join(sorted(there)) or 'no containers'}",
        )
    chosen = {key: there[key] for key in (keys or sorted(there))}
    stopped = {key for key, seen in chosen.items() if change != START and seen.state in LIVE}
    idle = {key for key, seen in chosen.items() if seen.state in (CREATED, EXITED)}
    started = set() if change == STOP else idle | stopped
    notes = [f"{key} is paused and stays so" for key, c in chosen.items() if change == START and c.state == PAUSED]
    notes += [f"{key} is half-made: apply makes it anew" for key, seen in chosen.items() if seen.state == DEAD]
    if not stopped and not started:
        return Plan(stack, "", (), tuple(notes))
    from reconciler.planner.steps import steps_by_hand  # noqa: PLC0415

    steps = steps_by_hand(stack, there, stopped, started, change=change, timeout=timeout, prepare=prepare)
    return Plan(stack, "", steps, tuple(notes))
