"""Stopping, starting and restarting a stack as it is: whatever it is, in the order of its links."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stacks import DRIFT, KEYS, machine_with, stacks

from reconciler.executor import virtual
from reconciler.kits.errors import ReconcilerError
from reconciler.model.action import StartContainer, StopContainer
from reconciler.model.observed import DEAD, PAUSED, RESTARTING, Scope
from reconciler.model.plan import RESTART, START, STOP
from reconciler.planner.planning import plan_by_hand
from reconciler.runtimes.simulated.oracle import out_of_order

many = settings(deadline=None, max_examples=100)
seeds = st.integers(0, 1000)
drifts = st.lists(st.sampled_from([*DRIFT, "loop", "loop"]), min_size=len(KEYS), max_size=len(KEYS))


def do(machine, change, keys=(), seed=0, **more):
    made = plan_by_hand("s", machine.observe(Scope("s")), change, keys, **more)
    machine.trace.clear()
    result = virtual.execute(made, machine, seed=seed)
    return made, result


def live(machine):
    return {c.key for c in machine.world.containers.values() if c.live}


@many
@given(stacks(), drifts, seeds, st.booleans())
def test_all_of_a_stack(stack, ways, seed, prepare):
    machine = machine_with(stack, ways)
    before = {c.key: (c.id, c.state) for c in machine.world.containers.values()}
    _, stopped = do(machine, STOP, seed=seed)
    assert stopped.ok
    assert live(machine) == set()
    assert out_of_order(stack, machine.trace) == []
    assert do(machine, STOP)[0].empty
    whole = all(state != DEAD for _, state in before.values()) and before.keys() == stack.containers.keys()
    if not whole:
        return
    _, started = do(machine, START, seed=seed, prepare=prepare)
    assert started.ok, started.error()
    assert live(machine) == before.keys()
    assert out_of_order(stack, machine.trace) == []
    assert do(machine, START)[0].empty
    _, again = do(machine, RESTART, seed=seed)
    assert again.ok, again.error()
    assert out_of_order(stack, machine.trace) == []
    assert {c.key: c.id for c in machine.world.containers.values()} == {key: i for key, (i, _) in before.items()}
    assert sum(isinstance(action, StopContainer) for action in machine.trace) == len(before)


@many
@given(stacks(), drifts, st.sets(st.sampled_from(KEYS), min_size=1), st.sampled_from([STOP, START, RESTART]))
def test_some_keys_touch_no_others_and_paused_or_restarting_ones_only_when_stopped(stack, ways, keys, change):
    machine = machine_with(stack, ways)
    there = {c.key: c.state for c in machine.world.containers.values()}
    if unknown := keys - there.keys():
        with pytest.raises(ReconcilerError, match=f"s/{min(unknown)}"):
            do(machine, change, sorted(keys))
        return
    made, _ = do(machine, change, sorted(keys), timeout=3.0)
    touched = {step.action.key for step in made.steps}
    assert touched <= keys
    stops = [step.action for step in made.steps if isinstance(step.action, StopContainer)]
    assert all(action.timeout == 3.0 for action in stops)
    for key in keys:
        if there[key] == DEAD:
            assert key not in touched
            assert any(key in note for note in made.notes)
        elif there[key] in (PAUSED, RESTARTING):
            assert (StopContainer("s", key, 3.0) in stops) == (change != START)
        elif change != STOP:
            started = {step.action.key for step in made.steps if isinstance(step.action, StartContainer)}
            assert (key in started) == (change == RESTART or there[key] != "running")
