"""What shall go wrong in a simulated runtime. Counts from 1, over the runtime's life. For tests and `runtime`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.model.action import Action


class Crash(BaseException):
    """The process that carried the plan out was killed here. No `except Exception` on the way may catch it."""


class Faults:
    """Set these before the action comes.

    `fail_actions` (by number of the action) and `fail_on` (by "verb subject", as "start container web") fail with
    the message before the first effect; `fail_effects` (by number of the effect) leave half-made what the action
    had begun. `crash_before` and `crash_after` are numbers of an effect, 0 = none.
    """

    def __init__(self) -> None:
        self.fail_actions: dict[int, str] = {}
        self.fail_on: dict[str, str] = {}
        self.fail_effects: dict[int, str] = {}
        self.crash_before = 0
        self.crash_after = 0
        self.actions = 0
        self.effects = 0

    def action(self, action: Action) -> None:
        """An action comes; raises what was asked for."""
        self.actions += 1
        message = self.fail_actions.get(self.actions) or self.fail_on.get(f"{action.verb} {action.subject}")
        if message:
            raise ReconcilerError(message, code="simulated")

    def before(self) -> None:
        """An effect comes; raises what was asked for."""
        self.effects += 1
        if self.effects == self.crash_before:
            raise Crash
        if message := self.fail_effects.get(self.effects):
            raise ReconcilerError(message, code="simulated")

    def after(self) -> None:
        """An effect has happened."""
        if self.effects == self.crash_after:
            raise Crash
