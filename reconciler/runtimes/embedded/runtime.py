"""The `Runtime` port over the engine: observe, and one engine call an action."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog, status
from reconciler.engine.facade import Engine
from reconciler.engine.records import PortConfig
from reconciler.kits.errors import InterruptedRunError, ReconcilerError
from reconciler.kits.frozen import as_document, replace
from reconciler.kits.text import quote
from reconciler.model.desired import UPDATABLE
from reconciler.model.observed import BusyPort, Observed, ObservedImage, ObservedVolume, RemoteImage
from reconciler.runtimes.base import Cancelled, Capabilities, Event, Outcome
from reconciler.runtimes.embedded import translate
from reconciler.runtimes.embedded.refusals import refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.records import ImageConfig
    from reconciler.model.action import (
        Action,
        AwaitContainer,
        CreateContainer,
        PullImage,
        RemoveContainer,
        UpdateContainer,
    )
    from reconciler.model.observed import ObservedContainer, Scope
    from reconciler.runtimes.base import Context

_LAST_LINES = 10
_LONGEST_START = 0.25
_QUESTIONS = 8
"""Registries that are asked at once."""


class EmbeddedRuntime:
    """Runs containers on this machine with the engine of our own."""

    capabilities = Capabilities(name="embedded", pull=True, prepare=True, rename=True, update_in_place=UPDATABLE)

    def __init__(self, root: str = "", run: str = "") -> None:
        """Roots as in `engine.paths.Paths.of`; raises ReconcilerError when they can't be used."""
        self.engine = Engine(root, run)

    # --- observe ------------------------------------------------------------------------------------------------------

    def observe(self, scope: Scope) -> Observed:
        """Compare the records in the scope with the kernel."""
        found = [
            self._observation(record)
            for record in self.engine.containers.every()
            if record.config.notes.get("stack") in (scope.stack, *scope.former) or record.name in scope.names
        ]
        running = any(one.state == catalog.RUNNING for one in found)
        if any(one.health for one in found):
            from reconciler.engine.containers.health import upkeep  # noqa: PLC0415 - only with health checks

            upkeep.ensure(self.engine.paths)
        return Observed(
            containers=tuple(sorted(found, key=lambda c: c.name)),
            volumes=self._observed_volumes(scope),
            images=self._observed_images(scope),
            busy_ports=self._busy_ports(scope),
            network_faults=tuple(self.engine.network.problems()) if running else (),
            refusals=tuple(refusals(scope.wanted, self._platform_of)),
            remote=self._remote_images(scope.remote),
        )

    def _observation(self, record: Record) -> ObservedContainer:
        """A restart that is due later counts only while somebody is there to make it."""
        now = self.engine.containers.status(record)
        if now.state == catalog.RESTARTING and not self.engine.containers.keeper_lives():
            now = replace(now, state=catalog.EXITED)
        drift: tuple[str, ...] = ()
        if now.is_up and status.may_drift(self.engine.paths, record):
            from reconciler.engine.containers import limits  # noqa: PLC0415 - where there are limits only

            drift = limits.drift(self.engine.paths, record)
        return translate.observation(record, now, self.engine.containers.health(record, now), drift)

    def _observed_volumes(self, scope: Scope) -> tuple[ObservedVolume, ...]:
        found = []
        for volume, users in self.engine.volumes.every():
            stack, _, key = volume.owner.partition("/")
            if stack in (scope.stack, *scope.former) or volume.name in scope.volumes:
                found.append(
                    ObservedVolume(
                        volume.name,
                        stack,
                        key,
                        volume.anonymous,
                        users,
                        volume.created,
                        volume.labels,
                        volume.protected,
                    )
                )
        return tuple(found)

    def _observed_images(self, scope: Scope) -> dict[str, ObservedImage]:
        images = {}
        for reference in scope.images:
            if image := self.engine.images.find(reference):
                digest = self.engine.images.digest_of(reference) if reference in scope.remote else ""
                images[reference] = ObservedImage(
                    reference, image.id, image.exposed, image.volumes, digest, _is_checked(image)
                )
        return images

    def _platform_of(self, reference: str) -> str | None:
        image = self.engine.images.find(reference)
        return image.platform if image else None

    def _remote_images(self, references: Sequence[str]) -> dict[str, RemoteImage]:
        """Ask the registries, all at once."""
        if not references:
            return {}
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only for who asks

        with ThreadPoolExecutor(min(len(references), _QUESTIONS)) as pool:
            return dict(zip(references, pool.map(self._remote_image, references), strict=True))

    def _remote_image(self, reference: str) -> RemoteImage:
        try:
            return RemoteImage(reference, self.engine.images.remote_digest(reference))
        except ReconcilerError as error:
            return RemoteImage(reference, error=error.message, code=error.code, hint=error.hint)

    def _busy_ports(self, scope: Scope) -> tuple[BusyPort, ...]:
        if not scope.host_ports:
            return ()
        from reconciler.engine.networks import ports  # noqa: PLC0415 - only with published ports

        wanted = [PortConfig(0, protocol, host_ip, port) for host_ip, port, protocol in scope.host_ports]
        with self.engine.store.read() as connection:
            found = ports.busy(connection, wanted)
        return tuple(BusyPort(**as_document(one)) for one in found)

    # --- perform ------------------------------------------------------------------------------------------------------

    def perform(self, action: Action, context: Context) -> Outcome:
        """One engine call. Raises ReconcilerError, or Cancelled where a stop was given up."""
        from reconciler.model import action as kinds  # noqa: PLC0415 - not for a look

        match action:
            case kinds.CreateContainer():
                return self._create(action)
            case kinds.PrepareContainer():
                self.engine.lifecycle.prepare(self._record(action.stack, action.key).id)
            case kinds.StartContainer():
                record = self._record(action.stack, action.key)
                self.engine.lifecycle.start(record.id)
            case kinds.AwaitContainer():
                return self._await(action, context)
            case kinds.StopContainer():
                record = self._record(action.stack, action.key)
                ran = self.engine.lifecycle.stop(record.id, action.timeout, context.cancelled)
                if context.cancelled() and self.engine.containers.status(record).state == catalog.RUNNING:
                    raise Cancelled
                return Outcome(changed=ran)
            case kinds.UpdateContainer():
                self._update(action)
            case kinds.RemoveContainer():
                return self._remove(action)
            case kinds.CreateVolume():
                volume = action.volume
                owner = translate.owner_of(action.stack, volume.key)
                self.engine.volumes.create(volume.name, owner=owner, labels=volume.labels, protected=action.protected)
            case kinds.UpdateVolume():
                volume = action.volume
                changed = self.engine.volumes.change(volume.name, labels=volume.labels, protected=action.protected)
                return Outcome(changed=changed)
            case kinds.RenameVolume() | kinds.RenameContainer():
                from reconciler.runtimes.embedded import renames  # noqa: PLC0415 - for these actions only

                return Outcome(changed=renames.carry_out(self.engine, action))
            case kinds.RemoveVolume():
                self.engine.volumes.remove(action.name)
            case kinds.RepairNetwork():
                self.engine.network.prepare()
            case kinds.PullImage():
                return self._pull(action, context)
        return Outcome()

    def _await(self, action: AwaitContainer, context: Context) -> Outcome:
        from reconciler.runtimes.embedded.awaiting import reach  # noqa: PLC0415 - only for who waits

        state = reach(self.engine, action, lambda: self._record(action.stack, action.key), context)
        return Outcome(changed=False, details={"state": state})

    def _pull(self, action: PullImage, context: Context) -> Outcome:
        from reconciler.runtimes.embedded.pulls import Words  # noqa: PLC0415 - only for who pulls

        try:
            pulled = self.engine.images.pull(
                action.reference,
                platform=action.platform,
                progress=Words(context.progress).heard,
                cancelled=context.cancelled,
                deadline=context.deadline,
            )
        except InterruptedRunError as error:
            raise Cancelled from error
        return Outcome(changed=pulled.changed, details={"id": pulled.id, "digest": pulled.digest})

    def _remove(self, action: RemoveContainer) -> Outcome:
        """A container that is not there, or that somebody else removes at the same time, is what was asked for."""
        try:
            self.engine.lifecycle.remove(self._record(action.stack, action.key).id, force=True)
        except ReconcilerError as error:
            if error.code != "not-found":
                raise
            return Outcome(changed=False)
        return Outcome()

    def _record(self, stack: str, key: str) -> Record:
        return self.engine.containers.of_owner(translate.owner_of(stack, key))

    def _name_of(self, stack: str) -> Callable[[str], str]:
        return lambda key: self._record(stack, key).name

    def _create(self, action: CreateContainer) -> Outcome:
        config = translate.configuration(
            action.stack,
            action.origin,
            action.container,
            action.volumes,
            action.kept.anonymous,
            self._name_of(action.stack),
        )
        container_id = self.engine.lifecycle.create(
            config,
            address=action.kept.address,
            kept_ports=translate.leases(action.kept.ports),
        )
        return Outcome(details={"id": container_id})

    def _update(self, action: UpdateContainer) -> None:
        from reconciler.engine.containers import updating  # noqa: PLC0415 - for this action only

        record = self._record(action.stack, action.container.key)
        config = translate.updated(record.config, action.origin, action.container)
        updating.update(self.engine.lifecycle, record.id, config)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def events(self, since: float, stop: Callable[[], bool]) -> Iterator[Event]:  # noqa: ARG002 - level, not edge
        """A hint whenever a container of these roots has ended."""
        from reconciler.engine.kernel import notify  # noqa: PLC0415 - only for who waits

        with notify.Folder(self.engine.paths.exits) as exits:
            while not stop():
                if exits.wait(0.5):
                    yield Event("exit", at=time.time())

    def culprit(self, stack: str, key: str) -> str:
        """The last log lines of a container."""
        record = self._record(stack, key)
        from reconciler.engine.containers import logs  # noqa: PLC0415 - only when something failed

        lines = logs.read(self.engine.paths, record.id, tail=_LAST_LINES)
        text = b"".join(line.data + (b"" if line.partial else b"\n") for line in lines)
        return text.removesuffix(b"\n").decode("utf-8", "replace")

    def settled(self, stack: str, keys: Sequence[str], deadline: float) -> dict[str, tuple[int | None, str]]:
        """Wait until each container is at work or has ended; see the port."""
        ended: dict[str, tuple[int | None, str]] = {}
        deadline = min(deadline, time.monotonic() + _LONGEST_START)
        for key in keys:
            record = self._record(stack, key)
            while True:
                now = self.engine.containers.status(record)
                if now.state in (catalog.EXITED, catalog.RESTARTING):
                    code = now.exit_code if now.exit_code is not None else record.exit_code
                    if code is not None or not status.monitor_lives(record) or time.monotonic() > deadline:
                        ended[key] = self._how_it_ended(record, now, -1 if code is None else code)
                        break
                    # its monitor is about to say how it ended
                elif status.is_at_work(record) or time.monotonic() > deadline:
                    break
                time.sleep(0.0005)
                record = self._record(stack, key)
        return ended

    def _how_it_ended(self, record: Record, now: status.Status, code: int) -> tuple[int | None, str]:
        """As `settled` tells of it."""
        why = status.why(record, now) if code or record.ailing else record.error
        if not status.is_treated(record, now):
            return code, why
        from reconciler.engine.containers.health import journal  # noqa: PLC0415 - only for who is unhealthy

        found = journal.read(self.engine.paths, record)
        said = f"; its last probe said {quote(found.log[-1].output.strip(), 200)}" if found and found.log else ""
        return None, f"is unhealthy and is restarted because of that, {status.times_in_a_row(record)} so far{said}"

    def tidy(self) -> None:
        """Give back bridge and firewall table once no container is left."""
        self.engine.tidy()


def _is_checked(image: ImageConfig) -> bool:
    """Whether an image comes with a health check."""
    return image.health is not None and image.health.test[:1] not in ((), ("NONE",))
