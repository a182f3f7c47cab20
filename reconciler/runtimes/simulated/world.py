"""The state of a simulated machine, and what can be asked about it. Changes nothing by itself. For `runtime`, `oracle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.addresses import overlap
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.model.observed import (
    DEAD,
    PAUSED,
    RESTARTING,
    RUNNING,
    BusyPort,
    ObservedContainer,
    ObservedVolume,
    RemoteImage,
)
from reconciler.model.renaming import with_container, with_volume

if TYPE_CHECKING:
    from reconciler.model.action import RenameContainer, RenameVolume
    from reconciler.model.desired import Link, Port
    from reconciler.model.observed import ObservedImage, PortBinding

LIVE = (RUNNING, PAUSED, RESTARTING)
FIRST_RANDOM_PORT = 32768


class SimulatedContainer:
    """A container. `links` is alias -> (id, address) of its target when this one was made; `mounts` target -> volume."""

    def __init__(self, container_id: str, name: str, stack: str = "", key: str = "") -> None:
        self.id = container_id
        self.name = name
        self.stack = stack
        self.key = key
        self.state = DEAD
        self.image = ""
        self.image_id = ""
        self.settings: dict[str, Any] = {}
        self.origin = ""
        self.address = ""
        self.ports: tuple[PortBinding, ...] = ()
        self.links: dict[str, tuple[str, str]] = {}
        self.targets: tuple[Link, ...] = ()
        self.mounts: dict[str, str] = {}
        self.anonymous: dict[str, str] = {}
        self.prepared = False
        self.stopped_by_hand = False
        self.exit_code: int | None = None
        self.error = ""
        self.faults: tuple[str, ...] = ()
        self.drift: tuple[str, ...] = ()
        self.restart_count = 0
        self.health = ""
        self.health_restarts = 0
        self.log: list[str] = []
        self.created_at = self.started_at = self.finished_at = 0.0

    @property
    def live(self) -> bool:
        return self.state in LIVE

    def observed(self) -> ObservedContainer:
        names = (
            "id name state stack key image image_id settings origin exit_code error stopped_by_hand restart_count "
            "health health_restarts address ports anonymous faults drift created_at started_at finished_at"
        )
        return ObservedContainer(**{name: getattr(self, name) for name in names.split()})


class SimulatedVolume:
    """A volume; `owner` is (stack, key, target) of an anonymous one, `content` what was written to it, by path."""

    def __init__(self, name: str, stack: str = "", key: str = "", owner: tuple[str, str, str] | None = None) -> None:
        self.name = name
        self.stack = stack
        self.key = key
        self.owner = owner
        self.content: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.protected = ""
        self.created_at = 0.0


class World:
    """A machine. `registry` is what can be pulled, `unreachable` says why nothing of it can be reached, "" if it can.

    `listeners` are who else has a port: (ip, port, protocol) -> holder.
    """

    def __init__(self) -> None:
        self.images: dict[str, ObservedImage] = {}
        self.registry: dict[str, ObservedImage] = {}
        self.unreachable = ""
        self.containers: dict[str, SimulatedContainer] = {}
        self.volumes: dict[str, SimulatedVolume] = {}
        self.listeners: dict[tuple[str, int, str], str] = {}
        self.network_faults: tuple[str, ...] = ()
        self._ids = 0
        self._hosts = 1
        self._random_port = FIRST_RANDOM_PORT - 1

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:064x}"

    def find(self, stack: str, key: str) -> SimulatedContainer | None:
        """A stack's container by its key."""
        return next((c for c in self.containers.values() if c.stack == stack and c.key == key), None)

    def get(self, stack: str, key: str) -> SimulatedContainer:
        """The same; raises ReconcilerError where there is none."""
        if found := self.find(stack, key):
            return found
        raise ReconcilerError(f"there is no container {stack}/{key}", code="not-found")

    def remote(self, reference: str) -> RemoteImage:
        """What the registry says that a name stands for."""
        if self.unreachable:
            return RemoteImage(reference, error=self.unreachable, code="unreachable")
        image = self.registry.get(reference)
        if image is None:
            return RemoteImage(reference, error=f"no registry has image {reference}", code="not-found")
        return RemoteImage(reference, image.digest)

    def anonymous_of(self, owner: tuple[str, str, str]) -> SimulatedVolume | None:
        """The anonymous volume that belongs to (stack, key, target)."""
        return next((v for v in self.volumes.values() if v.owner == owner), None)

    def users_of(self, volume: str) -> tuple[str, ...]:
        """The names of the containers that mount a volume, sorted."""
        return tuple(sorted(c.name for c in self.containers.values() if volume in c.mounts.values()))

    def observed_volume(self, volume: SimulatedVolume) -> ObservedVolume:
        return ObservedVolume(
            volume.name,
            volume.stack,
            volume.key,
            volume.owner is not None,
            self.users_of(volume.name),
            volume.created_at,
            dict(volume.labels),
            volume.protected,
        )

    def rename_volume(self, action: RenameVolume, *, rehearse: bool = False) -> bool:
        """Rename one; with `rehearse` only say whether that is done already. Raises ReconcilerError."""
        old, new = self.volumes.get(action.old_name), self.volumes.get(action.volume.name)
        place = (action.stack, action.volume.key)
        if new and (new.stack, new.key) == place and old in (None, new):
            return True
        if old is None or (new and new is not old):
            raise ReconcilerError(f"volume {action.old_name} can't be called {action.volume.name}", code="name-taken")
        if rehearse:
            return False
        named = old.owner is None
        del self.volumes[old.name]
        old.name, old.stack, old.key = action.volume.name, *place
        old.owner = (*place, old.owner[2]) if old.owner else None
        self.volumes[old.name] = old
        for container in self.containers.values():
            container.mounts = {t: old.name if n == action.old_name else n for t, n in container.mounts.items()}
            if named and action.old_key and container.stack in (action.stack, action.old_stack):
                container.settings = with_volume(container.settings, action.old_key, action.volume.key)
        return False

    def rename_container(self, action: RenameContainer, *, rehearse: bool = False) -> bool:
        """As `rename_volume`; its anonymous volumes go along."""
        old, new = self.containers.get(action.old_name), self.find(action.stack, action.key)
        if new and new.name == action.name and old in (None, new):
            return True
        holder = self.containers.get(action.name)
        if old is None or (new and new is not old) or (holder and holder is not old):
            raise ReconcilerError(f"container {action.old_name} can't be called {action.name}", code="name-taken")
        if rehearse:
            return False
        for volume in self.volumes.values():
            if volume.owner and old.stack and volume.owner[:2] == (old.stack, old.key):
                volume.stack, volume.key = action.stack, action.key
                volume.owner = (action.stack, action.key, volume.owner[2])
        del self.containers[old.name]
        old.name, old.stack, old.key, old.origin = action.name, action.stack, action.key, action.origin
        old.settings = dict(action.settings)
        self.containers[old.name] = old
        for other in self.containers.values():
            if other is not old and action.old_key and other.stack in (action.stack, action.old_stack):
                other.settings = with_container(other.settings, action.old_key, action.key)
                other.targets = tuple(
                    replace(t, container=action.key) if t.container == action.old_key else t for t in other.targets
                )
        return False

    def next_address(self, wanted: str) -> str:
        """The address wanted if nobody has it, else the next of the sequence."""
        taken = {c.address for c in self.containers.values()}
        if wanted and wanted not in taken:
            return wanted
        while True:
            self._hosts += 1
            address = f"172.17.{self._hosts // 256}.{self._hosts % 256}"
            if address not in taken:
                return address

    def holders(self, host_ip: str, host_port: int, protocol: str) -> list[BusyPort]:
        """Who has a host port: containers, running or not, and other programs."""
        found = [
            BusyPort(b.host_ip, b.host_port, b.protocol, f"container {c.name}", c.name)
            for c in self.containers.values()
            for b in c.ports
            if b.host_port == host_port and b.protocol == protocol and overlap(b.host_ip, host_ip)
        ]
        found += [
            BusyPort(ip, number, kind, holder)
            for (ip, number, kind), holder in sorted(self.listeners.items())
            if number == host_port and kind == protocol and overlap(ip, host_ip)
        ]
        return found

    def give_port(self, port: Port, own: str, given: list[PortBinding], kept: tuple[PortBinding, ...]) -> int:
        """A host port for a published one: the one kept, the one asked for, the first free of a range, or a random one."""

        def holder_of(number: int) -> str:
            others = [e.holder for e in self.holders(port.host_ip, number, port.protocol) if e.container != own]
            mine = [b for b in given if b.host_port == number and b.protocol == port.protocol]
            others += [f"container {own}" for b in mine if overlap(b.host_ip, port.host_ip)]
            return next(iter(others), "")

        if port.host_port:
            numbers = range(port.host_port, max(port.host_port, port.host_port_end) + 1)
            free = next((number for number in numbers if not holder_of(number)), 0)
            if not free:
                raise ReconcilerError(
                    f"host port {port.host_port}/{port.protocol} is taken by {holder_of(port.host_port)}",
                    code="port-taken",
                )
            return free
        for binding in kept:
            same = (binding.container_port, binding.protocol, binding.host_ip)
            if same == (port.container_port, port.protocol, port.host_ip) and not holder_of(binding.host_port):
                return binding.host_port
        while True:
            self._random_port += 1
            if not holder_of(self._random_port):
                return self._random_port
