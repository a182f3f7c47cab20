"""The images that are here: names, configurations, layers. Looked up at every start, so nothing is parsed or hashed here.

Not for reading archives (`archives`) or unpacking (`layers`), which it loads when they are asked for. The engine may
import it.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING

from reconciler.engine.images.configuration import decode
from reconciler.engine.kernel import files
from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, as_document
from reconciler.kits.text import nearest, printable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from reconciler.engine.images.layers import Workshop
    from reconciler.engine.images.registry.pulling import Progress, Pulled
    from reconciler.engine.images.streams import Limits
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig
    from reconciler.engine.store import Store

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_SHORT_ID = 12


def _silent(_text: str) -> None:
    return None


def _no_progress(_layer: str, _phase: str, _done: int, _total: int) -> None:
    return None


def _never() -> bool:
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
            return _find(connection, reference)

    def resolve(self, reference: str) -> ImageConfig:
        """As `find`, but an image that is not here is an error with code "not-found"."""
        with self._store.read() as connection:
            return self._resolve(connection, reference)

    def list(self) -> tuple[ListedImage, ...]:
        """All images, one entry a tag, newest first; one without a tag by its digest, or without a name."""
        with self._store.read() as connection:
            rows = connection.execute(
                "SELECT reference, digest, config, origin, created FROM images JOIN tags ON tags.image = images.id "
                "UNION ALL SELECT coalesce(min(repository || '@' || digest), ''), '', config, origin, created "
                "FROM images LEFT JOIN digests ON digests.image = images.id "
                "WHERE id NOT IN (SELECT image FROM tags) GROUP BY id ORDER BY created DESC, reference, config"
            ).fetchall()
        return tuple(_listed(row) for row in rows)

    def names(self, image_id: str) -> tuple[str, ...]:
        """The tags of an image, canonical."""
        with self._store.read() as connection:
            return _tags(connection, image_id)

    def digests(self, image_id: str) -> tuple[str, ...]:
        """The names by digest of an image, canonical."""
        with self._store.read() as connection:
            return _digests(connection, image_id)

    def digest_of(self, reference: str) -> str:
        """What a tag stood for where its image came from (`sha256:...`), "" where nobody said or there is no such tag."""
        with self._store.read() as connection:
            row = connection.execute(
                "SELECT digest FROM tags WHERE reference = ?", (references.parse(reference).canonical,)
            ).fetchone()
        return str(row[0]) if row else ""

    def origin(self, image_id: str) -> str:
        """Where an image came from, "" if it is not here."""
        with self._store.read() as connection:
            row = connection.execute("SELECT origin FROM images WHERE id = ?", (image_id,)).fetchone()
        return str(row[0]) if row else ""

    def configuration(self, image_id: str) -> bytes:
        """The configuration as it came, byte for byte."""
        with open(self._content(image_id), "rb") as file:
            return file.read()

    def claim(self, connection: sqlite3.Connection, image: ImageConfig) -> None:
        """See, in the transaction that writes a container of it down, that nobody has removed the image meanwhile."""
        if not connection.execute("SELECT 1 FROM images WHERE id = ?", (image.id,)).fetchone():
            raise ReconcilerError(f"image {image.id} has just been removed", code="not-found")

    def lower_dirs(self, image: ImageConfig) -> tuple[str, ...]:
        """The layers' folders as overlayfs wants them, highest first; names inside `Paths.layers`."""
        return image.layers[::-1]

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
        progress: Progress = _no_progress,
        cancelled: Callable[[], bool] = _never,
        deadline: float | None = None,
    ) -> Pulled:
        """Fetch an image from its registry: what is missing of it is downloaded, and its name then stands for it.

        `platform` is os/architecture[/variant], "" for this machine's. `progress(layer, phase, done, total)` hears of
        each layer (its digest's first digits), bytes as far as they are known, from several threads. `deadline` is in
        monotonic seconds. Raises `ReconcilerError`: "not-found" (no such name or tag), "denied", "unreachable",
        "registry" (it answers nonsense), "bad-image", "platform", "disk-full", "deadline", "interrupted".
        """
        from reconciler.engine.images.registry import pulling  # noqa: PLC0415 - HTTP and TLS only when needed

        return pulling.pull(self, reference, pulling.Terms(platform, progress, cancelled, deadline))

    def remote_digest(self, reference: str, *, platform: str = "") -> str:
        """The digest that the registry has for a name now, as `Pulled.digest`; raises as `pull`. Changes nothing."""
        from reconciler.engine.images.registry import pulling  # noqa: PLC0415

        return pulling.remote_digest(self, reference, pulling.Terms(platform))

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
                files.replace_file(self._content(_sha256(document)), document)
        now = time.time()
        with self._store.write() as connection:
            for arrival in arrivals:
                _add_rows(connection, arrival, origin, now)

    def tag(self, source: str, reference: str) -> None:
        """Give an image another name, taking it from the image that had it.

        Raises `ReconcilerError`: "not-found", "bad-reference" for a name that is none, or is one by digest.
        """
        name = tag_of(reference)
        with self._store.write() as connection:
            image = self._resolve(connection, source)
            connection.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, '')", (name, image.id))

    def remove(self, reference: str, progress: Callable[[str], None] = _silent) -> tuple[str, ...]:
        """Take a name away, and with its last name the image and the layers that nobody else has.

        By id all names go. Returns lines as `docker rmi` prints them. Refused (code "in-use") while a container has
        the image that would go.
        """
        with self._store.write() as connection:
            lines = self._remove_rows(connection, reference)
        self._workshop(progress).sweep()
        return lines

    def _remove_rows(self, connection: sqlite3.Connection, reference: str) -> tuple[str, ...]:
        image = self._resolve(connection, reference)
        names = _tags(connection, image.id)
        wanted = _canonical(reference)
        going = (wanted,) if wanted in names else names
        last = len(going) == len(names)
        if last:
            self._refuse_if_used(connection, image.id, reference)
        connection.executemany("DELETE FROM tags WHERE reference = ?", [(name,) for name in going])
        lines = [f"Untagged: {references.parse(name).familiar}" for name in going]
        if last:
            connection.execute("DELETE FROM digests WHERE image = ?", (image.id,))
            connection.execute("DELETE FROM images WHERE id = ?", (image.id,))
            lines.append(f"Deleted: {image.id}")
        return tuple(lines)

    def _refuse_if_used(self, connection: sqlite3.Connection, image_id: str, reference: str) -> None:
        users = [row["name"] for row in connection.execute("SELECT name FROM containers WHERE image = ?", (image_id,))]
        if users:
            shown = ", ".join(sorted(users)[:5]) + (" and others" if len(users) > 5 else "")
            raise ReconcilerError(
                f"image {printable(reference)} is in use by {shown}",
                code="in-use",
                hint="remove the containers first, running or not",
            )

    def _resolve(self, connection: sqlite3.Connection, reference: str) -> ImageConfig:
        image = _find(connection, reference)
        if image is not None:
            return image
        known = [
            references.parse(row["reference"]).familiar for row in connection.execute("SELECT reference FROM tags")
        ]
        meant = nearest(reference, known)
        raise ReconcilerError(
            f"no such image: {printable(reference)}",
            code="not-found",
            hint=f"did you mean {meant}?" if meant else "load it with: reconciler load ARCHIVE",
        )

    def _content(self, digest: str) -> str:
        return os.path.join(self._paths.content, digest.removeprefix("sha256:"))

    def _workshop(self, progress: Callable[[str], None]) -> Workshop:
        from reconciler.engine.images.layers import Workshop  # noqa: PLC0415
        from reconciler.engine.images.streams import Limits  # noqa: PLC0415

        return Workshop(self._store, self._paths, self._limits or Limits(), progress)


def _canonical(reference: str) -> str:
    try:
        return references.parse(reference).canonical
    except ReconcilerError:
        return ""


def tag_of(reference: str) -> str:
    """The canonical name that `reference` gives an image; raises `ReconcilerError` for one that holds a digest."""
    parsed = references.parse(reference)
    if parsed.digest:
        raise ReconcilerError(
            f"{printable(reference)} names an image by its digest, which follows from its content and can't be given",
            code="bad-reference",
            hint="leave out the @ and what follows",
        )
    return parsed.canonical


def _sha256(data: bytes) -> str:
    import hashlib  # noqa: PLC0415 - loads OpenSSL: only where images arrive

    return "sha256:" + hashlib.sha256(data).hexdigest()


def _add_rows(connection: sqlite3.Connection, arrival: Arrival, origin: str, now: float) -> None:
    image_id = arrival.image.id
    manifest = _sha256(arrival.documents[-1]) if arrival.documents else ""
    connection.execute(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET config = excluded.config, "
        "manifest = CASE excluded.manifest WHEN '' THEN manifest ELSE excluded.manifest END",
        (image_id, json.dumps(as_document(arrival.image)), origin, now, manifest),
    )
    digests = [references.parse(name) for name in arrival.digests]
    stands_for = {name.name: name.digest for name in reversed(digests)}
    connection.executemany(
        "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", [(name.name, name.digest, image_id) for name in digests]
    )
    connection.executemany(
        "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)",
        [(tag, image_id, stands_for.get(references.parse(tag).name, "")) for tag in arrival.tags],
    )


def _listed(row: sqlite3.Row) -> ListedImage:
    digest = row["digest"] or row["reference"].partition("@")[2]
    return ListedImage(row["reference"], decode(row["config"]), row["origin"], row["created"], digest)


def _tags(connection: sqlite3.Connection, image_id: str) -> tuple[str, ...]:
    rows = connection.execute("SELECT reference FROM tags WHERE image = ? ORDER BY reference", (image_id,))
    return tuple(row["reference"] for row in rows)


def _digests(connection: sqlite3.Connection, image_id: str) -> tuple[str, ...]:
    rows = connection.execute("SELECT * FROM digests WHERE image = ? ORDER BY repository, digest", (image_id,))
    return tuple(f"{row['repository']}@{row['digest']}" for row in rows)


def _find(connection: sqlite3.Connection, reference: str) -> ImageConfig | None:
    """By name first: an image named `cafe` is found although `cafe` may start an id. Beside a digest a tag says nothing."""
    is_id = _ID.fullmatch(reference)
    try:
        parsed = references.parse(reference)
    except ReconcilerError:
        if not is_id:
            raise
    else:
        if parsed.digest:
            select = "SELECT config FROM images JOIN digests ON image = id WHERE repository = ? AND digest = ?"
            row = connection.execute(select, (parsed.name, parsed.digest)).fetchone()
            return decode(row["config"]) if row else None
        row = connection.execute(
            "SELECT config FROM images JOIN tags ON image = id WHERE reference = ?", (parsed.canonical,)
        ).fetchone()
        if row:
            return decode(row["config"])
    if not is_id:
        return None
    prefix = "sha256:" + is_id[1]
    # A range over the primary key: ids are hexadecimal, and "g" comes after "f".
    rows = connection.execute(
        "SELECT config FROM images WHERE id >= ? AND id < ? LIMIT 2", (prefix, prefix + "g")
    ).fetchall()
    if len(rows) > 1:
        raise ReconcilerError(
            f"{printable(reference)} is the beginning of several images' ids",
            code="ambiguous",
            hint=f"give more digits ({_SHORT_ID} usually do), or a name",
        )
    return decode(rows[0]["config"]) if rows else None
