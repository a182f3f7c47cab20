"""The life of a container: create, prepare, start, stop, remove. Each step can be cut off anywhere and tried again.

`create` decides names, address and ports and writes them down before its first effect; `prepare` has the process made
and waiting; `start` lets it go; `stop` says that it shall be down before it makes it so. Who changes a container holds
its lock. What a crash leaves is recognised by `status` and taken down by the next start, stop or removal.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import bundle, catalog, effective, ending, monitor, mounting, status
from reconciler.engine.containers.catalog import Record
from reconciler.engine.containers.runtime import OciRuntime
from reconciler.engine.containers.settle import Settling
from reconciler.engine.kernel import cgroups, files, locks, processes
from reconciler.engine.kernel.rooted import open_root
from reconciler.engine.networks import hosts, links, ports
from reconciler.engine.volumes import usage, volumes
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from reconciler.engine.containers.registry import Registry
    from reconciler.engine.images.catalog import Images
    from reconciler.engine.networks.network import Network
    from reconciler.engine.records import ContainerConfig, ImageConfig, PortLease


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
        self._settling = Settling(self)

    @property
    def settling(self) -> Settling:
        """What happens after a container's end."""
        return self._settling

    @property
    def runtime(self) -> OciRuntime:
        """The OCI runtime, chosen at first use."""
        with self._runtime_guard:
            if self._runtime is None:
                self._runtime = OciRuntime.choose(self.paths)
            return self._runtime

    def lock(self, container_id: str) -> AbstractContextManager[None]:
        """Who changes a container holds this."""
        return locks.held(os.path.join(self.paths.locks, container_id))

    # --- create -----------------------------------------------------------------------------------------------------

    def create(
        self,
        config: ContainerConfig,
        *,
        address: str = "",
        kept_ports: Sequence[PortLease] = (),
        prepare: bool = False,
    ) -> str:
        """Make a container and return its id; with `prepare` its process is made too and waits to be started.

        `address` and `kept_ports` are a predecessor's, taken over where they are free. When it fails nothing is left but
        volumes that were there before.
        """
        image = self.images.resolve(config.image)
        container_id = secrets.token_hex(32)
        self.network.prepare()
        known = self._volume_names()
        with self.store.write() as connection:
            self._write_down(connection, container_id, config, image, address, kept_ports)
        # Written down first: a lock's file that no record names would stay for ever.
        with self.lock(container_id):
            try:
                self._furnish(container_id, image)
                with self.store.write() as connection:
                    catalog.change(connection, container_id, phase=catalog.READY)
                if prepare:
                    self._prepare(container_id)
            except BaseException:
                self._discard(container_id, known)
                files.remove_file(os.path.join(self.paths.locks, container_id))
                raise
        return container_id

    def _volume_names(self) -> set[str]:
        with self.store.read() as connection:
            return {volume.name for volume in volumes.every(connection)}

    def _write_down(
        self,
        connection: sqlite3.Connection,
        container_id: str,
        config: ContainerConfig,
        image: ImageConfig,
        address: str,
        kept_ports: Sequence[PortLease],
    ) -> None:
        now = time.time()
        for link in config.links:
            if catalog.by_name(connection, link.target) is None:
                raise ReconcilerError(
                    f"container {config.name} links to {link.target}, and there is no such container",
                    code="link",
                    hint=f"create {link.target} first",
                )
        mounts = mounting.resolve(connection, config, image, now)
        record = Record(
            id=container_id,
            name=config.name,
            owner=config.owner,
            image=image.id,
            config=config,
            mounts=mounts,
            created=now,
            phase=catalog.MAKING,
            wanted="stopped",
            generation=0,
            boot="",
            pid=0,
            pid_start=0,
            monitor=0,
            monitor_start=0,
            state=catalog.CREATED,
            exit_code=None,
            error="",
            oom=False,
            started=0.0,
            finished=0.0,
            restarts=0,
            restart_at=0.0,
            address="",
            ports=(),
        )
        catalog.insert(connection, record)
        given = self.network.lease_address(connection, container_id, address)
        catalog.change(connection, container_id, address=given)
        ports.lease(connection, container_id, config.owner, config.ports, kept_ports)

    def _furnish(self, container_id: str, image: ImageConfig) -> None:
        record = self._must(container_id)
        root = bundle.mount_root(self.paths, container_id, image)
        with open_root(root) as opened:
            mounting.furnish(self.paths, record.mounts, opened)

    def _discard(self, container_id: str, known_volumes: set[str]) -> None:
        """Undo a create that failed; what can't be undone now is left as half-made, for the next removal."""
        with contextlib.suppress(OSError, ReconcilerError):
            record = self._must(container_id)
            self._remove(record)
            with self.store.read() as connection:
                users = usage.users(connection)
            for mount in record.mounts:
                if mount.kind == mounting.ANONYMOUS and mount.source not in known_volumes and mount.source not in users:
                    self._remove_volume(mount.source)

    def _must(self, container_id: str) -> Record:
        record = self.registry.get(container_id)
        if record is None:
            raise ReconcilerError(f"No such container: {container_id[:12]}", code="not-found")
        return record

    # --- prepare and start --------------------------------------------------------------------------------------------

    def _prepare(self, container_id: str) -> None:
        """Have the container's process made and waiting; the caller holds the lock. Nothing to do if it waits already."""
        record = self._must(container_id)
        if status.waits(self.paths, record):
            return
        if record.generation or monitor.was_launched(self.paths, container_id):
            bundle.take_down(self.paths, self.runtime, container_id)
        image = self.images.resolve(record.image)
        self.network.prepare()
        bundle.mount_root(self.paths, container_id, image)
        bundle.write(self.paths, record, image, self.link_variables(record), self._network_files(record))
        files.make_folders(self.paths.exits)
        held = ports.hold(record.ports)
        try:
            launched = monitor.launch(
                self.paths,
                self.runtime,
                container_id,
                record.name,
                self._settling.hook(container_id),
                held,
                lambda: self.network.publish(record.address, record.ports),
            )
        finally:
            for fd in held:
                os.close(fd)
        generation = record.generation + 1
        self.network.connect(container_id, generation, launched.pid, record.address)
        with self.store.write() as connection:
            catalog.change(
                connection,
                container_id,
                generation=generation,
                boot=processes.boot_id(),
                pid=launched.pid,
                pid_start=launched.pid_start,
                monitor=launched.monitor,
                monitor_start=launched.monitor_start,
                state=catalog.CREATED if not record.started else catalog.EXITED,
            )

    def start(self, name: str, *, restart: bool = False) -> None:
        """Let a container run; one that runs is left as it is. `restart` counts it as the policy's doing.

        Raises ReconcilerError: a link to a container that is not there or does not run names both.
        """
        container_id = self.registry.find(name).id
        with self.lock(container_id):
            self.start_locked(container_id, restart=restart)

    def start_locked(self, container_id: str, *, restart: bool = False) -> None:
        """`start` for a caller that holds the container's lock."""
        record = self._must(container_id)
        if record.phase != catalog.READY:
            raise ReconcilerError(
                f"container {record.name} is half-made and can't be started",
                code="half-made",
                hint=f"remove it: `reconciler rm {record.name}`",
            )
        now = self.registry.status(record).state
        if now in (catalog.RUNNING, status.PAUSED):
            return
        self._check_links(record)
        try:
            self._prepare(container_id)
            with self.store.write() as connection:
                restarts = record.restarts + 1 if restart else 0
                catalog.change(
                    connection,
                    container_id,
                    wanted="running",
                    state=catalog.RUNNING,
                    started=time.time(),
                    exit_code=None,
                    restarts=restarts,
                    restart_at=0.0,
                    error="",
                    oom=0,
                )
            if record.config.restart != "no" or record.ports:
                files.write_file(os.path.join(self.paths.bundle(container_id), bundle.SETTLE_MARK), b"")
            self._tell_dependents(record)
            # The last step: whoever is cut off before it leaves a process that waits, and the next start lets it go.
            self.runtime.release(container_id)
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
                    state=catalog.EXITED if before.started else catalog.CREATED,
                    started=before.started,
                    error=error.message,
                    exit_code=before.exit_code or code,
                )

    def _check_links(self, record: Record) -> None:
        for link in record.config.links:
            with self.store.read() as connection:
                target = catalog.by_name(connection, link.target)
            if target is None or self.registry.status(target).state not in (catalog.RUNNING, status.PAUSED):
                what = "is not there" if target is None else "does not run"
                raise ReconcilerError(
                    f"Cannot link to a non running container: /{link.target} AS /{record.name}/{link.alias}"
                    f" ({link.target}, to which {record.name} links, {what})",
                    code="link",
                    hint=f"start {link.target} first",
                )

    def link_variables(self, record: Record) -> list[str]:
        """The variables that the container's links give it, from what the targets are now."""
        variables: list[str] = []
        for link in record.config.links:
            with self.store.read() as connection:
                target = catalog.by_name(connection, link.target)
            if target is None:
                continue
            image = self.images.resolve(target.image)
            inside = effective.merge_environment(
                image.environment, [f"{name}={value}" for name, value in target.config.environment.items()]
            )
            found = links.variables(record.name, link.alias, target.address, _ports_inside(target, image), inside)
            variables += [f"{name}={value}" for name, value in found.items()]
        return variables

    def _network_files(self, record: Record) -> bundle.NetworkFiles:
        hostname = effective.hostname_of(record)
        return bundle.NetworkFiles(
            hosts.content(record.address, hostname, self._linked(record)),
            hosts.hostname_file(hostname),
            hosts.resolver().encode(),
        )

    def _linked(self, record: Record) -> list[tuple[str, tuple[str, ...]]]:
        """Address and names of each container that this one links to."""
        found = []
        for link in record.config.links:
            with self.store.read() as connection:
                target = catalog.by_name(connection, link.target)
            if target is not None:
                found.append((target.address, hosts.link_names(link.alias, target.id, target.name)))
        return found

    def _tell_dependents(self, record: Record) -> None:
        """Rewrite the hosts files of running containers that link to this one, where its address changed."""
        with self.store.read() as connection:
            dependents = catalog.linking_to(connection, record.name)
        for dependent in dependents:
            if status.lives(dependent):
                path = os.path.join(self.paths.bundle(dependent.id), "hosts")
                hostname = effective.hostname_of(dependent)
                with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
                    hosts.update_in_place(path, dependent.address, hostname, self._linked(dependent), pid=dependent.pid)

    # --- stop and remove ----------------------------------------------------------------------------------------------

    def stop(self, name: str, timeout: float | None = None, cancelled: Callable[[], bool] = _never) -> bool:
        """Stop a container and keep it down; returns whether it ran.

        Its stop signal, `timeout` seconds (None: its own), then SIGKILL. When `cancelled()` turns true meanwhile it
        returns at once: the container is wanted down, has got its signal, and whoever comes next finishes it.
        """
        record = self.registry.find(name)
        with self.lock(record.id):
            record = self._must(record.id)
            with self.store.write() as connection:
                catalog.change(connection, record.id, wanted="stopped", restart_at=0.0)
            files.remove_file(os.path.join(self.paths.bundle(record.id), bundle.SETTLE_MARK))
            ran = self.registry.status(record).state in (catalog.RUNNING, status.PAUSED)
            if ran:
                image = self.images.resolve(record.image)
                number = signal_number(record.config.stop_signal or image.stop_signal or "TERM")
                grace = record.config.stop_timeout if timeout is None else timeout
                if not self._end(record, number, grace, cancelled):
                    return True
            self.conclude(record)
            return ran

    def _end(self, record: Record, number: int, grace: float, cancelled: Callable[[], bool]) -> bool:
        """Signal, wait, kill; returns whether the process has ended, False when `cancelled()` came first.

        A first process without a handler never sees the signal: the kernel drops it. One that is still young may
        install its handler yet, and gets the signal again then; one that has had as long as its grace period is not
        waited for, because nothing would come of it.
        """
        fd = processes.open_process(record.pid, record.pid_start)
        if fd < 0:
            return True
        try:
            end = time.monotonic() + grace
            settled_down = time.time() - record.started > grace
            heard = False
            while grace > 0 and time.monotonic() < end:
                if not heard:
                    heard = processes.receives(record.pid, number)
                    if not _send(fd, number):
                        return True
                    cgroups.thaw(f"{self.paths.cgroup}/{record.id}")
                    if not heard and settled_down:
                        break
                if processes.wait_for_end(fd, min(0.1, max(0.0, end - time.monotonic()))):
                    return True
                if cancelled():
                    return False
            _send(fd, number if grace <= 0 else signal.SIGKILL)
            if grace <= 0:
                _send(fd, signal.SIGKILL)
            cgroups.thaw(f"{self.paths.cgroup}/{record.id}")
            return processes.wait_for_end(fd, 60.0)
        finally:
            os.close(fd)

    def conclude(self, record: Record) -> Record:
        """Write down how a container that no longer runs has ended, and take down what its run leaves behind.

        The caller holds the lock. One that never ran keeps its state.
        """
        waits = status.waits(self.paths, record)
        if record.state == catalog.RUNNING or (status.lives(record) and not waits):
            if not waits:
                self._wait_for_exit_file(record)
            ended = ending.exit_code(self.paths, record.id) or (None, time.time())
            with self.store.write() as connection:
                catalog.change(
                    connection,
                    record.id,
                    state=catalog.EXITED,
                    exit_code=ended[0],
                    finished=ended[1],
                    oom=int(ending.was_out_of_memory(self.paths, record.id)),
                )
        elif record.state == catalog.RESTARTING:
            with self.store.write() as connection:
                catalog.change(connection, record.id, state=catalog.EXITED, restart_at=0.0)
        self._clear(record)
        return self._must(record.id)

    def _wait_for_exit_file(self, record: Record, timeout: float = 30.0) -> None:
        """The monitor drains the log, then writes the code; without a monitor there is nothing to wait for."""
        end = time.monotonic() + timeout
        while ending.exit_code(self.paths, record.id) is None and status.monitor_lives(record):
            if time.monotonic() > end:
                return
            time.sleep(0.0005)

    def _clear(self, record: Record) -> None:
        if record.ports:
            self.network.unpublish(record.address, record.ports)
        bundle.take_down(self.paths, self.runtime, record.id)

    def update(self, name: str, config: ContainerConfig) -> None:
        """Give a container another configuration under its name; what is not in place counts from the next start.

        Changed ports need it stopped. Raises ReconcilerError when it runs and its ports differ.
        """
        record = self.registry.find(name)
        with self.lock(record.id):
            record = self._must(record.id)
            with self.store.write() as connection:
                if config.ports != record.config.ports:
                    if self.registry.status(record).state in (catalog.RUNNING, status.PAUSED):
                        raise ReconcilerError(
                            f"the ports of {record.name} can't be changed while it runs", code="running"
                        )
                    ports.lease(connection, record.id, config.owner, config.ports, record.ports)
                catalog.change_config(connection, record.id, config)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to the first process of a running container. SIGKILL means: and it shall stay down."""
        record = self.registry.find(name)
        with self.lock(record.id):
            record = self._must(record.id)
            if self.registry.status(record).state not in (catalog.RUNNING, status.PAUSED):
                raise ReconcilerError(
                    f"Cannot kill container: {name}: Container {record.id} is not running", code="not-running"
                )
            if number == signal.SIGKILL:
                with self.store.write() as connection:
                    catalog.change(connection, record.id, wanted="stopped")
            fd = processes.open_process(record.pid, record.pid_start)
            if fd >= 0:
                try:
                    _send(fd, number)
                    if number == signal.SIGKILL:
                        cgroups.thaw(f"{self.paths.cgroup}/{record.id}")
                        processes.wait_for_end(fd, 10.0)
                finally:
                    os.close(fd)

    def remove(self, name: str, *, force: bool = False, with_volumes: bool = False) -> None:
        """Remove a container. One that runs is refused, or with `force` killed first; volumes stay.

        `with_volumes` takes anonymous volumes that nobody else mounts too.
        """
        record = self.registry.find(name)
        with self.lock(record.id):
            record = self._must(record.id)
            state = self.registry.status(record).state
            if state in (catalog.RUNNING, status.PAUSED, catalog.RESTARTING):
                if not force:
                    raise ReconcilerError(
                        f"You cannot remove a {state} container {record.id}. Stop the container before attempting"
                        " removal or force remove",
                        code="running",
                        hint=f"`reconciler stop {record.name}`, or `reconciler rm -f {record.name}`",
                    )
                with self.store.write() as connection:
                    catalog.change(connection, record.id, wanted="stopped", restart_at=0.0)
                files.remove_file(os.path.join(self.paths.bundle(record.id), bundle.SETTLE_MARK))
                self._end(record, signal.SIGKILL, 0.0, _never)
            self._remove(record)
        files.remove_file(os.path.join(self.paths.locks, record.id))
        if with_volumes:
            self._remove_anonymous(record)

    def _remove(self, record: Record) -> None:
        with self.store.write() as connection:
            catalog.change(connection, record.id, phase=catalog.REMOVING, wanted="stopped")
        self._clear(record)
        files.remove_tree(self.paths.container(record.id))
        with self.store.write() as connection:
            catalog.delete(connection, record.id)

    def _remove_anonymous(self, record: Record) -> None:
        with self.store.read() as connection:
            users = usage.users(connection)
        for mount in record.mounts:
            if mount.kind == mounting.ANONYMOUS and mount.source not in users:
                self._remove_volume(mount.source)

    def _remove_volume(self, name: str) -> None:
        volumes.remove_folder(self.paths, name)
        with self.store.write() as connection:
            volumes.forget(connection, name)


def _send(fd: int, number: int) -> bool:
    """Send a signal; returns whether there was still a process to get it."""
    try:
        processes.send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def _ports_inside(record: Record, image: ImageConfig) -> set[tuple[int, str]]:
    """Exposed and published ports, as seen inside."""
    found = {(lease.container_port, lease.protocol) for lease in record.ports}
    for text in (*image.exposed, *record.config.exposed):
        span, _, protocol = text.partition("/")
        first, _, last = span.partition("-")
        found.update((number, protocol or "tcp") for number in range(int(first), int(last or first) + 1))
    return found


def signal_number(name: str) -> int:
    """15 from TERM, SIGTERM or 15; raises ReconcilerError for anything else."""
    text = name.upper().removeprefix("SIG")
    if text.isdecimal() and 0 < int(text) <= 64:
        return int(text)
    try:
        return signal.Signals[f"SIG{text}"].value
    except KeyError:
        pass
    base, _, offset = text.partition("+")
    if base == "RTMIN" and (offset or "0").isdecimal():
        return int(signal.SIGRTMIN) + int(offset or 0)
    raise ReconcilerError(f"Invalid signal: {name}", code="signal", hint="for example TERM, KILL or 15")
