"""`Simulated`: the runtime port over a `World` in memory, with drift and faults on demand. For tests and `cli`.

What the port does is here; what happens by itself is in `drift`, what goes wrong meanwhile in `faults`.
"""

from __future__ import annotations

from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any

from reconciler.kits.errors import EXIT_NOT_HEALTHY, ReconcilerError
from reconciler.model.action import (
    AwaitContainer,
    CreateContainer,
    CreateVolume,
    PrepareContainer,
    PullImage,
    RemoveContainer,
    RemoveVolume,
    RenameContainer,
    RenameVolume,
    RepairNetwork,
    StartContainer,
    StopContainer,
    UpdateContainer,
    UpdateVolume,
)
from reconciler.model.desired import COMPLETED, HEALTHY, UPDATABLE
from reconciler.model.observed import (
    CREATED,
    DEAD,
    EXITED,
    PAUSED,
    RUNNING,
    STARTING,
    UNHEALTHY,
    Observed,
    ObservedImage,
    PortBinding,
)
from reconciler.model.observed import HEALTHY as IS_HEALTHY
from reconciler.runtimes.base import Capabilities, Context, Event, Outcome
from reconciler.runtimes.simulated.drift import Drift
from reconciler.runtimes.simulated.faults import Faults
from reconciler.runtimes.simulated.world import SimulatedContainer, SimulatedVolume, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reconciler.model.action import Action
    from reconciler.model.desired import Container
    from reconciler.model.observed import Scope


class Simulated(Drift):
    """A machine in memory.

    `images` are local at the start, as if pulled where they are names; with `registry` it can pull. `jobs` are keys whose
    process ends at once after a start, with that exit code. What has a health check is starting until somebody waits for
    it: then it becomes healthy, or unhealthy if its key is in `sick`. `trace` has every action that was asked for, in
    order, `starts` what was true when a container was started: (stack, key, {key: (state, exit code, health)}). Safe to
    call from threads.
    """

    def __init__(
        self,
        images: Iterable[ObservedImage | str] = (),
        *,
        registry: Iterable[ObservedImage | str] | None = None,
        prepare: bool = True,
        rename: bool = True,
        update_in_place: frozenset[str] = UPDATABLE,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.capabilities = Capabilities(
            "simulated",
            pull=registry is not None,
            prepare=prepare,
            rename=rename,
            update_in_place=update_in_place,
        )
        ticks = count(1)
        super().__init__(World(), clock or (lambda: float(next(ticks))))
        self.world.images = {image.reference: image for image in map(_image, images)}
        self.world.registry = {image.reference: image for image in map(_image, registry or ())}
        self.faults = Faults()
        self.jobs: dict[str, int] = {}
        self.sick: set[str] = set()
        self.trace: list[Action] = []
        self.starts: list[tuple[str, str, dict[str, tuple[str, int | None, str]]]] = []
        self._deadline: float | None = None
        self._lock = RLock()

    # The port.

    def observe(self, scope: Scope) -> Observed:
        """Look at what is in the scope, sorted by name."""
        with self._lock:
            world = self.world
            stacks = {scope.stack, *scope.former}
            containers = [c for c in world.containers.values() if c.stack in stacks or c.name in scope.names]
            volumes = [v for v in world.volumes.values() if v.stack in stacks or v.name in scope.volumes]
            busy = [entry for port in scope.host_ports for entry in world.holders(*port)]
            seen = Observed(
                tuple(c.observed() for c in sorted(containers, key=lambda c: c.name)),
                tuple(world.observed_volume(v) for v in sorted(volumes, key=lambda v: v.name)),
                {reference: world.images[reference] for reference in scope.images if reference in world.images},
                tuple(dict.fromkeys(busy)),
                world.network_faults if any(c.state == RUNNING for c in containers) else (),
                remote={reference: world.remote(reference) for reference in scope.remote if self.capabilities.pull},
            )
            return self.faults.looked(scope, seen)

    def perform(self, action: Action, context: Context) -> Outcome:
        """Carry out one action."""
        with self._lock:
            self._deadline = context.deadline
            self.trace.append(action)
            self.faults.action(action)
            return _PERFORM[type(action)](self, action)

    def events(self, since: float, stop: Callable[[], bool]) -> Iterator[Event]:
        """What has happened so far; a simulated machine does nothing while it is watched."""
        for event in self.faults.told([event for event in self._events if event.at > since]):
            if stop():
                return
            yield event

    def tidy(self) -> None:
        """Nothing here outlives the containers but volumes."""

    def culprit(self, stack: str, key: str) -> str:
        """The last lines of the container's `log`."""
        found = self.world.find(stack, key)
        return "\n".join(found.log[-10:]) if found else ""

    def settled(self, stack: str, keys: Sequence[str], deadline: float) -> dict[str, tuple[int | None, str]]:  # noqa: ARG002
        """Those of the containers that have ended."""
        found = {key: self.world.find(stack, key) for key in keys}
        return {key: (c.exit_code or 0, c.error) for key, c in found.items() if c and c.state == EXITED}

    def measure_volume(self, name: str, within: float) -> tuple[int, bool]:
        """The characters in a volume; all of them, where there is any time."""
        return sum(map(len, self.world.volumes[name].content.values())), within > 0

    # Effects: one change each, which either happens or does not.

    def _effect(self, change: Callable[[], object], container: str = "", kind: str = "") -> None:
        self.faults.before()
        change()
        if kind:
            self._events.append(Event(kind, container, self._clock()))
        self.faults.after()

    def _pull(self, action: PullImage) -> Outcome:
        remote = self.world.remote(action.reference)
        if remote.error:
            raise ReconcilerError(remote.error, code=remote.code, hint=remote.hint)
        image = self.world.registry[action.reference]
        if self.world.images.get(action.reference) == image:
            return Outcome(changed=False)
        self._effect(lambda: self.world.images.update({action.reference: image}))
        return Outcome()

    def _repair_network(self, _action: RepairNetwork) -> Outcome:
        if not self.world.network_faults:
            return Outcome(changed=False)
        self._effect(lambda: setattr(self.world, "network_faults", ()))
        return Outcome()

    def _create_volume(self, action: CreateVolume) -> Outcome:
        name = action.volume.name
        if name in self.world.volumes:
            return Outcome(changed=False)
        volume = SimulatedVolume(name, action.stack, action.volume.key)
        volume.created_at = self._clock()
        volume.labels, volume.protected = dict(action.volume.labels), action.protected
        self._effect(lambda: self.world.volumes.update({name: volume}))
        return Outcome()

    def _update_volume(self, action: UpdateVolume) -> Outcome:
        volume = self.world.volumes.get(action.volume.name)
        if volume is None:
            raise ReconcilerError(f"volume {action.volume.name} is not there", code="no-volume")

        def change() -> None:
            volume.labels, volume.protected = dict(action.volume.labels), action.protected

        changed = (volume.labels, volume.protected) != (action.volume.labels, action.protected)
        self._effect(change)
        return Outcome(changed=changed)

    def _rename_volume(self, action: RenameVolume) -> Outcome:
        if self.world.rename_volume(action, rehearse=True):
            return Outcome(changed=False)
        self._effect(lambda: self.world.rename_volume(action))
        return Outcome()

    def _rename_container(self, action: RenameContainer) -> Outcome:
        if self.world.rename_container(action, rehearse=True):
            return Outcome(changed=False)
        self._effect(lambda: self.world.rename_container(action), action.name, "rename")
        return Outcome()

    def _remove_volume(self, action: RemoveVolume) -> Outcome:
        if users := self.world.users_of(action.name):
            raise ReconcilerError(f"volume {action.name} is used by {', '.join(users)}", code="in-use")
        if action.name not in self.world.volumes:
            return Outcome(changed=False)
        if by := self.world.volumes[action.name].protected:
            raise ReconcilerError(f"volume {action.name} is protected by {by}", code="protected")
        self._effect(lambda: self.world.volumes.pop(action.name))
        return Outcome()

    def _create(self, action: CreateContainer) -> Outcome:
        wanted, world = action.container, self.world
        if wanted.name in world.containers:
            raise ReconcilerError(f"the name {wanted.name} is taken", code="name-taken")
        if world.find(action.stack, wanted.key):
            raise ReconcilerError(f"container {action.stack}/{wanted.key} is there already", code="name-taken")
        if wanted.image not in world.images:
            raise ReconcilerError(f"image {wanted.image} is not here", code="no-image")
        made = SimulatedContainer(world.new_id(), wanted.name, action.stack, wanted.key)
        made.image, made.image_id = wanted.image, world.images[wanted.image].id
        made.created_at = self._clock()
        made.targets = wanted.links
        for link in wanted.links:
            target = world.find(action.stack, link.container)
            if target is None or target.state == DEAD:
                raise ReconcilerError(f"can't link {wanted.key} to {link.container}: there is no such container")
            made.links[link.alias] = (target.id, target.address)
        mounts, anonymous = self._mounts_of(action)
        made.ports = self._ports_of(wanted, action.kept.ports)
        made.address = world.next_address(action.kept.address)
        self._effect(lambda: world.containers.update({made.name: made}))
        for target_path in anonymous:
            name = self._anonymous(action, target_path)
            mounts[target_path] = made.anonymous[target_path] = name
        made.mounts = mounts

        def finish() -> None:
            made.state, made.settings, made.origin = CREATED, wanted.settings(), action.origin

        self._effect(finish, made.name, "create")
        return Outcome(details={"id": made.id})

    def _mounts_of(self, action: CreateContainer) -> tuple[dict[str, str], list[str]]:
        """(target -> volume or host path, targets that get an anonymous volume): own ones win over volumes-from."""
        wanted, mounts = action.container, dict[str, str]()
        for source in wanted.volumes_from:
            other = self.world.find(action.stack, source.container)
            if other is None or other.state == DEAD:
                raise ReconcilerError(f"{wanted.key} takes volumes from {source.container}, which is not there")
            mounts |= other.mounts
        anonymous = set(self.world.images[wanted.image].volumes)
        for mount in wanted.volumes:
            if mount.kind == "volume" and action.volumes[mount.source].name not in self.world.volumes:
                raise ReconcilerError(f"volume {action.volumes[mount.source].name} is not there", code="no-volume")
            if mount.kind == "anonymous":
                anonymous.add(mount.target)
            else:
                mounts[mount.target] = action.volumes[mount.source].name if mount.kind == "volume" else mount.source
        return mounts, sorted(anonymous - mounts.keys())

    def _anonymous(self, action: CreateContainer, target: str) -> str:
        """The anonymous volume of the predecessor, found by what belongs to this owner, or a new one."""
        owner = (action.stack, action.container.key, target)
        kept = self.world.volumes.get(action.kept.anonymous.get(target, ""))
        if volume := kept or self.world.anonymous_of(owner):
            return volume.name
        new = SimulatedVolume(self.world.new_id(), action.stack, action.container.key, owner)
        new.created_at = self._clock()
        self._effect(lambda: self.world.volumes.update({new.name: new}))
        return new.name

    def _ports_of(self, wanted: Container, kept: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
        given: list[PortBinding] = []
        for port in sorted(wanted.ports, key=lambda p: (not p.host_port, p.host_port_end)):
            number = self.world.give_port(port, wanted.name, given, kept)
            given.append(PortBinding(port.container_port, port.protocol, port.host_ip, number))
        return tuple(given)

    def _prepare(self, action: PrepareContainer) -> Outcome:
        container = self.world.get(action.stack, action.key)
        if container.live or container.prepared:
            return Outcome(changed=False)
        if container.state == DEAD:
            raise ReconcilerError(f"container {container.name} is half-made", code="dead")
        self._effect(lambda: setattr(container, "prepared", True))
        return Outcome()

    def _start(self, action: StartContainer) -> Outcome:
        container = self.world.get(action.stack, action.key)
        if container.live:
            return Outcome(changed=False)
        if container.state == DEAD:
            raise ReconcilerError(f"container {container.name} is half-made", code="dead")
        for link in container.targets:
            target = self.world.find(action.stack, link.container)
            if target is None or not target.live:
                container.error = f"can't link to /{link.container} AS /{container.name}/{link.alias}: it does not run"
                raise ReconcilerError(container.error, code="link", hint=f"start {link.container} first")

        def run() -> None:
            container.state, container.error, container.exit_code = RUNNING, "", None
            container.prepared = False
            container.stopped_by_hand, container.faults, container.restart_count = False, (), 0
            container.drift = ()
            container.started_at = self._clock()
            container.health = STARTING if self._is_checked(container) else ""
            container.health_restarts = 0

        others = [c for c in self.world.containers.values() if c.stack == action.stack]
        self.starts.append((action.stack, action.key, {c.key: (c.state, c.exit_code, c.health) for c in others}))
        self._effect(run, container.name, "start")
        if action.key in self.jobs:
            self._end(container, self.jobs[action.key])
        return Outcome()

    def _is_checked(self, container: SimulatedContainer) -> bool:
        test = container.settings.get("healthcheck", {}).get("test", ())
        image = self.world.images.get(container.image)
        return test[0] != "NONE" if test else image is not None and image.healthcheck

    def _await(self, action: AwaitContainer) -> Outcome:
        """Time passes until the container is healthy or not, or a job has ended; then it is seen what has come of it."""
        container = self.world.get(action.stack, action.key)
        in_time = self._deadline is None or self._clock() <= self._deadline
        if container.state == RUNNING and action.key in self.jobs:
            self._end(container, self.jobs[action.key])
        if container.state == RUNNING and container.health and in_time:
            container.health = UNHEALTHY if action.key in self.sick else IS_HEALTHY
        done = container.state == EXITED and container.exit_code == 0
        up = container.state in (RUNNING, PAUSED) and (container.health == IS_HEALTHY or not container.health)
        reached = {HEALTHY: up and bool(container.health), COMPLETED: done}.get(action.condition, up or done)
        if not reached:
            raise ReconcilerError(
                f"container {action.key} has not reached {action.condition}: it is {container.health or container.state}",
                code="condition",
                exit_code=EXIT_NOT_HEALTHY,
            )
        state = "done" if done else IS_HEALTHY if container.health else "up"
        return Outcome(changed=False, details={"state": state})

    def _stop(self, action: StopContainer) -> Outcome:
        container = self.world.get(action.stack, action.key)
        if not container.live:
            return Outcome(changed=False)

        def want_down() -> None:
            container.stopped_by_hand = True

        self._effect(want_down)
        self._effect(lambda: self._end(container, 0), container.name, "stop")
        return Outcome()

    def _update(self, action: UpdateContainer) -> Outcome:
        container, new = self.world.get(action.stack, action.container.key), action.container.settings()
        old = container.settings
        changed = {name for name in {*new, *old} if _in_any_order(new.get(name)) != _in_any_order(old.get(name))}
        changed |= {"origin"} if container.origin != action.origin else set()
        if wrong := sorted(changed - self.capabilities.update_in_place):
            raise ReconcilerError(f"{', '.join(wrong)} of {container.name} can't change in place", code="unsupported")
        if "ports" in changed and container.live:
            raise ReconcilerError(f"ports of {container.name} can't change while it runs", code="unsupported")
        ports = self._ports_of(action.container, container.ports) if "ports" in changed else container.ports

        def change() -> None:
            container.settings, container.origin, container.ports = new, action.origin, ports
            container.drift = ()
            if container.live:
                container.health = (container.health or STARTING) if self._is_checked(container) else ""

        changed |= set(container.drift)
        self._effect(change, container.name, "update")
        return Outcome(changed=bool(changed))

    def _remove(self, action: RemoveContainer) -> Outcome:
        container = self.world.find(action.stack, action.key)
        if container is None:
            return Outcome(changed=False)
        if container.live:
            raise ReconcilerError(f"container {container.name} is running", code="running", hint="stop it first")

        def begin() -> None:
            container.state = DEAD

        self._effect(begin)
        self._effect(lambda: self.world.containers.pop(container.name), container.name, "remove")
        return Outcome()


def _image(image: ObservedImage | str) -> ObservedImage:
    if isinstance(image, str):
        return ObservedImage(image, f"sha256:{image}", digest=f"sha256:{image}-manifest")
    return image


def _in_any_order(value: Any) -> Any:
    """What a setting means: the order of ports and mounts is nothing that a container would have to be made anew for."""
    return sorted(value) if isinstance(value, list) else value


_PERFORM: dict[type, Callable[[Simulated, Any], Outcome]] = {
    PullImage: Simulated._pull,  # noqa: SLF001 - this class's own table
    RepairNetwork: Simulated._repair_network,  # noqa: SLF001
    CreateVolume: Simulated._create_volume,  # noqa: SLF001
    UpdateVolume: Simulated._update_volume,  # noqa: SLF001
    RenameVolume: Simulated._rename_volume,  # noqa: SLF001
    RenameContainer: Simulated._rename_container,  # noqa: SLF001
    RemoveVolume: Simulated._remove_volume,  # noqa: SLF001
    CreateContainer: Simulated._create,  # noqa: SLF001
    PrepareContainer: Simulated._prepare,  # noqa: SLF001
    StartContainer: Simulated._start,  # noqa: SLF001
    AwaitContainer: Simulated._await,  # noqa: SLF001
    StopContainer: Simulated._stop,  # noqa: SLF001
    UpdateContainer: Simulated._update,  # noqa: SLF001
    RemoveContainer: Simulated._remove,  # noqa: SLF001
}
