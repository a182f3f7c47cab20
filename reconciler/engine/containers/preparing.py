"""Preparing a start: all that a container needs on the disk and in the network, up to its process waiting to be let go.

Everything here can be made again from the container's record, so nothing of it is a state worth keeping: what a crash
leaves is taken down and made anew. The caller holds the container's lock. For `lifecycle` only.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import bundle, catalog, effective, helpers, monitor, mounting, status
from reconciler.engine.kernel import cgroups, files, processes
from reconciler.engine.kernel.rooted import open_root
from reconciler.engine.networks import hosts, links, ports
from reconciler.kits.background import Background
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.runtime import OciRuntime
    from reconciler.engine.images.catalog import Images
    from reconciler.engine.networks.addresses import Subnet
    from reconciler.engine.networks.network import Network
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig
    from reconciler.engine.store import Store


HOST_GATEWAY = "host-gateway"
"""Stands for this machine's address in an extra host."""

_NETWORK_ATTEMPTS = 3
_STAYS_ROUSED = 0.02
"""Seconds that `cgroups.rouse` takes and then holds for, or nearly so."""
_PORT_ATTEMPTS = 8
"""How often random ports are chosen anew when others are quicker each time."""


class Preparing:
    """Prepares starts of one engine's containers. Safe to use from several threads, each with another container."""

    def __init__(self, paths: Paths, store: Store, images: Images, network: Network) -> None:
        self._paths = paths
        self._store = store
        self._images = images
        self._network = network
        self._roused = 0.0

    def prepare(self, record: Record, runtime: OciRuntime) -> None:
        """Have the container's process made and waiting. Nothing to do if it waits already.

        The network is made ready meanwhile. When somebody else on the machine takes it in that moment, all is done
        again with the network that is used instead. Raises ReconcilerError.
        """
        attempts = _NETWORK_ATTEMPTS
        while not status.waits(self._paths, record):
            try:
                self._prepare(record, runtime)
                return
            except ReconcilerError as error:
                attempts -= 1
                if error.code != "network-moved" or not attempts:
                    raise

    def _prepare(self, record: Record, runtime: OciRuntime) -> None:
        record = self._with_address(record)
        # Mostly waiting for nft and the kernel; needed only when the OCI runtime is at work.
        network = Background("network", self._network.prepare)
        self.rouse()
        try:
            self._make(record, runtime, network)
        finally:
            network.join()

    def rouse(self) -> None:
        """Begin what else would be waited for when a process that is made soon is put into its cgroup.

        Called when a container is written down, and again for its start: what it does wears off within moments.
        """
        now = time.monotonic()
        if now > self._roused + _STAYS_ROUSED:
            self._roused = now
            # Nobody waits for it: nothing depends on what becomes of it.
            threading.Thread(target=cgroups.rouse, name="cgroups", daemon=True).start()

    def _make(self, record: Record, runtime: OciRuntime, network: Background[Subnet]) -> None:
        again = bool(record.generation) or monitor.was_launched(self._paths, record.id)
        if again:
            bundle.take_down(self._paths, record.id)
        image = self._images.resolve(record.image)
        with open_root(bundle.mount_root(self._paths, record.id, image)) as root:
            # What a user has emptied stays empty, and by now the root has mount points that the OCI runtime made.
            mounting.furnish(self._paths, record.mounts, None if again else root)
        bundle.write(self._paths, record, image, self.link_variables(record), self._network_files(record))
        files.make_folders(self._paths.exits)
        record, held = self._hold_ports(record)
        try:
            launched = monitor.launch(
                self._paths,
                runtime,
                record.id,
                record.name,
                helpers.hook_command(self._paths, record.id),
                held,
                lambda: self._ready_network(record, network),
                terminal=record.config.terminal,
                interactive=record.config.interactive,
            )
        finally:
            for fd in held:
                os.close(fd)
        generation = record.generation + 1
        self._network.connect(record.id, generation, launched.pid, record.address)
        with self._store.write() as connection:
            catalog.change(
                connection,
                record.id,
                generation=generation,
                boot=processes.boot_id(),
                pid=launched.pid,
                pid_start=launched.pid_start,
                monitor=launched.monitor,
                monitor_start=launched.monitor_start,
            )

    def _hold_ports(self, record: Record) -> tuple[Record, list[int]]:
        """Sockets that hold the published ports. A random one that somebody else has taken is given up for another."""
        attempts = _PORT_ATTEMPTS if any(not port.host_port for port in record.config.ports) else 1
        while True:
            try:
                return record, ports.hold(record.ports)
            except ReconcilerError as error:
                attempts -= 1
                if error.code != "port-taken" or not attempts:
                    raise
            with self._store.write() as connection:
                config = record.config
                leases = ports.lease(connection, record.id, config.owner, config.ports, record.ports)
            record = replace(record, ports=leases)

    def _with_address(self, record: Record) -> Record:
        """The record with an address of the network that is chosen now: another one when that has changed since."""
        self._network.choose()
        with self._store.write() as connection:
            address = self._network.lease_address(connection, record.id, record.address)
            if address != record.address:
                catalog.change(connection, record.id, address=address)
        return replace(record, address=address)

    def _ready_network(self, record: Record, network: Background[Subnet]) -> None:
        """Bridge, table and the container's published ports; its address must be one of the network that is there now.

        Raises ReconcilerError when it is not: something else on the machine has taken the network meanwhile.
        """
        subnet = network.result()
        if not subnet.holds(record.address):
            raise ReconcilerError(
                f"container {record.name} can't have its address {record.address}: something else on this machine has"
                f" taken that network a moment ago, and {subnet} is used instead",
                code="network-moved",
                hint="apply again",
            )
        self._network.publish(record.address, record.ports)

    def link_variables(self, record: Record) -> list[str]:
        """The variables that the container's links give it, from what the targets are now."""
        variables: list[str] = []
        for link in record.config.links:
            with self._store.read() as connection:
                target = catalog.by_name(connection, link.target)
            if target is None:
                continue
            image = self._images.resolve(target.image)
            inside = effective.merge_environment(
                image.environment, [f"{name}={value}" for name, value in target.config.environment.items()]
            )
            found = links.variables(record.name, link.alias, target.address, _ports_inside(target, image), inside)
            variables += [f"{name}={value}" for name, value in found.items()]
        return variables

    def _network_files(self, record: Record) -> bundle.NetworkFiles:
        hostname, names = effective.full_hostname_of(record), record.config.names
        return bundle.NetworkFiles(
            hosts.content(record.address, hostname, self._known(record)),
            hosts.hostname_file(hostname),
            hosts.resolver(names.servers, names.search, names.options).encode(),
        )

    def _known(self, record: Record) -> list[tuple[str, tuple[str, ...]]]:
        """Address and names of the hosts that its configuration names, then of each container that it links to."""
        found = [self._host(text) for text in record.config.names.hosts]
        for link in record.config.links:
            with self._store.read() as connection:
                target = catalog.by_name(connection, link.target)
            if target is not None:
                found.append((target.address, hosts.link_names(link.alias, target.id, target.name)))
        return found

    def _host(self, text: str) -> tuple[str, tuple[str, ...]]:
        """NAME=ADDRESS, where the address may be this machine's as containers see it."""
        name, _, address = text.partition("=")
        subnet = self._network.subnet() if address == HOST_GATEWAY else None
        return (subnet.gateway if subnet else address), (name,)

    def tell_dependents(self, record: Record) -> None:
        """Rewrite the hosts files of running containers that link to this one, where its address changed."""
        with self._store.read() as connection:
            dependents = catalog.linking_to(connection, record.name)
        for dependent in dependents:
            if status.lives(dependent):
                path = os.path.join(self._paths.names(dependent.id), "hosts")
                hostname = effective.full_hostname_of(dependent)
                with contextlib.suppress(
                    OSError
                ):  # it has ended meanwhile; and a start must not fail because of others
                    hosts.update_in_place(path, dependent.address, hostname, self._known(dependent))


def _ports_inside(record: Record, image: ImageConfig) -> set[tuple[int, str]]:
    """Exposed and published ports, as seen inside."""
    found = {(lease.container_port, lease.protocol) for lease in record.ports}
    for text in (*image.exposed, *record.config.exposed):
        span, _, protocol = text.partition("/")
        first, _, last = span.partition("-")
        found.update((number, protocol or "tcp") for number in range(int(first), int(last or first) + 1))
    return found
