"""What users ask of volumes: list, make, remove. Containers use `volumes` directly, inside their own transactions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.engine.volumes import usage, volumes
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    import sqlite3

    from reconciler.engine.paths import Paths
    from reconciler.engine.store import Store
    from reconciler.engine.volumes.volumes import Volume


class Shelf:
    """The volumes of one pair of roots."""

    def __init__(self, paths: Paths, store: Store) -> None:
        self._paths = paths
        self._store = store

    def every(self) -> list[tuple[Volume, tuple[str, ...]]]:
        """All volumes by name, each with the names of the containers that mount it."""
        with self._store.read() as connection:
            users = usage.users(connection)
            return [(volume, tuple(users.get(volume.name, ()))) for volume in volumes.every(connection)]

    def get(self, name: str) -> tuple[Volume, tuple[str, ...]]:
        """One volume with its users; raises ReconcilerError, code "not-found"."""
        with self._store.read() as connection:
            volume = volumes.get(connection, name)
            if volume is None:
                raise _missing(name, connection)
            return volume, tuple(usage.users(connection).get(name, ()))

    def data_of(self, name: str) -> str:
        """Where a volume's data lies on the host; as `get`."""
        return self._paths.volume_data(self.get(name)[0].folder)

    def create(
        self,
        name: str = "",
        *,
        owner: str = "",
        labels: dict[str, str] | None = None,
        protected: str = "",
        folder: bool = False,
    ) -> str:
        """Have a volume; "" = an anonymous one with a random name. One that exists stays as it is.

        Its folder is made by the first container that mounts it, or at once with `folder`.
        """
        anonymous = not name
        name = name or volumes.random_name()
        with self._store.write() as connection:
            volumes.ensure(
                connection, name, time.time(), anonymous=anonymous, owner=owner, labels=labels, protected=protected
            )
            place = volumes.folder_of(connection, name)
        if folder:
            volumes.make_folder(self._paths, place)
        return name

    def change(self, name: str, *, labels: dict[str, str] | None = None, protected: str = "") -> bool:
        """Give a volume other labels (None: the same) and who does not want it removed, in words; whether that is new.

        Raises ReconcilerError, code "not-found".
        """
        with self._store.write() as connection:
            volume = volumes.get(connection, name)
            if volume is None:
                raise _missing(name, connection)
            labels = volume.labels if labels is None else labels
            volumes.change(connection, name, labels=labels, protected=protected)
        return (labels, protected) != (volume.labels, volume.protected)

    def remove(self, name: str) -> None:
        """Delete a volume and its data for good; refused while a container has it, running or not, or it is protected."""

        def chosen(connection: sqlite3.Connection) -> list[str]:
            if volumes.get(connection, name) is None:
                raise _missing(name, connection)
            if users := usage.users(connection).get(name):
                raise ReconcilerError(
                    f"remove {name}: volume is in use - [{', '.join(users)}]",
                    code="in-use",
                    hint="remove the containers first",
                )
            return [name]

        volumes.take_away(self._paths, self._store, chosen)


def _missing(name: str, connection: sqlite3.Connection) -> ReconcilerError:
    """It suggests the volume of a stack that has this key, which is what a spec calls it."""
    near = [volume.name for volume in volumes.every(connection) if volume.name.endswith(f"_{name}")]
    hint = f"did you mean {' or '.join(near)}?" if 0 < len(near) < 4 else "`reconciler volume ls` lists them"
    return ReconcilerError(f"No such volume: {name}", code="not-found", hint=hint)
