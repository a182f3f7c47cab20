"""The port of the executor: what it may ask of whatever runs containers. The verbs' port is `runtimes.console`.

Both are synchronous: what they do are blocking system calls. One adapter implements both. Adapters map all foreign
errors to `kits.errors`. The planner never sees a runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from reconciler.kits.frozen import Frozen, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.model.action import Action
    from reconciler.model.observed import Observed, Scope


class Capabilities(Frozen):
    """What a runtime can do; what it can't is refused in the plan, never ignored.

    `prepare`: it can have a container's process made and waiting before its start (`PrepareContainer`). `rename`: it can
    give what exists another name and owner (`RenameContainer`, `RenameVolume`).
    """

    name: str
    pull: bool = False
    links: bool = True
    prepare: bool = False
    rename: bool = False
    update_in_place: frozenset[str] = frozenset()
    """Settings that `UpdateContainer` can change without a new container; "origin" among them: a new owner too."""


class Cancelled(Exception):  # noqa: N818
    """Raised inside `perform` when the context was cancelled and the runtime stopped at a safe point."""


def _never() -> bool:
    return False


def _silent(_text: str) -> None:
    return None


class Context(Frozen):
    """What goes with one `perform`: `action_id` for logs, `deadline` (monotonic seconds, None = no limit),

    `cancelled()` polled by long waits, and `progress(text)` for a line a person may see.
    """

    action_id: str = ""
    deadline: float | None = None
    cancelled: Callable[[], bool] = _never
    progress: Callable[[str], None] = _silent


class Outcome(Frozen):
    """What an action did: `changed` is False when there was nothing to do; `details` are for a person and for JSON."""

    changed: bool = True
    details: dict[str, Any] = field(default_factory=dict)


class Event(Frozen):
    """A hint that something may have changed; whoever gets it looks again. `container` is a name, "" = anything."""

    kind: str
    container: str = ""
    at: float = 0.0


class Runtime(Protocol):
    """Carries out actions. Safe to call from several threads at once."""

    capabilities: Capabilities

    def observe(self, scope: Scope) -> Observed:
        """Look, and change nothing."""

    def perform(self, action: Action, context: Context) -> Outcome:
        """Carry out one action; raises `ReconcilerError`. Either atomic or leaves what `observe` recognises."""

    def events(self, since: float, stop: Callable[[], bool]) -> Iterator[Event]:
        """Hints from now on, until `stop()`."""

    def culprit(self, stack: str, key: str) -> str:
        """The last log lines of a container that failed, "" if there are none."""

    def settled(self, stack: str, keys: Sequence[str], deadline: float) -> dict[str, tuple[int | None, str]]:
        """Wait until each just started container is seen at work or has ended; the ended: key -> (exit code, error).

        No exit code: it did not end by itself, it was made to; `error` says why, of the container ("is ...").

        `deadline` is monotonic seconds. A container counts as at work once its process sleeps for the first time,
        so this is a few milliseconds for a server and no fixed wait for anybody.
        """

    def tidy(self) -> None:
        """Give back what only containers need (bridge, firewall table) once there are none; called after a pass."""
