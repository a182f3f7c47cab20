"""The images that are here: names, configurations, layers. Looked up at every start, so nothing is parsed or hashed here.

Not for reading archives (`archives`) or unpacking (`layers`), which it loads when they are asked for. The engine may
import it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.images import rows
from reconciler.engine.images.configuration import digest_of
from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, replace

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from reconciler.engine.images.layers import Workshop
    from reconciler.engine.images.registry.pulling import Progress, Pulled
    from reconciler.engine.images.removal import Prunable, Removal
    from reconciler.engine.images.streams import Limits
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig
    from reconciler.engine.store import Store


def _silent(_text: str) -> None:
    return None


def no_progress(_layer: str, _phase: str, _done: int, _total: int) -> None:
    """Where nobody wants to hear how a pull goes."""
    return


def never() -> bool:
    """Where nobody cancels."""
    return False


class ListedImage(Frozen):
    """An image under one of its names; `reference` is canonical, "" for an image without a tag.

    `digest` (`sha256:...`, "" for none) is what the name stands for where the image came from; without a tag
    `reference` may be a name by digest. `created_at` is when it came here, seconds since the epoch; `origin` says from where.
    """

    reference: str
    image: ImageConfig
    origin: str
    created_at: float
    digest: str = ""


class Arrival(Frozen):
    """An image whose layers are in place: its configuration byte for byte, and its names (canonical).

    `documents` are the indexes that led to its manifest, outermost first, and the manifest, byte for byte; none where
    it came without. `digests` are its names by digest; the first of a repository is what that repository's tags stand for.
    """

    image: ImageConfig
    configuration: bytes
    tags: tuple[str, ...]
    digests: tuple[str, ...] = ()
    documents: tuple[bytes, ...] = ()


class Images:
    """The catalog of one root. Safe to use from several threads and processes."""

    def __init__(self, store: Store, paths: Paths, limits: Limits | None = None) -> None:
        self._store = store
        self._paths = paths
        self._limits = limits

    def find(self, reference: str) -> ImageConfig | None:
        """The image of that name, id or unique id prefix, None if there is none.

        Raises `ReconcilerError` for a bad name (code "bad-reference") and an ambiguous prefix ("ambiguous").
        """
        with self._store.read() as connection:
            return rows.find(connection, reference)

    def resolve(self, reference: str) -> ImageConfig:
        """As `find`, but an image that is not here is an error with code "not-found"."""
        with self._store.read() as connection:
            return rows.resolve(connection, reference)

    def list(self) -> tuple[ListedImage, ...]:
        """All images, one entry a tag, newest first; one without a tag by its digest, or without a name."""
        with self._store.read() as connection:
            found = connection.execute(
                "SELECT reference, digest, config, origin, created FROM images JOIN tags ON tags.image = images.id "
                "UNION ALL SELECT coalesce(min(repository || '@' || digest), ''), '', config, origin, created "
                "FROM images LEFT JOIN digests ON digests.image = images.id "
                "WHERE id NOT IN (SELECT image FROM tags) GROUP BY id ORDER BY created DESC, reference, config"
            ).fetchall()
        return tuple(rows.listed(row) for row in found)

    def names(self, image_id: str) -> tuple[str, ...]:
        """The tags of an image, canonical."""
        with self._store.read() as connection:
            return rows.tags_of(connection, image_id)

    def digests(self, image_id: str) -> tuple[str, ...]:
        """The names by digest of an image, canonical."""
        with self._store.read() as connection:
            return rows.digests_of(connection, image_id)

    def digest_of(self, reference: str) -> str:
        """What a tag stood for where its image came from (`sha256:...`), "" where nobody said or there is no such tag."""
        with self._store.read() as connection:
            row = connection.execute(
                "SELECT digest FROM tags WHERE reference = ?", (rows.canonical(reference),)
            ).fetchone()
        return str(row[0]) if row else ""

    def origin(self, image_id: str) -> str:
        """Where an image came from, "" if it is not here."""
        with self._store.read() as connection:
            row = connection.execute("SELECT origin FROM images WHERE id = ?", (image_id,)).fetchone()
        return str(row[0]) if row else ""

    def configuration(self, image_id: str) -> bytes:
        """The configuration as it came, byte for byte."""
        return self._document(image_id)

    def claim(self, connection: sqlite3.Connection, image: ImageConfig) -> None:
        """See, in the transaction that writes a container of it down, that nobody has removed the image meanwhile."""
        if not connection.execute("SELECT 1 FROM images WHERE id = ?", (image.id,)).fetchone():
            raise ReconcilerError(f"image {image.id} has just been removed", code="not-found")

    def load(self, path: str, progress: Callable[[str], None] = _silent, origin: str = "") -> tuple[str, ...]:
        """Load a docker-archive or OCI layout; see `archives.load`."""
        from reconciler.engine.images import archives  # noqa: PLC0415 - tarfile and friends only when needed

        return archives.load(self, self._workshop(progress), path, origin)

    def import_root(self, path: str, reference: str, progress: Callable[[str], None] = _silent) -> str:
        """Make an image of a root file system in a tar file; see `archives.import_root`."""
        from reconciler.engine.images import archives  # noqa: PLC0415

        return archives.import_root(self, self._workshop(progress), path, reference)

    def pull(
        self,
        reference: str,
        *,
        platform: str = "",
        progress: Progress = no_progress,
        cancelled: Callable[[], bool] = never,
        deadline: float | None = None,
    ) -> Pulled:
        """Fetch an image from its registry: what is missing of it is downloaded, and its name then stands for it.

        `platform` is os/architecture[/variant], "" for this machine's. `progress(layer, phase, done, total)` hears of
        each layer (its digest's first digits), bytes as far as they are known, from several threads. `deadline` is in
        monotonic seconds. Raises `ReconcilerError`: "not-found" (no such name or tag), "denied", "unreachable",
        "registry" (it answers nonsense), "bad-image", "platform", "disk-full", "deadline", "interrupted".
        """
        from reconciler.engine.images.registry import pulling  # noqa: PLC0415 - HTTP and TLS only when needed

        terms = pulling.Terms(platform, progress, cancelled, deadline, self._limits)
        return pulling.pull(self, self._store, self._paths, reference, terms)

    def remote_digest(self, reference: str, *, platform: str = "") -> str:
        """The digest that the registry has for a name now, as `Pulled.digest`; raises as `pull`. Changes nothing."""
        from reconciler.engine.images.registry import pulling  # noqa: PLC0415

        return pulling.remote_digest(reference, pulling.Terms(platform))

    def save(self, wanted: Sequence[str], target: str, form: str = "docker") -> None:
        """Write images to an archive, the file `target` or "-" for standard output; `form` is "docker" or "oci".

        A name without a tag stands for all tags of its repository; an image by its id or digest is saved without a name.
        See `saving.save`.
        """
        from reconciler.engine.images import saving  # noqa: PLC0415 - only for this

        with self._workshop(_silent).using() as layers:
            with self._store.read() as connection:
                tags: dict[str, list[str]] = {}
                for reference in wanted:
                    for image_id, names in rows.choose(connection, reference):
                        tags.setdefault(image_id, []).extend(names)
                chosen = [
                    saving.Chosen(image_id, tuple(dict.fromkeys(names)), *self._documents(connection, image_id))
                    for image_id, names in tags.items()
                ]
            saving.save(self._paths, layers, chosen, target, form)

    def _documents(self, connection: sqlite3.Connection, image_id: str) -> tuple[bytes, bytes]:
        """The configuration and the manifest of an image as they came; b"" for no manifest."""
        row = connection.execute("SELECT manifest FROM images WHERE id = ?", (image_id,)).fetchone()
        return self._document(image_id), self._document(row[0]) if row[0] else b""

    def login(self, registry: str, username: str, password: str) -> str:
        """Log in to a registry; see `sessions.login`."""
        from reconciler.engine.images.registry import sessions  # noqa: PLC0415

        return sessions.login(registry, username, password)

    def logout(self, registry: str) -> bool:
        """Log out of a registry; see `sessions.logout`."""
        from reconciler.engine.images.registry import sessions  # noqa: PLC0415

        return sessions.logout(registry)

    def add(self, arrivals: Iterable[Arrival], origin: str) -> None:
        """Record images whose layers are in place and on the disk: all of them or none.

        A tag that another image had moves; that image stays without it. `origin` is kept with images that are new.
        The caller holds the workshop, so that nobody removes the layers meanwhile.
        """
        arrivals = tuple(arrivals)
        files.make_folders(self._paths.content)
        for arrival in arrivals:
            files.replace_file(self._content(arrival.image.id), arrival.configuration)
            for document in arrival.documents:
                files.replace_file(self._content(digest_of(document)), document)
        now = time.time()
        with self._store.write() as connection:
            for arrival in arrivals:
                rows.add(connection, arrival, origin, now)

    def tag(self, source: str, reference: str) -> None:
        """Give an image another name, taking it from the image that had it.

        Raises `ReconcilerError`: "not-found", "bad-reference" for a name that is none, or is one by digest.
        """
        name = rows.tag_of(reference)
        with self._store.write() as connection:
            image = rows.resolve(connection, source)
            connection.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, '')", (name, image.id))

    def remove(self, reference: str, *, force: bool = False) -> Removal:
        """Take a name away, and with its last name the image and the layers that nobody else has; see `removal.remove`."""
        from reconciler.engine.images import removal, sweeping  # noqa: PLC0415 - only for this

        with self._store.write() as connection:
            done = removal.remove(connection, reference, force=force)
        sweeping.sweep(self._store, self._paths)
        return done

    def prune(self, wanted: Prunable) -> Removal:
        """Remove the images that nobody uses, as far as `wanted` says; without filters also what is left of pulls."""
        from reconciler.engine.images import removal, sweeping  # noqa: PLC0415

        with self._store.write() as connection:
            done = removal.prune(connection, wanted)
        sweeping.sweep(self._store, self._paths)
        if wanted.until is not None or wanted.labels:
            return done
        return replace(done, reclaimed=done.reclaimed + sweeping.free_downloads(self._paths))

    def _document(self, digest: str) -> bytes:
        with open(self._content(digest), "rb") as file:
            return file.read()

    def _content(self, digest: str) -> str:
        return os.path.join(self._paths.content, digest.removeprefix("sha256:"))

    def _workshop(self, progress: Callable[[str], None]) -> Workshop:
        from reconciler.engine.images.layers import Workshop  # noqa: PLC0415
        from reconciler.engine.images.streams import Limits  # noqa: PLC0415

        return Workshop(self._store, self._paths, self._limits or Limits(), progress)
