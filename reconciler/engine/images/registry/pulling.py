"""A pull from the reference to the catalog: resolve, download and unpack what is missing, record.

Each layer is decompressed while it comes and unpacked as soon as it is whole and its digests are right. It is put in its
place then, so two pulls never fetch one layer twice at the same time; the image is recorded once all are there. Only
`catalog.Images` calls it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from reconciler.engine.images import platforms
from reconciler.engine.images.catalog import Arrival, never, no_progress
from reconciler.engine.images.configuration import digest_of
from reconciler.engine.images.layers import Workshop
from reconciler.engine.images.registry import downloads, manifests
from reconciler.engine.images.registry.client import Repository, endpoints
from reconciler.engine.images.registry.downloads import Download
from reconciler.engine.images.registry.watching import Watch
from reconciler.engine.images.registry.wire import Wire, WireError
from reconciler.engine.images.streams import Limits
from reconciler.engine.kernel import files
from reconciler.kits import configuration, references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, replace
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.engine.images.catalog import Images
    from reconciler.engine.images.registry.manifests import Blob, Found
    from reconciler.engine.images.streams import Span
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig
    from reconciler.engine.store import Store
    from reconciler.kits.references import Reference

    Progress = Callable[[str, str, int, int], None]

T = TypeVar("T")

_REPORTS = 0.1
"""Seconds between two reports of one layer in one phase."""
_LONGEST_QUESTION = 30.0
"""Seconds until a registry has to have answered what a tag stands for: somebody waits for a plan."""
_MORE_UNPACKING = 2
"""Layers that may be unpacked while as many as are allowed are downloaded."""


class Pulled(Frozen):
    """What a pull came to: the canonical name asked for, the image's id, the digest that the registry has for the name.

    `digest` is the index's where there is one, as `docker images --digests` shows it. `changed` is False where the
    name stood for this image already.
    """

    reference: str
    id: str
    digest: str
    changed: bool


class Terms(Frozen):
    """How to go about a pull; see `Images.pull`."""

    platform: str = ""
    progress: Progress = no_progress
    cancelled: Callable[[], bool] = never
    deadline: float | None = None
    limits: Limits | None = None


def pull(images: Images, store: Store, paths: Paths, reference: str, terms: Terms) -> Pulled:
    """See `Images.pull`."""
    with _asked(reference, terms) as asked:
        return _Pull(asked, images, store, paths).run()


def remote_digest(reference: str, terms: Terms) -> str:
    """See `Images.remote_digest`."""
    with _asked(reference, replace(terms, deadline=time.monotonic() + _LONGEST_QUESTION)) as asked:
        if asked.reference.digest:
            return asked.reference.digest
        return asked.first(lambda repository: repository.digest(asked.reference.tag))[1]


class _Asked:
    """What is asked for, where it may be, and the means to get it."""

    def __init__(self, reference: Reference, terms: Terms, wire: Wire, settings: configuration.Configuration) -> None:
        self.reference = reference
        self.terms = terms
        self.watch = wire.watch
        self.parallel = settings.pull.parallel
        there = settings.substitute(reference)
        self.repositories = [
            Repository(wire, endpoint, there.repository, reference.familiar) for endpoint in endpoints(there, settings)
        ]

    def first(self, ask: Callable[[Repository], T]) -> tuple[int, T]:
        """The place of the first repository that has an answer, and the answer; else the last one's error, the registry's.

        Mirrors come first, and one that fails is passed over.
        """
        for position, repository in enumerate(self.repositories[:-1]):
            try:
                return position, ask(repository)
            except (ReconcilerError, WireError):
                self.watch.check()
        return len(self.repositories) - 1, ask(self.repositories[-1])


@contextlib.contextmanager
def _asked(text: str, terms: Terms) -> Iterator[_Asked]:
    reference = references.parse(text)
    settings = configuration.load()
    with Watch(terms.cancelled, settings.pull.time_limit, terms.deadline) as watch:
        wire = Wire(settings, watch)
        try:
            yield _Asked(reference, terms, wire, settings)
        except WireError as error:
            watch.check()
            raise ReconcilerError(f"{reference.familiar}: {error}", code="registry") from error
        finally:
            wire.close()


class _Reporter:
    """Tells of one layer, but not too often of the same; `guard` is held meanwhile, so that one is told of at a time."""

    def __init__(self, blob: Blob, progress: Progress, guard: threading.Lock) -> None:
        self._blob = blob
        self._progress = progress
        self._guard = guard
        self._last = 0.0
        self._phase = ""

    def __call__(self, phase: str, done: int) -> None:
        now = time.monotonic()
        with self._guard:
            if phase == self._phase and now - self._last < _REPORTS and done != self._blob.size:
                return
            self._last, self._phase = now, phase
            self._progress(self._blob.short, phase, done, self._blob.size)


class _Layer(Frozen):
    """A layer that comes from a registry: a `layers.Source`."""

    what: str
    digest: str
    download: Download
    report: Callable[[str, int], None]

    def compressed(self) -> bool:
        return True

    def opened(self) -> contextlib.AbstractContextManager[Span]:
        return self.download.opened()

    def checked(self) -> None:
        self.report("Extracting", 0)


class _Pull:
    def __init__(self, asked: _Asked, images: Images, store: Store, paths: Paths) -> None:
        self._asked = asked
        self._images = images
        self._paths = paths
        self._limits = asked.terms.limits or Limits()
        self._workshop = Workshop(store, paths, self._limits, lambda _text: None, asked.watch.check)
        self._label = asked.reference.familiar

    def run(self) -> Pulled:
        """All of it."""
        asked = self._asked
        wanted = platforms.wanted(asked.terms.platform)
        name = asked.reference.digest or asked.reference.tag
        position, found = asked.first(
            lambda repository: manifests.find(repository, name, wanted, self._limits, self._label)
        )
        # The one that knew the image first, then the others.
        repositories = asked.repositories[position:] + asked.repositories[:position]
        with self._workshop.opened() as work:
            before = self._images.find(asked.reference.canonical)
            sources = self._sources(found, repositories)
            self._take(work, sources, found)
            placed = work.place(sources, found.parsed.diff_ids)
            image = found.parsed.image(
                found.config_digest, tuple(layer.short for layer in placed), sum(layer.size for layer in placed)
            )
            work.sync()
            self._images.add([self._arrival(image, found)], f"pulled from {repositories[0].site}")
        downloads.free(self._paths.downloads, [layer.digest for layer in found.layers])
        return Pulled(asked.reference.canonical, image.id, found.digest, before is None or before.id != image.id)

    def _arrival(self, image: ImageConfig, found: Found) -> Arrival:
        reference = self._asked.reference
        tags = () if reference.digest else (reference.canonical,)
        digests = dict.fromkeys((found.digest, *map(digest_of, found.documents)))
        return Arrival(
            image,
            found.config,
            tags,
            tuple(f"{reference.name}@{digest}" for digest in digests),
            found.documents,
        )

    def _sources(self, found: Found, repositories: list[Repository]) -> list[_Layer]:
        made = []
        slots, guard = _slots(self._asked.parallel), threading.Lock()
        for number, blob in enumerate(found.layers, 1):
            what = f"{self._label}: layer {number} of {len(found.layers)}"
            report = _Reporter(blob, self._asked.terms.progress, guard)
            download = Download(self._paths.downloads, blob, what, repositories, self._asked.watch, slots, report)
            made.append(_Layer(what, blob.digest, download, report))
        return made

    def _take(self, work: Workshop, sources: list[_Layer], found: Found) -> None:
        """Have every layer that is missing fetched and unpacked; the first failure ends the others."""
        missing = work.missing(found.parsed.diff_ids)
        for index, layer in enumerate(sources):
            layer.report("Pulling fs layer" if index in missing else "Already exists", 0)
        if not missing:
            return
        files.make_folders(self._paths.downloads)
        self._see_that_there_is_room([found.layers[index] for index in missing])
        with ThreadPoolExecutor(self._asked.parallel + _MORE_UNPACKING) as pool:
            tasks = [
                pool.submit(self._take_one, work, sources[index], found.parsed.diff_ids[index]) for index in missing
            ]
            try:
                for task in wait(tasks, return_when=FIRST_EXCEPTION).done:
                    task.result()
            except BaseException as error:
                self._asked.watch.stop(error)
                for task in tasks:
                    task.cancel()
                pool.shutdown()
                if _is_full(error):
                    downloads.free(self._paths.downloads, [layer.digest for layer in found.layers])
                raise

    def _take_one(self, work: Workshop, source: _Layer, diff_id: str) -> None:
        download = source.download
        try:
            try:
                work.take(source, diff_id)
            except ReconcilerError as error:
                if error.code != "bad-image" or not download.resumed:
                    raise
                download.forget()  # what was here before may be the bad part
                work.take(source, diff_id)
        except BaseException as error:
            if isinstance(error, ReconcilerError) and error.code == "bad-image":
                download.forget()
            self._asked.watch.stop(error)
            raise
        source.report("Pull complete", 0)

    def _see_that_there_is_room(self, blobs: list[Blob]) -> None:
        """Say before an hour of download that it will not fit: plain layers are larger than what comes."""
        wanted = sum(max(0, blob.size - downloads.size_of(self._paths.downloads, blob.digest)) for blob in blobs)
        facts = os.statvfs(self._paths.root)
        free = facts.f_bavail * facts.f_frsize
        if wanted > free:
            raise ReconcilerError(
                f"{self._label}: the disk of {self._paths.root} has no room: {human_size(wanted)} are to be downloaded, "
                f"{human_size(free)} are free",
                code="disk-full",
                hint="remove images that nobody uses, or set RECONCILER_ROOT to a folder on a larger disk",
            )


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@functools.cache
def _slots(count: int) -> threading.Semaphore:
    """Downloads at once, of all pulls of this process together."""
    return threading.Semaphore(count)
