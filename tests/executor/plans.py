"""Plans made by hand for the executor: it needs no stack and no planner, only steps that wait for each other."""

from __future__ import annotations

from hypothesis import strategies as st

from reconciler.model.action import AwaitContainer, PullImage, RemoveContainer, StartContainer, StopContainer
from reconciler.model.plan import BEHIND, CREATE, OPENS, REPLACE, WAIT, Plan, Step

KINDS = [StartContainer, StopContainer, RemoveContainer]


def step(number, action, after=(), *, change=CREATE, undo=None, gate=""):
    return Step(number, action, change, action.subject, (), tuple(after), undo, gate=gate)


def start(number, after=(), key="", **more):
    return step(number, StartContainer("s", key or f"c{number}"), after, **more)


def stop(number, after=(), key="", change=REPLACE):
    return step(number, StopContainer("s", key or f"c{number}"), after, change=change)


def wait(number, after, key):
    return step(number, AwaitContainer("s", key, "service_healthy"), after, change=WAIT)


def pull(number, after=()):
    return step(number, PullImage(f"image{number}"), after)


def plan_of(*steps):
    return Plan("s", "s.yaml", steps)


@st.composite
def graphs(draw):
    """Up to 14 steps of all lanes, some with an undo, each waiting for some of those before it; some have a gate.

    As in a plan, what opens the gate waits for nothing that is behind it.
    """
    steps: list[Step] = []
    behind: set[int] = set()
    for number in range(1, draw(st.integers(1, 14)) + 1):
        after = draw(st.sets(st.integers(1, number - 1), max_size=3)) if number > 1 else set()
        kind = draw(st.sampled_from([*KINDS, PullImage]))
        action = PullImage(f"i{number}") if kind is PullImage else kind("s", f"c{number}")
        undo = RemoveContainer("s", f"c{number}") if draw(st.booleans()) else None
        gate = draw(st.sampled_from(["", BEHIND] if after & behind else ["", OPENS, BEHIND]))
        if gate == BEHIND or after & behind:
            behind.add(number)
        steps.append(step(number, action, sorted(after), undo=undo, gate=gate))
    return plan_of(*steps)
