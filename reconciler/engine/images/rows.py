"""Images and their names in the store: what is asked and written inside a transaction. Only this room may import it."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from reconciler.engine.images.configuration import decode, digest_of
from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import as_document
from reconciler.kits.text import nearest, printable

if TYPE_CHECKING:
    import sqlite3

    from reconciler.engine.images.catalog import Arrival, ListedImage
    from reconciler.engine.records import ImageConfig

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_SHORT_ID = 12


def canonical(reference: str) -> str:
    """The whole name, "" for what is no name."""
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


def add(connection: sqlite3.Connection, arrival: Arrival, origin: str, now: float) -> None:
    """Write an image down, with its names; see `catalog.Images.add`."""
    image_id = arrival.image.id
    manifest = digest_of(arrival.documents[-1]) if arrival.documents else ""
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


def listed(row: sqlite3.Row) -> ListedImage:
    """One of `catalog.Images.list`."""
    from reconciler.engine.images.catalog import ListedImage  # noqa: PLC0415

    digest = row["digest"] or row["reference"].partition("@")[2]
    return ListedImage(row["reference"], decode(row["config"]), row["origin"], row["created"], digest)


def tags_of(connection: sqlite3.Connection, image_id: str) -> tuple[str, ...]:
    """The tags of an image, canonical."""
    rows = connection.execute("SELECT reference FROM tags WHERE image = ? ORDER BY reference", (image_id,))
    return tuple(row["reference"] for row in rows)


def digests_of(connection: sqlite3.Connection, image_id: str) -> tuple[str, ...]:
    """The names by digest of an image, canonical."""
    rows = connection.execute("SELECT * FROM digests WHERE image = ? ORDER BY repository, digest", (image_id,))
    return tuple(f"{row['repository']}@{row['digest']}" for row in rows)


def made_at(image: ImageConfig) -> float:
    """When the image was made, in seconds since the epoch: an RFC 3339 time in UTC, as configurations have it; else 0.0."""
    import calendar  # noqa: PLC0415 - for verbs that list or prune

    try:
        return float(calendar.timegm(time.strptime(image.created[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0.0


def find(connection: sqlite3.Connection, reference: str) -> ImageConfig | None:
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


def resolve(connection: sqlite3.Connection, reference: str) -> ImageConfig:
    """As `find`; raises `ReconcilerError` (code "not-found") for an image that is not here."""
    image = find(connection, reference)
    if image is not None:
        return image
    known = [references.parse(row["reference"]).familiar for row in connection.execute("SELECT reference FROM tags")]
    meant = nearest(reference, known)
    raise ReconcilerError(
        f"no such image: {printable(reference)}",
        code="not-found",
        hint=f"did you mean {meant}?" if meant else "reconciler pull fetches images, reconciler load takes an archive",
    )


def used_layers(connection: sqlite3.Connection) -> set[str]:
    """The short names of all layers that some image has."""
    rows = connection.execute("SELECT config FROM images")
    return {short for row in rows for short in decode(row["config"]).layers}


def choose(connection: sqlite3.Connection, reference: str) -> list[tuple[str, tuple[str, ...]]]:
    """(id, tags) of what a user names to be saved."""
    if "@" not in reference and ":" not in reference.rpartition("/")[2] and (name := canonical(reference)):
        beginning = name.removesuffix(references.DEFAULT_TAG)
        select = "SELECT reference, image FROM tags WHERE substr(reference, 1, ?) = ? ORDER BY reference"
        rows = connection.execute(select, (len(beginning), beginning)).fetchall()
        if rows:
            return [(row["image"], (row["reference"],)) for row in rows]
    image = resolve(connection, reference)
    name = canonical(reference)
    return [(image.id, (name,) if name in tags_of(connection, image.id) else ())]
