"""The pure half of the executor: a plan and completions in, ready steps out. No threads, no clock, no runtime.

Deterministic: of the steps that may begin, the one with the lowest number comes first. For the drivers.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from reconciler.model.action import AwaitContainer, PullImage, StopContainer
from reconciler.model.plan import BEHIND, OPENS, REMOVE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.action import Action
    from reconciler.model.plan import Plan, Step

WORK, WAIT, TRANSFER = "work", "wait", "transfer"
"""Lanes, each with a limit of its own: what needs the processor, what waits for a process (to end, or to be healthy), what waits for a network."""

_WAITING, _BEGUN, _DONE, _FAILED = range(4)


def lane_of(action: Action) -> str:
    """The lane that an action runs in."""
    if isinstance(action, AwaitContainer | StopContainer):
        return WAIT
    return TRANSFER if isinstance(action, PullImage) else WORK


def _stops_to_return(step: Step) -> bool:
    return isinstance(step.action, StopContainer) and step.change != REMOVE


class Schedule:
    """Which steps of a plan may begin now.

    After a failure nothing new begins, except what brings back a container that this plan has already stopped: a
    failure elsewhere is no reason to leave it down. After `cancel` nothing at all begins.
    """

    def __init__(self, plan: Plan, limits: Mapping[str, int]) -> None:
        self._steps = {step.number: step for step in plan.steps}
        self._state = dict.fromkeys(self._steps, _WAITING)
        self._waiters: dict[int, list[int]] = {number: [] for number in self._steps}
        self._missing = {step.number: len(step.after) for step in plan.steps}
        for step in plan.steps:
            for other in step.after:
                self._waiters[other].append(step.number)
        self._limits = limits
        self._free = dict(limits)
        self._ready: dict[str, list[int]] = {lane: [] for lane in limits}
        self._closed = sum(step.gate == OPENS for step in plan.steps)
        self._held: list[int] = []
        for number, count in self._missing.items():
            if not count:
                self._make_ready(number)
        self._failed = False
        self._cancelled = False
        self._rescue: set[int] | None = None
        self.running = 0

    def _lane(self, number: int) -> str:
        return lane_of(self._steps[number].action)

    def _make_ready(self, number: int) -> None:
        """A step waits for no other any more; one behind a closed gate waits for that."""
        if self._closed and self._steps[number].gate == BEHIND:
            self._held.append(number)
        else:
            heappush(self._ready[self._lane(number)], number)

    def _open_gate(self) -> None:
        self._closed = 0
        held, self._held = self._held, []
        for number in held:
            self._make_ready(number)

    def take(self) -> Step | None:
        """The next step to begin now, marked as begun; None if there is none at the moment."""
        if self._cancelled:
            return None
        best = None
        for lane, heap in self._ready.items():
            while heap and not self._allowed(heap[0]):
                heappop(heap)
            if heap and self._free[lane] > 0 and (best is None or heap[0] < self._ready[best][0]):
                best = lane
        if best is None:
            return None
        number = heappop(self._ready[best])
        self._state[number] = _BEGUN
        self._free[best] -= 1
        self.running += 1
        return self._steps[number]

    def _allowed(self, number: int) -> bool:
        return self._rescue is None or number in self._rescue

    def done(self, number: int) -> None:
        """A step has succeeded."""
        self._end(number, _DONE)
        for waiter in self._waiters[number]:
            self._missing[waiter] -= 1
            if not self._missing[waiter]:
                self._make_ready(waiter)
        if self._steps[number].gate == OPENS and self._closed:
            self._closed -= 1
            if not self._closed:
                self._open_gate()

    def fail(self, number: int) -> None:
        """A step has failed, or has given up because the run was cancelled."""
        self._end(number, _FAILED)
        self._failed = True
        if self._rescue is None:
            self._rescue = self._to_bring_back()
            self._open_gate()  # what comes back may need what is new; nothing else is allowed any more

    def _end(self, number: int, state: int) -> None:
        self._state[number] = state
        self._free[self._lane(number)] += 1
        self.running -= 1

    def cancel(self) -> None:
        """Begin nothing any more."""
        self._cancelled = True

    def _to_bring_back(self) -> set[int]:
        """The steps of containers that were stopped to come back, with all that those wait for, and so on."""
        groups: dict[str, list[int]] = {}
        for number, step in self._steps.items():
            groups.setdefault(step.subject_key, []).append(number)
        begun = (_BEGUN, _DONE, _FAILED)
        pending = [n for n, state in self._state.items() if state in begun and _stops_to_return(self._steps[n])]
        seen = set(pending)
        while pending:
            step = self._steps[pending.pop()]
            wanted = [*step.after, *(groups[step.subject_key] if _stops_to_return(step) else ())]
            new = [number for number in wanted if number not in seen and self._state[number] == _WAITING]
            seen.update(new)
            pending += new
        return seen

    def pointless(self, number: int) -> bool:
        """Whether nothing comes of a running wait any more: after a failure, unless who it is for is brought back."""
        rescue = self._rescue
        return rescue is not None and rescue.isdisjoint((number, *self._waiters[number]))

    @property
    def skipped(self) -> tuple[Step, ...]:
        """The steps that have not begun, in order."""
        return tuple(step for number, step in self._steps.items() if self._state[number] == _WAITING)

    def undoing(self) -> tuple[tuple[Step, Action], ...]:
        """What to take back after a failure, last step first, each with its undo action.

        Of the steps that have an undo: those that succeeded or failed themselves, while all that waits for them has
        not begun or is taken back as well. A container whose first start failed stays, for its log and its error.
        """
        if not self._failed:
            return ()
        gone: set[int] = set()
        out: list[tuple[Step, Action]] = []
        for number, step in reversed(self._steps.items()):
            if step.undo is None or self._state[number] == _WAITING:
                continue
            if all(self._state[waiter] == _WAITING or waiter in gone for waiter in self._waiters[number]):
                gone.add(number)
                if all(undo != step.undo for _, undo in out):
                    out.append((step, step.undo))
        return tuple(out)
