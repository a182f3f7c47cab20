"""What a run tells its caller: while it goes on, through a `Reporter`, and at the end, in a `Result`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import InterruptedRunError, Problems, ReconcilerError, as_failure

if TYPE_CHECKING:
    from reconciler.model.action import Action
    from reconciler.model.plan import Plan, Step
    from reconciler.runtimes.base import Outcome


class Reporter:
    """Hears what happens to each step; every method is a no-op to be overridden.

    All are called from the thread that called `execute`, but `progress`, which comes from a worker's.
    """

    def started(self, step: Step) -> None:
        """The step begins now."""

    def progress(self, step: Step, text: str) -> None:
        """A running step has a line for a person."""

    def finished(self, step: Step, outcome: Outcome, seconds: float) -> None:
        """The step has succeeded."""

    def failed(self, step: Step, error: BaseException, seconds: float) -> None:
        """The step has failed, or has given up because the run was cancelled."""

    def skipped(self, step: Step) -> None:
        """The step is not run at all: after a failure or a cancel."""

    def undone(self, step: Step, error: BaseException | None) -> None:
        """What a step had made was taken back after a failure, or could not be."""


class Result:
    """How a run ended.

    `done`, `skipped` (never begun), `cut_short` (gave up at a safe point when asked to) and `undone` are steps;
    `failed` and `undo_failed` are (step, error), in the order of failing. `outcomes` is by step number.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.done: list[Step] = []
        self.failed: list[tuple[Step, BaseException]] = []
        self.skipped: tuple[Step, ...] = ()
        self.cut_short: list[Step] = []
        self.undone: list[Step] = []
        self.undo_failed: list[tuple[Step, BaseException]] = []
        self.outcomes: dict[int, Outcome] = {}
        self.cancelled = False

    @classmethod
    def of_parts(cls, plan: Plan, *parts: Result) -> Result:
        """How a plan ended that was carried out part by part, each with the numbers of the whole."""
        whole = cls(plan)
        for part in parts:
            whole.done += part.done
            whole.failed += part.failed
            whole.cut_short += part.cut_short
            whole.undone += part.undone
            whole.undo_failed += part.undo_failed
            whole.outcomes |= part.outcomes
            whole.cancelled = whole.cancelled or part.cancelled
        begun = {step.number for step in (*whole.done, *whole.cut_short, *(step for step, _ in whole.failed))}
        whole.skipped = tuple(step for step in plan.steps if step.number not in begun)
        return whole

    @property
    def ok(self) -> bool:
        """Whether the whole plan was carried out."""
        return len(self.done) == len(self.plan.steps)

    @property
    def interrupted(self) -> bool:
        """Whether something was left undone because somebody asked to stop."""
        return bool(self.cut_short) or (self.cancelled and bool(self.skipped))

    def error(self) -> ReconcilerError | None:
        """What went wrong, naming the step, or None; several errors come as Problems."""
        problems = [_named(step.action, error) for step, error in self.failed]
        problems += [_named(step.undo, error) for step, error in self.undo_failed if step.undo]
        if len(problems) > 1:
            return Problems(problems)
        if problems:
            return problems[0]
        if self.interrupted:
            left, total = len(self.plan.steps) - len(self.done), len(self.plan.steps)
            return InterruptedRunError(
                f"interrupted with {left} of {total} steps left",
                hint="the next apply goes on from here",
            )
        return None


def _named(action: Action, error: BaseException) -> ReconcilerError:
    failure = as_failure(error)
    if action.verb == "wait":  # its error says what was waited for
        return failure
    return ReconcilerError(
        f"can't {action.verb} {action.subject}: {failure.message}",
        code=failure.code,
        position=failure.position,
        excerpt=failure.excerpt,
        hint=failure.hint,
        exit_code=failure.exit_code,
    )
