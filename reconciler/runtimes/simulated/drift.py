"""What happens to a simulated machine by itself or by other hands: ends, drift, new images. None of it counts as an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.observed import (
    DEAD,
    EXITED,
    HEALTHY,
    PAUSED,
    RESTARTING,
    RUNNING,
    UNHEALTHY,
    ObservedImage,
    PortBinding,
)
from reconciler.runtimes.base import Event
from reconciler.runtimes.simulated.world import SimulatedContainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.runtimes.simulated.world import World


class Drift:
    """A world, and what tests let happen to it behind the reconciler's back."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self.world = world
        self._clock = clock
        self._events: list[Event] = []

    def exit(self, stack: str, key: str, code: int, error: str = "") -> None:
        """The container's process ends by itself, and no restart policy brings it back."""
        container = self.world.get(stack, key)
        self._end(container, code)
        container.error = error
        self._events.append(Event("exit", container.name, self._clock()))

    def kill(self, stack: str, key: str) -> None:
        """The container's process is killed from outside."""
        self.exit(stack, key, 137)

    def stop_by_hand(self, stack: str, key: str) -> None:
        """Somebody stops it with the verb."""
        container = self.world.get(stack, key)
        self._end(container, 0)
        container.stopped_by_hand = True

    def remove_by_hand(self, stack: str, key: str) -> None:
        """Somebody removes it with `rm -f`: anonymous volumes stay."""
        del self.world.containers[self.world.get(stack, key).name]

    def pause(self, stack: str, key: str) -> None:
        """Somebody pauses it, once it is healthy."""
        container = self.world.get(stack, key)
        container.state = PAUSED
        container.health = container.health and HEALTHY

    def sicken(self, stack: str, key: str) -> None:
        """Its health check fails, if it has one."""
        container = self.world.get(stack, key)
        if container.state == RUNNING and container.health:
            container.health = UNHEALTHY

    def unpause(self, stack: str, key: str) -> None:
        """Somebody lets a paused one run on."""
        container = self.world.get(stack, key)
        container.state = RUNNING if container.state == PAUSED else container.state

    def loop(self, stack: str, key: str, code: int = 1, restarts: int = 3) -> None:
        """The container ends again and again; now it waits for its policy to restart it."""
        container = self.world.get(stack, key)
        self._end(container, code)
        container.state, container.restart_count = RESTARTING, restarts

    def give_up(self, stack: str, key: str, code: int = 1, restarts: int = 3) -> None:
        """It has done so until its policy gave up (on-failure:N)."""
        self.loop(stack, key, code, restarts)
        self.world.get(stack, key).state = EXITED

    def break_down(self, stack: str, key: str, fault: str = "its monitor is gone") -> None:
        """Something around a running container breaks."""
        self.world.get(stack, key).faults = (fault,)

    def loosen(self, stack: str, key: str, drift: str = "its memory limit is none, not 64 MiB") -> None:
        """Somebody changes what a running container is held by."""
        container = self.world.get(stack, key)
        container.drift = (drift,) if container.live else ()

    def tear(self, stack: str, key: str) -> None:
        """The container becomes half-made, as after a power loss in the middle of its creation."""
        self.world.get(stack, key).state = DEAD

    def tag(self, reference: str, image_id: str) -> None:
        """A name now stands for another image."""
        self.world.images[reference] = ObservedImage(reference, image_id)

    def publish(self, reference: str, image_id: str, digest: str = "") -> None:
        """Somebody pushes another image under this name to its registry."""
        self.world.registry[reference] = ObservedImage(reference, image_id, digest=digest or f"{image_id}-manifest")

    def lose_network(self, *faults: str) -> None:
        """Somebody flushes the firewall or deletes the bridge."""
        self.world.network_faults = faults or ("the firewall table is gone",)

    def by_hand(self, name: str, ports: tuple[PortBinding, ...] = ()) -> None:
        """A container that belongs to no stack runs under this name."""
        made = SimulatedContainer(self.world.new_id(), name)
        made.state, made.ports, made.address = RUNNING, ports, self.world.next_address("")
        self.world.containers[name] = made

    def _end(self, container: SimulatedContainer, code: int) -> None:
        container.drift = ()
        container.state, container.exit_code, container.finished_at = EXITED, code, self._clock()
        container.health = ""
