"""The `Console` port over the engine: what the verbs ask."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import catalog, effective, status
from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.runtimes.console import (
    ContainerSummary,
    Finding,
    ImageSummary,
    LayerProgress,
    LogRecord,
    PulledImage,
    RemovedImages,
    Usage,
    VolumeSummary,
    never,
    silent,
    unseen,
)
from reconciler.runtimes.embedded import translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.facade import Engine
    from reconciler.engine.records import ImageConfig
    from reconciler.runtimes.console import CopyOptions, ExecOptions, LogOptions, UnusedImages


_SOON = 5.0
"""Seconds after an end in which a restart by policy is under way, if nobody has said otherwise."""


class EmbeddedConsole:
    """Each method is one question or one change; see the port for what they promise."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # --- containers ---------------------------------------------------------------------------------------------------

    def containers(self) -> tuple[ContainerSummary, ...]:
        """All containers, newest first."""
        image_of = functools.cache(self.engine.images.find)  # hundreds of containers may have one
        found = tuple(self._summary(record, image_of) for record in reversed(self.engine.containers.every()))
        if any(one.health for one in found):
            from reconciler.engine.containers.health import upkeep  # noqa: PLC0415 - only with health checks

            upkeep.ensure(self.engine.paths)
        return found

    def container(self, name: str) -> ContainerSummary:
        return self._summary(self.engine.containers.find(name), self.engine.images.find)

    def _summary(self, record: Record, image_of: Callable[[str], ImageConfig | None]) -> ContainerSummary:
        now = self.engine.containers.status(record)
        if now.state == catalog.EXITED and self._returns(record, now):
            now = replace(now, state=catalog.RESTARTING)
        image = image_of(record.image)
        running = now.is_up
        command: tuple[str, ...] = ()
        if image:
            with contextlib.suppress(ReconcilerError):  # none was given: its start will say so
                command = effective.arguments_of(record.config, image)
        notes = record.config.notes
        return ContainerSummary(
            id=record.id,
            name=record.name,
            image=_image_name(record, image_of(record.config.image)),
            command=command,
            state=now.state,
            created_at=record.created,
            started_at=record.started,
            finished_at=now.finished or record.finished,
            exit_code=now.exit_code,
            restarting_at=record.restart_at,
            ports=translate.bindings(record.ports) if running else (),
            exposed=_unpublished(record, image),
            stack=notes.get("stack", ""),
            key=notes.get("key", ""),
            labels=record.config.labels,
            address=record.address if running else "",
            pid=record.pid if running else 0,
            health=self.engine.containers.health(record, now),
            oom=now.oom,
            error=status.why(record, now),
        )

    def usage(self, names: Sequence[str] = (), *, stopped: bool = False) -> tuple[Usage, ...]:
        """What containers use; one that ends in this moment counts as one that runs and uses nothing."""
        from reconciler.engine.containers import statistics  # noqa: PLC0415 - for this verb only

        containers = self.engine.containers
        records = [containers.find(name) for name in names] if names else reversed(containers.every())
        found = []
        for record in records:
            running = containers.status(record).is_up
            if not (running or stopped or names):
                continue
            notes = record.config.notes
            who = Usage(record.id, record.name, notes.get("stack", ""), notes.get("key", ""), running)
            found.append(replace(who, **vars(statistics.read(self.engine.paths, record))) if running else who)
        return tuple(found)

    def inspect(self, name: str, kind: str = "") -> dict[str, Any]:
        """In `docker inspect`'s form; without `kind` a container is looked for first, then an image, then a volume."""
        from reconciler.runtimes.embedded import inspection  # noqa: PLC0415 - for this verb only

        for one in (kind,) if kind else ("container", "image", "volume"):
            try:
                return inspection.BY_KIND[one](self.engine, name)
            except KeyError:
                raise ReconcilerError(f'"{kind}" is not a valid value for --type', code="usage") from None
            except ReconcilerError as error:
                if kind or error.code not in ("not-found", "bad-reference"):
                    raise
        raise ReconcilerError(f"No such object: {name}", code="not-found", hint="see `reconciler ps -a` and `images`")

    def logs(self, name: str, options: LogOptions) -> Iterator[LogRecord]:
        """What the container wrote."""
        from reconciler.engine.containers import logs  # noqa: PLC0415 - for this verb only
        from reconciler.runtimes.embedded import logging  # noqa: PLC0415

        record = self.engine.containers.find(name)
        lines = logs.read(
            self.engine.paths,
            record.id,
            tail=options.tail,
            follow=options.follow,
            ended=lambda: self._log_has_ended(record.id),
        )
        return logging.records(lines, options)

    def _log_has_ended(self, container_id: str) -> bool:
        """Nothing more comes: the container is gone, or down and not about to be restarted."""
        record = self.engine.containers.get(container_id)
        if record is None:
            return True
        now = self.engine.containers.status(record)
        return now.state in (catalog.EXITED, status.HALF_MADE) and not self._returns(record, now)

    def _returns(self, record: Record, now: status.Status) -> bool:
        """Whether a container that has just ended is about to be restarted: nobody has come to it yet."""
        from reconciler.engine.containers.settle import restarts_by_policy  # noqa: PLC0415 - for what has ended only

        recent = time.time() - (now.finished or record.finished) < _SOON
        return recent and restarts_by_policy(replace(record, exit_code=now.exit_code))

    def exec(self, name: str, options: ExecOptions) -> int:
        """Run a command in a container, with this process's standard streams."""
        from reconciler.engine.containers.execute import execute  # noqa: PLC0415 - for this verb only

        return execute(
            self.engine.lifecycle,
            name,
            options.command,
            interactive=options.interactive,
            terminal=options.tty,
            detach=options.detach,
            user=options.user,
            working_dir=options.working_dir,
            environment=options.environment,
            privileged=options.privileged,
        )

    def copy_in(self, source: str, name: str, path: str, options: CopyOptions) -> int:
        from reconciler.engine.containers import copies  # noqa: PLC0415 - for this verb only

        how = copies.Copying(archive=options.archive, follow=options.follow)
        return copies.copy_in(self.engine.lifecycle, source, name, path, how)

    def copy_out(self, name: str, path: str, target: str, options: CopyOptions) -> int:
        from reconciler.engine.containers import copies  # noqa: PLC0415 - for this verb only

        how = copies.Copying(archive=options.archive, follow=options.follow)
        return copies.copy_out(self.engine.lifecycle, name, path, target, how)

    def start(self, name: str) -> None:
        record = self.engine.containers.find(name)
        if self.engine.containers.status(record).state == status.PAUSED:
            raise ReconcilerError(
                "cannot start a paused container, try unpause instead",
                code="paused",
                hint=f"`reconciler unpause {record.name}`",
            )
        self.engine.lifecycle.start(record.id)

    def stop(self, name: str, timeout: float | None = None) -> None:
        self.engine.lifecycle.stop(name, timeout)

    def restart(self, name: str, timeout: float | None = None) -> None:
        from reconciler.engine.containers import handling  # noqa: PLC0415 - for this verb only

        handling.restart(self.engine.lifecycle, name, timeout)

    def kill(self, name: str, signal: str = "KILL") -> None:
        from reconciler.engine.containers import handling, stopping  # noqa: PLC0415

        handling.kill(self.engine.lifecycle, name, stopping.signal_number(signal))

    def pause(self, name: str) -> None:
        from reconciler.engine.containers import handling  # noqa: PLC0415

        handling.pause(self.engine.lifecycle, name)

    def unpause(self, name: str) -> None:
        from reconciler.engine.containers import handling  # noqa: PLC0415

        handling.unpause(self.engine.lifecycle, name)

    def wait(self, name: str, condition: str = "not-running") -> int | None:
        from reconciler.engine.containers import waiting  # noqa: PLC0415

        return waiting.wait(self.engine.containers, name, condition)

    def container_size(self, name: str) -> int:
        from reconciler.engine.kernel import files  # noqa: PLC0415

        record = self.engine.containers.find(name)
        return files.size_of_tree(os.path.join(self.engine.paths.container(record.id), "upper"))

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        self.engine.lifecycle.remove(name, force=force, with_volumes=volumes)
        self.engine.tidy()

    # --- images -------------------------------------------------------------------------------------------------------

    def images(self) -> tuple[ImageSummary, ...]:
        """One row a name, newest first."""
        from reconciler.engine.images.rows import made_at  # noqa: PLC0415 - for this verb only

        return tuple(
            ImageSummary(
                references.parse(listed.reference).familiar if listed.reference else "",
                listed.image.id,
                made_at(listed.image) or listed.created_at,
                listed.image.size,
                listed.digest,
                listed.origin,
            )
            for listed in self.engine.images.list()
        )

    def load(self, path: str, progress: Callable[[str], None] = silent, origin: str = "") -> tuple[str, ...]:
        return self.engine.images.load(path, progress, origin)

    def save(self, names: Sequence[str], target: str, form: str = "docker") -> None:
        self.engine.images.save(names, target, form)

    def tag(self, source: str, reference: str) -> None:
        self.engine.images.tag(source, reference)

    def pull(
        self,
        reference: str,
        *,
        platform: str = "",
        progress: Callable[[LayerProgress], None] = unseen,
        cancelled: Callable[[], bool] = never,
    ) -> PulledImage:
        pulled = self.engine.images.pull(
            reference, platform=platform, progress=lambda *facts: progress(LayerProgress(*facts)), cancelled=cancelled
        )
        return PulledImage(pulled.reference, pulled.id, pulled.digest, pulled.changed)

    def login(self, registry: str, username: str, password: str) -> str:
        return self.engine.images.login(registry, username, password)

    def logout(self, registry: str) -> bool:
        return self.engine.images.logout(registry)

    def import_image(self, path: str, reference: str) -> str:
        return self.engine.images.import_root(path, reference)

    def remove_image(self, reference: str, *, force: bool = False) -> RemovedImages:
        done = self.engine.images.remove(reference, force=force)
        return RemovedImages(done.lines, done.reclaimed)

    def prune_images(self, unused: UnusedImages) -> RemovedImages:
        from reconciler.engine.images.removal import Prunable  # noqa: PLC0415 - for this verb only

        done = self.engine.images.prune(Prunable(unused.tagged, unused.until, unused.labels))
        return RemovedImages(done.lines, done.reclaimed)

    # --- volumes ------------------------------------------------------------------------------------------------------

    def volumes(self) -> tuple[VolumeSummary, ...]:
        """All volumes by name."""
        return tuple(
            VolumeSummary(
                volume.name,
                volume.anonymous,
                volume.owner.partition("/")[0],
                users,
                volume.created,
                self.engine.paths.volume_data(volume.folder),
                volume.labels,
                volume.protected,
            )
            for volume, users in self.engine.volumes.every()
        )

    def create_volume(self, name: str = "") -> str:
        return self.engine.volumes.create(name, folder=True)

    def volume_size(self, name: str) -> int:
        from reconciler.engine.kernel import files  # noqa: PLC0415

        return files.size_of_tree(self.engine.volumes.data_of(name))

    def measure_volume(self, name: str, within: float) -> tuple[int, bool]:
        from reconciler.engine.kernel import files  # noqa: PLC0415

        until = time.monotonic() + within
        size = files.size_of_tree(self.engine.volumes.data_of(name), until)
        return size, time.monotonic() <= until

    def unprotect_volume(self, name: str) -> None:
        self.engine.volumes.change(name)

    def remove_volume(self, name: str) -> None:
        self.engine.volumes.remove(name)

    # --- the machine --------------------------------------------------------------------------------------------------

    def system_info(self) -> dict[str, Any]:
        from reconciler.engine.system import info  # noqa: PLC0415 - for this verb only

        return info.document(self.engine)

    def system_check(self) -> tuple[Finding, ...]:
        from reconciler.engine.system import checks  # noqa: PLC0415 - for this verb only

        found = checks.every(self.engine)
        return tuple(Finding(one.subject, one.state, one.message, one.remedy) for one in found)


def _unpublished(record: Record, image: ImageConfig | None) -> tuple[str, ...]:
    """Exposed ports that no host port leads to."""
    published = {f"{lease.container_port}/{lease.protocol}" for lease in record.ports}
    exposed = dict.fromkeys((*(image.exposed if image else ()), *record.config.exposed))
    return tuple(port for port in exposed if (port if "/" in port else f"{port}/tcp") not in published)


def _image_name(record: Record, named: ImageConfig | None) -> str:
    """The name that was asked for while that (`named`) is the container's image, else the image's short id."""
    same = named is not None and named.id == record.image
    return record.config.image if same else record.image.removeprefix("sha256:")[:12]
