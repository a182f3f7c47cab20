"""Images and names that go: by hand, or because nobody uses them. What of them lies on the disk is swept afterwards.

Each is one transaction, and so is the writing down of a container: an image goes or is used, never both. Only
`catalog.Images` calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.engine.images import rows
from reconciler.engine.images.configuration import decode
from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import printable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from reconciler.engine.records import ImageConfig


class Removal(Frozen):
    """What has gone: names as people write them and ids (`sha256:...`), each image's names before it.

    `reclaimed` is bytes of layers that no image needs any more, and of what was left of pulls.
    """

    lines: tuple[tuple[str, str], ...] = ()
    """("untagged", name) or ("deleted", id)."""

    reclaimed: int = 0


class Prunable(Frozen):
    """Which of the unused images go: those without a tag, or all with `tagged`.

    `until`: only those made before (seconds since the epoch). `labels` are (key, value, wanted): an image must have, or
    with `wanted` False must not have, that label; value None = any.
    """

    tagged: bool = False
    until: float | None = None
    labels: tuple[tuple[str, str | None, bool], ...] = ()


def remove(connection: sqlite3.Connection, reference: str, *, force: bool = False) -> Removal:
    """Take a name away, and with its last name the image; by id all names go.

    Raises `ReconcilerError`: "not-found"; "in-use" while a container has the image that would go; "several-names" for an
    id whose image has several. With `force` the last name of a used image goes nevertheless, and the image stays
    without one; and so do several names by id.
    """
    image = rows.resolve(connection, reference)
    tags, digests = rows.tags_of(connection, image.id), rows.digests_of(connection, image.id)
    users = users_of(connection, image.id)
    going = _going(reference, tags, digests)
    by_id = not going
    if by_id and len(tags) > 1 and not (force or users):
        raise ReconcilerError(
            f"image {printable(reference)} has several names: {', '.join(map(_familiar, tags))}",
            code="several-names",
            hint="remove it by one of them, or all of them with --force",
        )
    going = going or (*tags, *digests)
    last = len(going) == len(tags) + len(digests)
    if last and users and (by_id or not force):
        raise _in_use(reference, users)
    before = rows.used_layers(connection)
    lines = _untag(connection, going)
    if last and not users:
        lines.append(_delete(connection, image))
    return Removal(tuple(lines), _size(connection, before - rows.used_layers(connection)))


def _going(reference: str, tags: tuple[str, ...], digests: tuple[str, ...]) -> tuple[str, ...]:
    """The names that go with the one that was given; () for an id.

    With the last tag of a repository go its names by digest: they came with a tag, and nobody knows them.
    """
    try:
        named = references.parse(reference)
    except ReconcilerError:
        return ()
    if named.digest:
        return tuple(name for name in digests if name == f"{named.name}@{named.digest}")
    if named.canonical not in tags:
        return ()
    if any(references.parse(tag).name == named.name for tag in tags if tag != named.canonical):
        return (named.canonical,)
    return (named.canonical, *(name for name in digests if references.parse(name).name == named.name))


def prune(connection: sqlite3.Connection, wanted: Prunable) -> Removal:
    """Remove the images that no container has, running or not, as far as `wanted` says."""
    before = rows.used_layers(connection)
    used = {row["image"] for row in connection.execute("SELECT image FROM containers")}
    lines: list[tuple[str, str]] = []
    for row in connection.execute("SELECT id, config, created FROM images ORDER BY created, id").fetchall():
        image = decode(row["config"])
        tags = rows.tags_of(connection, image.id)
        if image.id in used or (tags and not wanted.tagged) or not _fits(image, row["created"], wanted):
            continue
        lines += [*_untag(connection, (*tags, *rows.digests_of(connection, image.id))), _delete(connection, image)]
    return Removal(tuple(lines), _size(connection, before - rows.used_layers(connection)))


def _fits(image: ImageConfig, came: float, wanted: Prunable) -> bool:
    if wanted.until is not None and (rows.made_at(image) or came) >= wanted.until:
        return False
    for key, value, has in wanted.labels:
        found = image.labels.get(key)
        if has != (found is not None and value in (None, found)):
            return False
    return True


def users_of(connection: sqlite3.Connection, image_id: str) -> list[str]:
    """The names of the containers that have an image, running or not, sorted."""
    return sorted(row["name"] for row in connection.execute("SELECT name FROM containers WHERE image = ?", (image_id,)))


def _in_use(reference: str, users: list[str]) -> ReconcilerError:
    shown = ", ".join(users[:5]) + (" and others" if len(users) > 5 else "")
    return ReconcilerError(
        f"image {printable(reference)} is in use by {shown}",
        code="in-use",
        hint="remove the containers first, running or not",
    )


def _untag(connection: sqlite3.Connection, names: Iterable[str]) -> list[tuple[str, str]]:
    lines = []
    for name in names:
        parsed = references.parse(name)
        if parsed.digest:
            connection.execute("DELETE FROM digests WHERE repository = ? AND digest = ?", (parsed.name, parsed.digest))
        else:
            connection.execute("DELETE FROM tags WHERE reference = ?", (name,))
        lines.append(("untagged", parsed.familiar))
    return lines


def _delete(connection: sqlite3.Connection, image: ImageConfig) -> tuple[str, str]:
    connection.execute("DELETE FROM images WHERE id = ?", (image.id,))
    return "deleted", image.id


def _size(connection: sqlite3.Connection, layers: set[str]) -> int:
    return sum(row["size"] for row in connection.execute("SELECT short, size FROM layers") if row["short"] in layers)


def _familiar(name: str) -> str:
    return references.parse(name).familiar
