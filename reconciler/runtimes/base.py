"""The ports: what the executor (`Runtime`) and the verbs (`Console`) may ask of whatever runs containers.

Both are synchronous: what they do are blocking system calls. One adapter implements both. Adapters map all foreign
errors to `kits.errors`. The planner never sees a runtime.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.model.action import Action
    from reconciler.model.observed import Observed, PortBinding, Scope


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can do; what it can't is refused in the plan, never ignored."""

    name: str
    pull: bool = False
    links: bool = True
    update_in_place: frozenset[str] = frozenset()
    """Settings that `UpdateContainer` can change without a new container; "origin" among them: a new owner too."""


class Cancelled(Exception):  # noqa: N818
    """Raised inside `perform` when the context was cancelled and the runtime stopped at a safe point."""


def _never() -> bool:
    return False


def _silent(_text: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """What goes with one `perform`: `action_id` for logs, `deadline` (monotonic seconds, None = no limit),

    `cancelled()` polled by long waits, and `progress(text)` for a line a person may see.
    """

    action_id: str = ""
    deadline: float | None = None
    cancelled: Callable[[], bool] = _never
    progress: Callable[[str], None] = _silent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action did: `changed` is False when there was nothing to do; `details` are for a person and for JSON."""

    changed: bool = True
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
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

    def settled(self, stack: str, keys: Sequence[str], deadline: float) -> dict[str, tuple[int, str]]:
        """Wait until each just started container is seen at work or has ended; the ended: key -> (exit code, error).

        `deadline` is monotonic seconds. A container counts as at work once its process sleeps for the first time,
        so this is a few milliseconds for a server and no fixed wait for anybody.
        """

    def tidy(self) -> None:
        """Give back what only containers need (bridge, firewall table) once there are none; called after a pass."""


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """A container as `ps` shows it. `command` is path and arguments; `exposed` are ports ("3306/tcp") not published."""

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    state: str
    created_at: float
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int | None = None
    restarting_at: float = 0.0
    ports: tuple[PortBinding, ...] = ()
    exposed: tuple[str, ...] = ()
    stack: str = ""
    key: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image under one name; `reference` is "" for one without. `size` in bytes, `created_at` in seconds."""

    reference: str
    id: str
    created_at: float
    size: int


@dataclass(frozen=True, slots=True)
class VolumeSummary:
    """A volume as `volume ls` shows it; `path` is where its data lies on the host, "" where that means nothing."""

    name: str
    anonymous: bool
    stack: str
    users: tuple[str, ...]
    created_at: float
    path: str = ""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`tail` None = all. `since` and `until` are seconds since the epoch, None = no bound."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A line (or its part, when `partial`) that a container wrote; `stream` is stdout or stderr.

    `data` is what was written, without the newline. `time` is RFC 3339 with nanoseconds, in UTC.
    """

    stream: str
    data: bytes
    time: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """What to run in a container and how: user as in `docker exec -u`, "" for the container's."""

    command: tuple[str, ...]
    interactive: bool = False
    tty: bool = False
    detach: bool = False
    user: str = ""
    working_dir: str = ""
    environment: tuple[str, ...] = ()


class Console(Protocol):
    """What the verbs ask of a runtime. A `name` is a name, STACK/KEY, an id or a unique prefix of one.

    Each raises `ReconcilerError` with code "not-found" when there is no such thing.
    """

    def containers(self) -> tuple[ContainerSummary, ...]:
        """All containers, running or not, newest first."""

    def container(self, name: str) -> ContainerSummary:
        """One container."""

    def inspect(self, name: str, kind: str = "") -> dict[str, Any]:
        """All about one object in `docker inspect`'s form; `kind` is container, image, volume, network or "" = any."""

    def logs(self, name: str, options: LogOptions) -> Iterator[LogRecord]:
        """What the container wrote, oldest first; with `follow` until the container ends or the caller stops."""

    def exec(self, name: str, options: ExecOptions) -> int:
        """Run a command in a running container, with this process's stdio; its exit code (126, 127 as docker exec)."""

    def start(self, name: str) -> None:
        """Start a container; one that runs is left as it is."""

    def stop(self, name: str, timeout: float | None = None) -> None:
        """Stop a container by hand: it stays down until somebody starts it. `timeout` None = its own grace period."""

    def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal to a running container's first process."""

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container; `force` stops a running one first, `volumes` takes its anonymous volumes too."""

    def images(self) -> tuple[ImageSummary, ...]:
        """Local images, one row a name, newest first."""

    def load(self, path: str, progress: Callable[[str], None] = _silent) -> tuple[str, ...]:
        """Load a docker-archive or OCI layout (folder or file, "-" = standard input); the names it brought."""

    def import_image(self, path: str, reference: str) -> str:
        """Make an image of a root file system in a tar file; its id."""

    def remove_image(self, reference: str) -> tuple[str, ...]:
        """Take a name away, and the image with its last name; lines saying what was untagged and deleted."""

    def volumes(self) -> tuple[VolumeSummary, ...]:
        """All volumes by name."""

    def create_volume(self, name: str = "") -> str:
        """Make a volume ("" = with a random name); one that is there is left as it is. Returns the name."""

    def remove_volume(self, name: str) -> None:
        """Delete a volume and its data; refused while a container has it, running or not."""
