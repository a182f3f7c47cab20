"""The port of the verbs: what they may ask of whatever runs containers, and the shapes of its answers.

Apart from the executor's port (`runtimes.base`), because an apply needs none of this at start-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from reconciler.kits.frozen import Frozen, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.model.observed import PortBinding


def silent(_text: str) -> None:
    """Progress that nobody wants to see."""


def never() -> bool:
    """What nobody cancels."""
    return False


def unseen(_progress: LayerProgress) -> None:
    """The same, of a pull."""


class ContainerSummary(Frozen):
    """A container as `ps` shows it. `command` is path and arguments; `exposed` are ports ("3306/tcp") not published.

    `health` is starting, healthy or unhealthy, "" where nothing is checked. `oom`: some process of this run, or of the
    last one, was killed for want of memory; `error` says why its last start failed, or what limit was reached.
    """

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
    health: str = ""
    oom: bool = False
    error: str = ""


class ImageSummary(Frozen):
    """An image under one name; `reference` is "" for one without, or by digest. `size` in bytes, `created_at` in seconds.

    `digest` is what its registry called it (`sha256:...`), "" where none did; `origin` where it came from, for a person.
    """

    reference: str
    id: str
    created_at: float
    size: int
    digest: str = ""
    origin: str = ""


class RemovedImages(Frozen):
    """What has gone: ("untagged", name) and ("deleted", id), in the order of images; `reclaimed` bytes of disk space."""

    lines: tuple[tuple[str, str], ...] = ()
    reclaimed: int = 0


class UnusedImages(Frozen):
    """Which images without a container go: those without a name, or all with `tagged`.

    `until`: only those made before (seconds since the epoch, None = whenever). `labels` are (key, value or None for any,
    whether the image must have it or must not).
    """

    tagged: bool = False
    until: float | None = None
    labels: tuple[tuple[str, str | None, bool], ...] = ()


class LayerProgress(Frozen):
    """How far a pull is with one layer: `layer` are twelve digits of its digest, `phase` is in Docker's words

    ("Downloading", "Extracting", "Pull complete", ...), `done` and `total` in bytes, 0 where they mean nothing.
    """

    layer: str
    phase: str
    done: int = 0
    total: int = 0


class PulledImage(Frozen):
    """What a pull came to; `reference` is the whole name, `changed` False where it stood for this image already."""

    reference: str
    id: str
    digest: str
    changed: bool


class VolumeSummary(Frozen):
    """A volume as `volume ls` shows it; `path` is where its data lies on the host, "" where that means nothing.

    `protected` is the origin of the spec that wants nothing to remove it, "" = it may be.
    """

    name: str
    anonymous: bool
    stack: str
    users: tuple[str, ...]
    created_at: float
    path: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    protected: str = ""


class Finding(Frozen):
    """A line of `system check`: `state` is "ok", "warning" or "missing", `remedy` what to do, "" if nothing is to be."""

    subject: str
    state: str
    message: str
    remedy: str = ""


class LogOptions(Frozen):
    """`tail` None = all. `since` and `until` are seconds since the epoch, None = no bound."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    until: float | None = None


class LogRecord(Frozen):
    """A line (or its part, when `partial`) that a container wrote; `stream` is stdout or stderr.

    `data` is what was written, without the newline. `time` is RFC 3339 with nanoseconds, in UTC.
    """

    stream: str
    data: bytes
    time: str
    partial: bool = False


class ExecOptions(Frozen):
    """What to run in a container and how: user as in `docker exec -u`, "" for the container's; `privileged`: with

    all capabilities of the machine (the container's seccomp filter stays).
    """

    command: tuple[str, ...]
    interactive: bool = False
    tty: bool = False
    detach: bool = False
    user: str = ""
    working_dir: str = ""
    environment: tuple[str, ...] = ()
    privileged: bool = False


class CopyOptions(Frozen):
    """`archive`: owners, set-user-id bits, attributes and devices as they are. `follow` a link that is the source."""

    archive: bool = False
    follow: bool = False


class Usage(Frozen):
    """What a container has used of the machine up to `at` (monotonic seconds) and holds then; all 0 where it does not run.

    `processor` is in seconds of one processor; `memory`, `memory_limit` (the machine's memory where there is none), what
    was received and sent by the network, read from and written to block devices in bytes, None where the kernel tells of no device; `processes` counts threads.
    """

    id: str
    name: str
    stack: str = ""
    key: str = ""
    running: bool = False
    at: float = 0.0
    processor: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    received: int = 0
    sent: int = 0
    read: int | None = 0
    written: int | None = 0
    processes: int = 0


class Console(Protocol):
    """What the verbs ask of a runtime. A `name` is a name, STACK/KEY, an id or a unique prefix of one.

    Each raises `ReconcilerError` with code "not-found" when there is no such thing.
    """

    def containers(self) -> tuple[ContainerSummary, ...]:
        """All containers, running or not, newest first."""

    def container(self, name: str) -> ContainerSummary:
        """One container."""

    def usage(self, names: Sequence[str] = (), *, stopped: bool = False) -> tuple[Usage, ...]:
        """What containers use: those named, running or not, in this order; else all that run, newest first.

        With `stopped` those that do not run are among all.
        """

    def inspect(self, name: str, kind: str = "") -> dict[str, Any]:
        """All about one object in `docker inspect`'s form; `kind` is container, image, volume, network or "" = any."""

    def logs(self, name: str, options: LogOptions) -> Iterator[LogRecord]:
        """What the container wrote, oldest first; with `follow` until the container ends or the caller stops."""

    def exec(self, name: str, options: ExecOptions) -> int:
        """Run a command in a running container, with this process's stdio; its exit code (126, 127 as docker exec)."""

    def copy_in(self, source: str, name: str, path: str, options: CopyOptions) -> int:
        """Copy an absolute path of the host ("-" = a tar on standard input) into a container; the files' bytes."""

    def copy_out(self, name: str, path: str, target: str, options: CopyOptions) -> int:
        """Copy out of a container to an absolute path of the host ("-" = a tar on standard output); the files' bytes."""

    def start(self, name: str) -> None:
        """Start a container; one that runs is left as it is."""

    def stop(self, name: str, timeout: float | None = None) -> None:
        """Stop a container by hand: it stays down until somebody starts it. `timeout` None = its own grace period."""

    def restart(self, name: str, timeout: float | None = None) -> None:
        """Stop a container as `stop` does, and start it; one that does not run is started."""

    def kill(self, name: str, signal: str = "KILL") -> None:
        """Send a signal to a running container's first process; after KILL and its stop signal it stays down."""

    def pause(self, name: str) -> None:
        """Freeze all processes of a running container."""

    def unpause(self, name: str) -> None:
        """Let a paused container run on."""

    def wait(self, name: str, condition: str = "not-running") -> int | None:
        """Wait until a container is "not-running" (at once if so), for its "next-exit", or until it is "removed".

        Its exit code; None where nobody saw it.
        """

    def container_size(self, name: str) -> int:
        """Bytes that a container has written beside its volumes."""

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container; `force` stops a running one first, `volumes` takes its anonymous volumes too."""

    def images(self) -> tuple[ImageSummary, ...]:
        """Local images, one row a name, newest first."""

    def load(self, path: str, progress: Callable[[str], None] = silent, origin: str = "") -> tuple[str, ...]:
        """Load a docker-archive or OCI layout (folder or file, "-" = standard input); the names it brought.

        `origin` is kept with the images, "" = the path.
        """

    def save(self, names: Sequence[str], target: str, form: str = "docker") -> None:
        """Write images to an archive: the file `target`, "-" = standard output; `form` is docker or oci.

        A name without a tag stands for all tags of its repository.
        """

    def tag(self, source: str, reference: str) -> None:
        """Give an image another name, taking it from the image that had it."""

    def pull(
        self,
        reference: str,
        *,
        platform: str = "",
        progress: Callable[[LayerProgress], None] = unseen,
        cancelled: Callable[[], bool] = never,
    ) -> PulledImage:
        """Fetch an image from its registry; `progress` is called from several threads, one at a time.

        `cancelled()` turning true ends it soon, with code "interrupted".
        """

    def login(self, registry: str, username: str, password: str) -> str:
        """Keep what a registry accepts, having tried it; where: a file's path, or a credential helper's name."""

    def logout(self, registry: str) -> bool:
        """Forget what is kept for a registry; whether there was something."""

    def import_image(self, path: str, reference: str) -> str:
        """Make an image of a root file system in a tar file; its id."""

    def remove_image(self, reference: str, *, force: bool = False) -> RemovedImages:
        """Take a name away, and the image with its last name; refused (code "in-use") while a container has that.

        With `force` only the name goes then, and by id several names go.
        """

    def prune_images(self, unused: UnusedImages) -> RemovedImages:
        """Remove images that no container has, running or not; without filters also what is left of pulls given up."""

    def volumes(self) -> tuple[VolumeSummary, ...]:
        """All volumes by name."""

    def create_volume(self, name: str = "") -> str:
        """Make a volume ("" = with a random name); one that is there is left as it is. Returns the name."""

    def volume_size(self, name: str) -> int:
        """Bytes of a volume's data."""

    def measure_volume(self, name: str, within: float) -> tuple[int, bool]:
        """Bytes of a volume's data, as far as they can be counted in so many seconds, and whether those are all."""

    def remove_volume(self, name: str) -> None:
        """Delete a volume and its data; refused while a container has it, running or not, or it is protected."""

    def unprotect_volume(self, name: str) -> None:
        """Let a protected volume be removed, until its spec is applied again."""

    # --- the machine --------------------------------------------------------------------------------------------------

    def system_info(self) -> dict[str, Any]:
        """What the runtime is made of and how much there is: facts, or documents of facts, by name."""

    def system_check(self) -> tuple[Finding, ...]:
        """What this machine lacks, or will soon; what is fine, too. Leaves nothing behind."""
