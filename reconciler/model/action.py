"""What a runtime can be asked to do: one frozen class a kind, each exactly one runtime call.

Actions name containers by stack and key, never by a runtime's id, so a saved plan stays readable and valid.
The planner makes them, the executor passes them on, runtimes carry them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.frozen import Frozen, field

if TYPE_CHECKING:
    from reconciler.model.desired import Container, Volume
    from reconciler.model.observed import PortBinding


READY = "ready"
"""A condition beside Compose's: healthy where there is a health check, else seen at work; or done, exited with 0."""


class Kept(Frozen):
    """What a successor takes over from the container it replaces."""

    address: str = ""
    ports: tuple[PortBinding, ...] = ()
    anonymous: dict[str, str] = field(default_factory=dict)


class PullImage(Frozen):
    """Fetch an image from its registry under `reference`, for `platform` (os/arch[/variant], "" = this machine's)."""

    reference: str
    platform: str = ""

    verb = "pull"

    @property
    def subject(self) -> str:
        return f"image {self.reference}"


class CreateVolume(Frozen):
    """Make an empty named volume that belongs to `stack`; one that exists under this name is left as it is.

    `protected` is as in `observed.ObservedVolume`.
    """

    stack: str
    volume: Volume
    protected: str = ""

    verb = "create"

    @property
    def subject(self) -> str:
        return f"volume {self.volume.key}"


class UpdateVolume(Frozen):
    """Give an existing volume its labels and its protection anew; nobody who mounts it notices. `protected` as above."""

    stack: str
    volume: Volume
    protected: str = ""

    verb = "update"

    @property
    def subject(self) -> str:
        return f"volume {self.volume.key}"


class RenameVolume(Frozen):
    """Let the volume called `old_name` be the stack's `volume`, under that one's name; its data stays where it lies.

    Whoever mounts it goes on, and knows it by its new name. `old_stack` and `old_key` are whose it was, "" = nobody's:
    containers of either stack that were made for that key know it by the new one. An error where the new name is taken.
    """

    stack: str
    volume: Volume
    old_name: str
    old_stack: str = ""
    old_key: str = ""

    verb = "rename"

    @property
    def subject(self) -> str:
        return f"volume {_renamed(self.old_name, self.volume.name, self.old_stack, self.old_key, self.stack, self.volume.key)}"


class RemoveVolume(Frozen):
    """Delete a volume and its data. Only ever planned when the user named volumes."""

    stack: str
    name: str

    verb = "remove"

    @property
    def subject(self) -> str:
        return f"volume {self.name}"


class CreateContainer(Frozen):
    """Make a container from an image, with its volumes, address and ports.

    `origin` is the spec it comes from, kept with the container; `volumes` are the stack's volumes that it mounts,
    by key. It is not running afterwards.
    """

    stack: str
    origin: str
    container: Container
    volumes: dict[str, Volume] = field(default_factory=dict)
    kept: Kept = Kept()

    verb = "create"

    @property
    def subject(self) -> str:
        return f"container {self.container.key}"


class PrepareContainer(Frozen):
    """Do all of a start but the last word: the container's process is there and waits. For runtimes that can.

    So containers that use each other are prepared side by side, and only the words follow their order. A container
    whose process waits already, or runs, is left as it is.
    """

    stack: str
    key: str

    verb = "prepare"

    @property
    def subject(self) -> str:
        return f"container {self.key}"


class StartContainer(Frozen):
    """Let the container's process run; a paused one is not touched."""

    stack: str
    key: str

    verb = "start"

    @property
    def subject(self) -> str:
        return f"container {self.key}"


class AwaitContainer(Frozen):
    """Wait until a container has reached `condition`; an error once it can't any more, or at the context's deadline.

    Conditions are those of `desired.Dependency` and READY.
    """

    stack: str
    key: str
    condition: str

    verb = "wait"

    @property
    def subject(self) -> str:
        return f"container {self.key}"


class StopContainer(Frozen):
    """Send the stop signal, wait for the grace period, then kill. One that does not run is left as it is.

    `timeout` in seconds goes before the container's own grace period, None = it does not.
    """

    stack: str
    key: str
    timeout: float | None = None

    verb = "stop"

    @property
    def subject(self) -> str:
        return f"container {self.key}"


class UpdateContainer(Frozen):
    """Give an existing container new settings that take effect at once or at its next start, keeping its layer."""

    stack: str
    origin: str
    container: Container

    verb = "update"

    @property
    def subject(self) -> str:
        return f"container {self.container.key}"


class RenameContainer(Frozen):
    """Let the container called `old_name` be `key` of the stack, under `name`; running or not, it goes on as it is.

    With it go its anonymous volumes and the random ports that are kept for it. Who links to it or has its volumes goes on,
    too, and follows the new name. `old_stack` and `old_key` are whose it was, "" = nobody's: containers of either stack
    that were made for that key are then made for the new one. `settings` are its own from now on. An error where the new
    name or key is taken.
    """

    stack: str
    origin: str
    key: str
    name: str
    old_name: str
    old_stack: str = ""
    old_key: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    verb = "rename"

    @property
    def subject(self) -> str:
        return f"container {_renamed(self.old_name, self.name, self.old_stack, self.old_key, self.stack, self.key)}"


def _renamed(old_name: str, name: str, old_stack: str, old_key: str, stack: str, key: str) -> str:
    """By key where it has one and another one then, with the stack where that is another one; else by name."""
    if not old_key:
        return f"{old_name} -> {key}"
    if old_stack != stack:
        return f"{old_stack}/{old_key} -> {stack}/{key}"
    return f"{old_key} -> {key}" if old_key != key else f"{old_name} -> {name}"


class RemoveContainer(Frozen):
    """Remove a container that does not run (a half-made one too); its volumes stay, anonymous ones as well.

    One that is not there is no error: `undo` runs it after a create that may not have begun.
    """

    stack: str
    key: str

    verb = "remove"

    @property
    def subject(self) -> str:
        return f"container {self.key}"


class RepairNetwork(Frozen):
    """Make again what is missing of what containers share: bridge, firewall table. Running containers run on."""

    verb = "repair"

    @property
    def subject(self) -> str:
        return "network"


Action = (
    PullImage
    | RepairNetwork
    | CreateVolume
    | UpdateVolume
    | RenameVolume
    | RemoveVolume
    | CreateContainer
    | PrepareContainer
    | StartContainer
    | AwaitContainer
    | StopContainer
    | UpdateContainer
    | RenameContainer
    | RemoveContainer
)
