"""Scenarios of the simulator: a slice of those that `make torture` runs, and bugs planted for each of its oracles."""

import pytest
from chance import Drawn, Seeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator import Scenario
from torture import Tally
from watched import Watched

from reconciler.executor.schedule import Schedule
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.model.action import AwaitContainer, StartContainer, StopContainer
from reconciler.model.plan import REMOVE, Plan
from reconciler.planner.planning import plan
from reconciler.runtimes.base import Outcome
from reconciler.runtimes.simulated.faults import EFFECT_FAULTS, EVENT_FAULTS, LOOK_FAULTS
from reconciler.runtimes.simulated.world import World

RUNS = 250


def test_whatever_fails_the_next_applies_get_there():
    tally = Tally()
    for seed in range(RUNS):
        tally.take(seed)
    print("\n".join(tally.lines()))
    assert not tally.failed, "\n".join(tally.lines())
    assert set(tally.struck) == {*EFFECT_FAULTS, *LOOK_FAULTS, *EVENT_FAULTS}
    assert tally.faulty > RUNS / 2


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_fails_in_scenarios_that_can_be_made_small(data):
    assert Scenario(Drawn(data)).violations == []


def test_a_scenario_is_a_function_of_its_seed():
    first, again = Scenario(Seeded(7)), Scenario(Seeded(7))
    assert first.machine.runtime.trace == again.machine.runtime.trace
    assert first.struck == again.struck


# Planted bugs.


class LosesData(Watched):
    def _remove(self, action):
        found = self.world.find(action.stack, action.key)
        outcome = super()._remove(action)
        for name in found.anonymous.values() if found else ():
            self.world.volumes.pop(name, None)
        return outcome


class ForgetsUpdates(Watched):
    def _update(self, _action):
        return Outcome()


class LeavesOne(Watched):
    def _remove(self, action):
        return Outcome() if action.key in ("c1", "c2", "c3") else super()._remove(action)


class FailsByItself(Watched):
    def _prepare(self, _action):
        raise ReconcilerError("no reason at all")


def planted(runtime):
    """A machine whose runtime overrides what the table of the real one names."""

    class Bound(runtime):
        def perform(self, action, context):
            own = {"RemoveContainer": "_remove", "UpdateContainer": "_update", "PrepareContainer": "_prepare"}
            method = vars(runtime).get(own.get(type(action).__name__, ""))
            if method is None:
                return super().perform(action, context)
            self.trace.append(action)
            self.faults.action(action)
            return method(self, action)

    return {"make": Bound}


def changed(change):
    """A planner whose steps are changed by (step, all steps by number) -> step or None."""

    def planner(*arguments):
        made = plan(*arguments)
        steps = {step.number: step for step in made.steps}
        kept = {number: new for number, step in steps.items() if (new := change(step, steps))}
        return replace(
            made, steps=tuple(replace(s, after=tuple(n for n in s.after if n in kept)) for s in kept.values())
        )

    return {"planner": planner}


def without_waits_for(*kinds):
    def change(step, steps):
        if not isinstance(step.action, StartContainer):
            return step
        own = step.action.key
        return replace(
            step,
            after=tuple(
                n
                for n in step.after
                if not (isinstance(steps[n].action, kinds) and getattr(steps[n].action, "key", "") != own)
            ),
        )

    return change


def accepts_anything(*arguments):
    try:
        return plan(*arguments)
    except ReconcilerError:
        return Plan(arguments[0].name, arguments[0].source)


PLANTED = {
    "data": planted(LosesData),
    "again": planted(ForgetsUpdates),
    "settles": planted(ForgetsUpdates),
    "down": planted(LeavesOne),
    "calm": planted(FailsByItself),
    "same": changed(lambda step, _: None if step.change == REMOVE else step),
    "order": changed(without_waits_for(AwaitContainer)),
    "folders": changed(without_waits_for(StopContainer)),
    "refused": {"planner": accepts_anything},
    "owners": {},
    "rollout": {},
}


@pytest.mark.parametrize("oracle", PLANTED)
def test_each_oracle_finds_the_bug_that_was_planted_for_it(oracle, monkeypatch):
    if oracle == "owners":
        monkeypatch.setattr(World, "next_address", lambda _self, _wanted: "172.17.0.2")
    if oracle == "rollout":
        monkeypatch.setattr(Schedule, "_to_bring_back", lambda _self: set())
    for seed in range(600):
        if oracle in {found for found, _ in Scenario(Seeded(seed), **PLANTED[oracle]).violations}:
            return
    pytest.fail(f"nothing was found by {oracle}")
