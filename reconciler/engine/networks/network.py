"""The default network of one pair of roots: what the engine's other rooms call. Safe to use from several threads.

Order at a start: `prepare` (early; overlaps with other work), `lease_address` and `ports.lease` in the store's
transaction, `ports.hold` before the monitor starts, `connect` when the first process waits, `publish` before it runs.
At an end: `unpublish`, then `addresses.release`; link and namespace have gone by themselves.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from reconciler.engine.kernel import netlink
from reconciler.engine.networks import addresses, bridge, ports
from reconciler.engine.networks.addresses import Subnet
from reconciler.engine.networks.firewall import Firewall, Published
from reconciler.engine.store import get_meta, set_meta
from reconciler.kits.background import Background
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from reconciler.engine.paths import Paths
    from reconciler.engine.records import PortLease
    from reconciler.engine.store import Store

_SUBNET = "network.subnet"
_WANTED = "network.wanted"


class Network:
    """Bridge, subnet and table of these roots; nothing is made before `prepare`."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self._bridge = paths.bridge
        self._store = store
        self._firewall = Firewall(paths.table, paths.bridge)
        self._guard = threading.Lock()

    def subnet(self) -> Subnet | None:
        """The network as chosen by the last `prepare`, None before the first."""
        with self._store.read() as connection:
            text = get_meta(connection, _SUBNET)
        return Subnet.of(text) if text else None

    def choose(self) -> Subnet:
        """Have a subnet, so that addresses can be given out before anything of it is made; cheap while the bridge is there.

        Without the bridge nobody is connected, and a subnet that something else on the host uses by now is changed.
        """
        known = self.subnet()
        if known and netlink.index_of(self._bridge):
            return known
        with self._guard, bridge.alone():
            return self._choose()

    def prepare(self) -> Subnet:
        """Make what is missing of bridge, table and the rules beside another firewall; cheap when all is there.

        A subnet that something else on the host uses by now is changed when the bridge has to be made again (nobody
        is connected then).
        """
        with self._guard:
            subnet = self.subnet()
            if subnet and self._wanted() and self._complete(subnet):
                return subnet
            with bridge.alone():
                return self._make()

    def problems(self) -> list[str]:
        """What is missing of what running containers need, in words; changes nothing."""
        subnet = self.subnet()
        if not subnet:
            return []
        found = []
        if not bridge.present(self._bridge, subnet):
            found.append(f"the bridge {self._bridge} is gone or not as it should be")
        if not self._firewall.present(str(subnet)):
            found.append("the firewall table is gone or not as it should be")
        if self._firewall.blocked():
            found.append("another firewall drops the containers' traffic")
        return found

    def lease_address(self, connection: sqlite3.Connection, container: str, wanted: str = "") -> str:
        """The container's address (see `addresses.lease`), in the caller's transaction and after `prepare`."""
        return addresses.lease(connection, self._chosen(connection), container, wanted)

    def connect(self, container: str, generation: int, pid: int, address: str) -> None:
        """See `bridge.connect`."""
        with self._store.read() as connection:
            subnet = self._chosen(connection)
        bridge.connect(self._bridge, subnet, container, generation, pid=pid, address=address)

    def publish(self, address: str, leases: Sequence[PortLease]) -> None:
        """Lead the leased host ports to the container at `address`."""
        self._firewall.publish(address, leases)

    def unpublish(self, address: str, leases: Sequence[PortLease]) -> None:
        """Take those away again; what leads elsewhere by now stays."""
        self._firewall.unpublish(address, leases)

    def rebuild(self) -> None:
        """Make the table new from the records of what runs: for a table that somebody else damaged."""
        with self._store.read() as connection:
            subnet = self._chosen(connection)
        with bridge.alone():
            self._firewall.rebuild(str(subnet), [one.published for one in self._live()])

    def retire(self) -> bool:
        """Note that the network is not needed if there is no container; returns whether `teardown` has work to do.

        The note is written in the transaction that sees no container. Whoever makes one afterwards finds it in
        `prepare` and waits for a teardown that is under way, instead of losing its network to it.
        """
        with self._store.write() as connection:
            if connection.execute("SELECT 1 FROM containers LIMIT 1").fetchone():
                return False
            wanted = get_meta(connection, _WANTED)
            if wanted:
                set_meta(connection, _WANTED, "")
        return bool(wanted) or netlink.index_of(self._bridge) != 0

    def teardown(self) -> None:
        """After `retire`: remove bridge, table and the rules beside another firewall, unless they are wanted again.

        Deleting a bridge takes the kernel 50 to 100 ms.
        """
        with self._guard, bridge.alone():
            if self._wanted():
                return
            self._firewall.close_forward()
            self._firewall.remove()
            bridge.remove(self._bridge)

    def _wanted(self) -> bool:
        with self._store.read() as connection:
            return bool(get_meta(connection, _WANTED))

    def _complete(self, subnet: Subnet) -> bool:
        made = bridge.present(self._bridge, subnet) and self._firewall.present(str(subnet))
        return made and not self._firewall.blocked()

    def _make(self) -> Subnet:
        subnet = self._choose()
        loading = None
        new = not netlink.index_of(self._bridge)
        if not self._firewall.present(str(subnet)):
            # nft needs its time, and no bridge: both at once.
            loading = Background(
                "firewall", lambda: self._firewall.rebuild(str(subnet), [one.published for one in self._live()])
            )
        try:
            bridge.ensure(self._bridge, subnet)
            if new:
                for one in self._live():
                    bridge.attach(self._bridge, one.veth)
            self._firewall.open_forward()
        finally:
            if loading:
                loading.join()
        if loading:
            loading.result()
        with self._store.write() as connection:
            set_meta(connection, _WANTED, "yes")
        return subnet

    def _choose(self) -> Subnet:
        from reconciler.engine.networks import pools  # noqa: PLC0415 - needed once in the life of a bridge

        with self._store.read() as connection:
            known = get_meta(connection, _SUBNET)
        index = netlink.index_of(self._bridge)
        if index and known:
            return Subnet.of(known)
        mine = netlink.addresses(index) if index else []
        if mine:  # the bridge is there and the store is new
            address, _, prefix = mine[0].partition("/")
            chosen = Subnet(addresses.number(address) - 1, int(prefix))
        else:
            chosen = pools.choose(pools.in_use(), known)
        if str(chosen) != known:
            with self._store.write() as connection:
                set_meta(connection, _SUBNET, str(chosen))
        return chosen

    def _chosen(self, connection: sqlite3.Connection) -> Subnet:
        text = get_meta(connection, _SUBNET)
        if not text:
            raise ReconcilerError("the network is not prepared", code="network", hint="apply again")
        return Subnet.of(text)

    def _live(self) -> list[_Connected]:
        """The containers that are connected: their host end is there, which dies with them."""
        with self._store.read() as connection:
            rows = connection.execute(
                "SELECT c.id, c.generation, a.address FROM containers c JOIN addresses a ON a.container = c.id"
                " WHERE c.generation > 0"
            ).fetchall()
            found = []
            for container, generation, address in rows:
                veth = bridge.veth_name(container, generation)
                if netlink.index_of(veth):
                    found.append(_Connected(veth, Published(address, ports.leases_of(connection, container))))
            return found


class _Connected(Frozen):
    """A live container's host end, and what is published of it."""

    veth: str
    published: Published
