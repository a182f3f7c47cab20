"""The life of a container: create, prepare, start, stop, remove. Each step can be cut off anywhere and tried again.

`create` decides names, address, ports and volumes and writes them down, in one commit; `prepare` makes what lies on the
disk and has the process made and waiting; `start` lets it go; `stop` says that it shall be down before it makes it so.
Who changes a container holds its lock. What a crash leaves is recognised by `status` and taken down by the next start,
stop or removal.

Not here: another configuration for one that is there (`updating`), signals, pause and restart by hand (`handling`), what
happens after an end of itself (`settle`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import bundle, catalog, ending, helpers, monitor, mounting, settle, status, stopping
from reconciler.engine.containers.health import upkeep
from reconciler.engine.containers.preparing import Preparing
from reconciler.engine.containers.runtime import OciRuntime
from reconciler.engine.kernel import files, locks
from reconciler.engine.networks import ports
from reconciler.engine.store import DISK_FULL, even_on_a_full_disk
from reconciler.engine.volumes import volumes
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.registry import Registry
    from reconciler.engine.images.catalog import Images
    from reconciler.engine.networks.network import Network
    from reconciler.engine.records import ContainerConfig, ImageConfig, PortLease


def _check_platform(config: ContainerConfig, image: ImageConfig) -> None:
    from reconciler.engine.images import platforms  # noqa: PLC0415 - no room for it at start-up

    if found := platforms.check(config.platform, image.platform, config.image):
        message, hint = found
        raise ReconcilerError(f"container {config.name}: {message}", code="platform", hint=hint)


def _never() -> bool:
    return False


class Lifecycle:
    """All that changes containers. Safe to use from several threads and processes."""

    def __init__(self, registry: Registry, images: Images, network: Network) -> None:
        self.registry = registry
        self.paths = registry.paths
        self.store = registry.store
        self.images = images
        self.network = network
        self._runtime: OciRuntime | None = None
        self._runtime_guard = threading.Lock()
        self._preparing = Preparing(self.paths, self.store, images, network)

    def link_variables(self, record: Record) -> list[str]:
        """The variables that the container's links give it, from what the targets are now."""
        return self._preparing.link_variables(record)

    def tell_dependents(self, record: Record) -> None:
        """Bring the hosts files of running containers that link to this one up to date."""
        self._preparing.tell_dependents(record)

    @property
    def runtime(self) -> OciRuntime:
        """The OCI runtime, chosen at first use."""
        with self._runtime_guard:
            if self._runtime is None:
                self._runtime = OciRuntime.choose(self.paths)
            return self._runtime

    @contextlib.contextmanager
    def lock(self, container_id: str) -> Iterator[None]:
        """Who changes a container holds this. Its file goes with the container, whoever has waited for it meanwhile."""
        path = os.path.join(self.paths.locks, container_id)
        with locks.held(path):
            try:
                yield
            finally:
                if self.registry.get(container_id) is None:
                    files.remove_file(path)

    # --- create -----------------------------------------------------------------------------------------------------

    def create(self, config: ContainerConfig, *, address: str = "", kept_ports: Sequence[PortLease] = ()) -> str:
        """Write a container down, with its address, ports and volumes, and return its id. All or nothing, in one commit.

        `address` and `kept_ports` are a predecessor's, taken over where they are free. What lies on the disk is made
        by `prepare`, or by the first start.
        """
        self._preparing.rouse()
        image = self.images.resolve(config.image)
        _check_platform(config, image)
        container_id = os.urandom(32).hex()
        self.network.choose()
        with self.store.write() as connection:
            now = time.time()
            self.images.claim(connection, image)
            for link in config.links:
                if catalog.by_name(connection, link.target) is None:
                    raise ReconcilerError(
                        f"container {config.name} links to {link.target}, and there is no such container",
                        code="link",
                        hint=f"create {link.target} first",
                    )
            mounts = mounting.resolve(connection, config, image, now)
            catalog.insert(connection, container_id, config, image.id, mounts, now)
            given = self.network.lease_address(connection, container_id, address)
            catalog.change(connection, container_id, address=given)
            ports.lease(connection, container_id, config.owner, config.ports, kept_ports)
        return container_id

    def must(self, container_id: str) -> Record:
        """The container's record; raises ReconcilerError, code "not-found"."""
        record = self.registry.get(container_id)
        if record is None:
            raise ReconcilerError(f"No such container: {container_id[:12]}", code="not-found")
        return record

    # --- prepare and start --------------------------------------------------------------------------------------------

    def prepare(self, name: str) -> None:
        """Have a container's process made and waiting, so that its start is only a word. One that runs is left alone."""
        container_id = self.registry.find(name).id
        with self.lock(container_id):
            record = self.must(container_id)
            self._check_whole(record)
            if status.runs(self.paths, record):
                return
            if record.state == catalog.RUNNING and not status.lives(record):
                record = self.conclude(record)
            try:
                self._preparing.prepare(record, self.runtime)
            except ReconcilerError as error:
                self._failed_start(record, error)
                raise

    def _check_whole(self, record: Record) -> None:
        if record.phase != catalog.READY:
            raise ReconcilerError(
                f"container {record.name} is half-removed and can't be started",
                code="half-made",
                hint=f"remove it: `reconciler rm {record.name}`",
            )

    def start(self, name: str, *, restart: bool = False) -> None:
        """Let a container run; one that runs well is left as it is. `restart` counts it as the policy's doing.

        Raises ReconcilerError: a link to a container that is not there or does not run names both.
        """
        record = self.registry.find(name)
        now = self.registry.status(record)
        stopping_already = record.wanted == catalog.STOPPED and record.started
        if now.state == catalog.RUNNING and (stopping_already or now.faults):
            # It has got its signal, and what runs now is about to end; or it runs without its monitor.
            self.stop(record.id)
        with self.lock(record.id):
            self.start_locked(record.id, restart=restart)
        if record.config.log_max_size:
            helpers.wake_keeper(self.paths)

    def start_locked(self, container_id: str, *, restart: bool = False) -> None:
        """`start` for a caller that holds the container's lock."""
        record = self.must(container_id)
        self._check_whole(record)
        if status.runs(self.paths, record):
            if record.wanted == catalog.LAST_RUN:
                with self.store.write() as connection:
                    catalog.change(connection, container_id, wanted=catalog.WANTED)
            return
        if record.state == catalog.RUNNING and not status.lives(record):
            record = self.conclude(record)
        try:
            self._check_links(record)
            self._preparing.prepare(record, self.runtime)
            with self.store.write() as connection:
                catalog.change(
                    connection,
                    container_id,
                    wanted=catalog.WANTED,
                    state=catalog.RUNNING,
                    started=time.time(),
                    exit_code=None,
                    restarts=record.restarts + 1 if restart else 0,
                    streak=record.streak + 1 if restart else 0,
                    restart_at=0.0,
                    ailing=0,
                    health_restarts=record.health_restarts if restart else 0,
                    error="",
                    oom=0,
                )
            begun = self.must(container_id)
            upkeep.begin(self.paths, begun, self.images.resolve(record.image))
            bundle.mark_for_settling(self.paths, record.id, due=settle.will_have_work(record))
            self._preparing.tell_dependents(record)
            # The last step: whoever is cut off before it leaves a process that waits, and the next start lets it go.
            self.runtime.release(container_id, begun.pid, begun.pid_start)
            upkeep.probe(self.paths, begun)
        except ReconcilerError as error:
            self._failed_start(record, error)
            raise

    def _failed_start(self, before: Record, error: ReconcilerError) -> None:
        with contextlib.suppress(OSError, ReconcilerError):
            self._clear(before)
            code = {"no-such-command": 127, "not-executable": 126}.get(error.code, 128)
            with self.store.write() as connection:
                catalog.change(
                    connection,
                    before.id,
                    state=_at_rest(before),
                    started=before.started,
                    error=error.message,
                    exit_code=before.exit_code or code,
                )

    def _check_links(self, record: Record) -> None:
        for link in record.config.links:
            with self.store.read() as connection:
                target = catalog.by_name(connection, link.target)
            if target is None or not self.registry.status(target).is_up:
                what = "is not there" if target is None else "does not run"
                raise ReconcilerError(
                    f"Cannot link to a non running container: /{link.target} AS /{record.name}/{link.alias}"
                    f" ({link.target}, to which {record.name} links, {what})",
                    code="link",
                    hint=f"start {link.target} first",
                )

    # --- stop and remove ----------------------------------------------------------------------------------------------

    def stop(self, name: str, timeout: float | None = None, cancelled: Callable[[], bool] = _never) -> bool:
        """Stop a container and keep it down; returns whether it ran.

        Its stop signal, `timeout` seconds (None: its own), then SIGKILL. When `cancelled()` turns true meanwhile it
        returns at once: the container is wanted down, has got its signal, and whoever comes next finishes it.
        """
        record = self.registry.find(name)
        with self.lock(record.id):
            self._want_down(record)
            record = self.must(record.id)
            if not self.registry.status(record).is_up:
                self.conclude(record, down=True)
                return False
        # Without the lock: who wants it killed or removed meanwhile need not wait for the grace period.
        number = self.stop_signal(record)
        grace = record.config.stop_timeout if timeout is None else timeout
        if stopping.end(self.paths, record, number, grace, lambda: self._shut(record), cancelled):
            with self.lock(record.id):
                again = self.registry.get(record.id)
                if again and again.generation == record.generation:
                    self.conclude(again, down=True)
        return True

    def _want_down(self, record: Record) -> None:
        """Write down that it shall be down, before it is made so; its exit hook has nothing to do then."""
        with even_on_a_full_disk(), self.store.write() as connection:
            catalog.change(connection, record.id, wanted=catalog.STOPPED, restart_at=0.0)
        bundle.mark_for_settling(self.paths, record.id, due=False)

    def stop_signal(self, record: Record) -> int:
        """The number of the signal that asks the container to end."""
        return stopping.stop_signal(record.config, self.images.resolve(record.image))

    def _shut(self, record: Record) -> None:
        """Lead no new connection to the container; what is connected goes on."""
        if record.ports:
            self.network.unpublish(record.address, record.ports)

    def conclude(self, record: Record, *, down: bool = False) -> Record:
        """Write down how a container that no longer runs has ended, and take down what its run leaves behind.

        The caller holds the lock. One that never ran keeps its state. One that its policy wants to run again is written
        down as such in the same commit: whoever is cut off from here on, the restart is not lost. With `down` somebody
        has asked for the end: no policy has a say, also where a full disk has kept that from being written before.
        """
        waits = status.waits(self.paths, record)
        if record.state == catalog.RUNNING or (status.lives(record) and not waits):
            if not waits:
                monitor.wait_for_code(self.paths, record.id)
            code, finished = ending.exit_code(self.paths, record.id) or (None, time.time())
            how = {"exit_code": code, "finished": finished, "oom": int(ending.was_out_of_memory(self.paths, record.id))}
            try:
                self._write_end(record.id, down=down, **how)
            except ReconcilerError as error:
                if error.code != DISK_FULL:
                    raise
                self._clear(record)  # frees what its mount still holds
                self._write_end(record.id, down=down, **how)
        elif record.state == catalog.RESTARTING and (down or record.wanted != catalog.WANTED):
            wanted = catalog.STOPPED if down else record.wanted
            with self.store.write() as connection:
                catalog.change(connection, record.id, state=catalog.EXITED, restart_at=0.0, wanted=wanted)
        self._clear(record)
        return self.must(record.id)

    def _write_end(self, container_id: str, *, down: bool, **how: Any) -> None:
        with self.store.write() as connection:
            ended = replace(self.must(container_id), **how)
            if down:
                ended = replace(ended, wanted=catalog.STOPPED)
            catalog.change(connection, container_id, wanted=ended.wanted, **how, **settle.next_state(ended))

    def _clear(self, record: Record) -> None:
        self._shut(record)
        bundle.take_down(self.paths, record.id)

    def remove(self, name: str, *, force: bool = False, with_volumes: bool = False) -> None:
        """Remove a container. One that runs is refused, or with `force` killed first; volumes stay.

        `with_volumes` takes anonymous volumes that nobody else mounts too. Those that were made for a container which
        never ran go with it: they hold nothing of a user's.
        """
        record = self.registry.find(name)
        with self.lock(record.id):
            record = self.must(record.id)
            now = self.registry.status(record)
            if now.is_up or now.state == catalog.RESTARTING:
                if not force:
                    raise _refused(record, now.state)
                self._want_down(record)
                stopping.kill(self.paths, record)
            self._remove(record)
        if with_volumes or not record.started:
            names = [mount.source for mount in record.mounts if mount.kind == mounting.ANONYMOUS]
            volumes.discard(self.paths, self.store, names, since=0.0 if with_volumes else record.created)

    def _remove(self, record: Record) -> None:
        with even_on_a_full_disk(), self.store.write() as connection:
            catalog.change(connection, record.id, phase=catalog.REMOVING, wanted=catalog.STOPPED)
        self._clear(record)
        files.remove_tree(self.paths.container(record.id))
        upkeep.end(self.paths, record)
        with self.store.write() as connection:
            catalog.delete(connection, record.id)


def _refused(record: Record, state: str) -> ReconcilerError:
    first = "Unpause and then stop" if state == status.PAUSED else "Stop"
    return ReconcilerError(
        f"You cannot remove a {state} container {record.id}. {first} the container before attempting removal or force"
        " remove",
        code="running",
        hint=f"`reconciler stop {record.name}`, or `reconciler rm -f {record.name}`",
    )


def _at_rest(record: Record) -> str:
    """The state of a container whose start has failed: as it was before."""
    if record.state == catalog.RESTARTING:
        return catalog.RESTARTING
    return catalog.EXITED if record.started else catalog.CREATED
