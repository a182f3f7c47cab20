"""The containers' rows: read, insert, change. Every function works inside the caller's transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from reconciler.engine.records import ContainerConfig, PortLease
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, as_document

if TYPE_CHECKING:
    import sqlite3

READY = "ready"
REMOVING = "removing"

WANTED = "running"
STOPPED = "stopped"
LAST_RUN = "last run"
"""What a container shall be: running, stopped, or running until it ends of itself and no longer."""

CREATED = "created"
RUNNING = "running"
EXITED = "exited"
RESTARTING = "restarting"


class ResolvedMount(Frozen):
    """A mount after volumes-from and the image's volumes: `source` is a volume's name or a host path.

    `folder` is where a volume's data lies, "" = in the folder that is called like it.
    """

    kind: str
    source: str
    target: str
    read_only: bool = False
    nocopy: bool = False
    folder: str = ""

    @property
    def place(self) -> str:
        """The name of a volume's folder."""
        return self.folder or self.source


class Record(Frozen):
    """A row of `containers` with its port leases; see the schema in `engine.store` for the columns."""

    id: str
    name: str
    owner: str
    image: str
    config: ContainerConfig
    mounts: tuple[ResolvedMount, ...]
    created: float
    phase: str
    wanted: str
    generation: int
    boot: str
    pid: int
    pid_start: int
    monitor: int
    monitor_start: int
    state: str
    exit_code: int | None
    error: str
    oom: bool
    started: float
    finished: float
    restarts: int
    streak: int
    restart_at: float
    ailing: bool
    health_restarts: int
    address: str
    ports: tuple[PortLease, ...]


def _record(row: sqlite3.Row, ports: tuple[PortLease, ...]) -> Record:
    values: dict[str, Any] = dict(row)
    values["config"] = ContainerConfig.from_document(json.loads(values["config"]))
    values["mounts"] = tuple(ResolvedMount(**mount) for mount in json.loads(values["mounts"]))
    values["oom"] = bool(values["oom"])
    values["ailing"] = bool(values["ailing"])
    return Record(**values, ports=ports)


def every(connection: sqlite3.Connection) -> list[Record]:
    """All containers, in the order of their creation."""
    leases: dict[str, list[PortLease]] = {}
    for row in connection.execute("SELECT * FROM ports ORDER BY container_port, protocol, host_ip, host_port"):
        leases.setdefault(row["container"], []).append(_lease(row))
    rows = connection.execute("SELECT * FROM containers ORDER BY created, id").fetchall()
    return [_record(row, tuple(leases.get(row["id"], ()))) for row in rows]


def _lease(row: sqlite3.Row) -> PortLease:
    return PortLease(row["container_port"], row["protocol"], row["host_ip"], row["host_port"])


def get(connection: sqlite3.Connection, container_id: str) -> Record | None:
    """The container with exactly this id."""
    row = connection.execute("SELECT * FROM containers WHERE id = ?", (container_id,)).fetchone()
    if row is None:
        return None
    leases = connection.execute(
        "SELECT * FROM ports WHERE container = ? ORDER BY container_port, protocol, host_ip, host_port",
        (container_id,),
    )
    return _record(row, tuple(_lease(lease) for lease in leases))


def by_name(connection: sqlite3.Connection, name: str) -> Record | None:
    """The container with exactly this name."""
    row = connection.execute("SELECT id FROM containers WHERE name = ?", (name,)).fetchone()
    return get(connection, row["id"]) if row else None


def by_owner(connection: sqlite3.Connection, owner: str) -> Record:
    """The owner's container; raises ReconcilerError, code "not-found"."""
    row = connection.execute("SELECT id FROM containers WHERE owner = ? AND owner != ''", (owner,)).fetchone()
    record = get(connection, row["id"]) if row else None
    if record is None:
        raise ReconcilerError(f"No such container: {owner}", code="not-found", hint="`reconciler ps -a` lists them")
    return record


def find(connection: sqlite3.Connection, name: str) -> Record:
    """By full id, then name (a leading slash is dropped), then owner, then unique prefix of an id.

    Raises ReconcilerError, code "not-found", or "ambiguous" for a prefix of several.
    """
    plain = name.removeprefix("/")
    row = connection.execute(
        "SELECT id FROM containers WHERE id = ?1 OR name = ?1 OR owner = ?1"
        " ORDER BY id = ?1 DESC, name = ?1 DESC LIMIT 1",
        (plain,),
    ).fetchone()
    if row is None and plain and all(c in "0123456789abcdef" for c in plain):
        rows = connection.execute("SELECT id FROM containers WHERE id LIKE ? LIMIT 2", (plain + "%",)).fetchall()
        if len(rows) > 1:
            raise ReconcilerError(
                f"several containers have an id that begins with {plain}", code="ambiguous", hint="give more digits"
            )
        row = rows[0] if rows else None
    record = get(connection, row["id"]) if row else None
    if record is None:
        raise ReconcilerError(f"No such container: {name}", code="not-found", hint="`reconciler ps -a` lists them")
    return record


def linking_to(connection: sqlite3.Connection, name: str) -> list[Record]:
    """The containers that have a link to the one with this name."""
    rows = connection.execute("SELECT container FROM links WHERE target = ?", (name,)).fetchall()
    records = (get(connection, row["container"]) for row in rows)
    return [record for record in records if record]


def insert(
    connection: sqlite3.Connection,
    container_id: str,
    config: ContainerConfig,
    image: str,
    mounts: tuple[ResolvedMount, ...],
    created: float,
) -> None:
    """A new container; ports and address are leased separately. Raises ReconcilerError when the name is taken."""
    taken = connection.execute("SELECT id FROM containers WHERE name = ?", (config.name,)).fetchone()
    if taken:
        raise ReconcilerError(
            f'Conflict. The container name "/{config.name}" is already in use by container "{taken["id"]}"',
            code="name-taken",
            hint=f"remove it (`reconciler rm {config.name}`) or choose another name",
        )
    connection.execute(
        "INSERT INTO containers (id, name, owner, image, config, mounts, created, phase, wanted, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            container_id,
            config.name,
            config.owner,
            image,
            json.dumps(config.document(), separators=(",", ":")),
            json.dumps(as_document(mounts), separators=(",", ":")),
            created,
            READY,
            STOPPED,
            CREATED,
        ),
    )
    _insert_links(connection, container_id, config)


def _insert_links(connection: sqlite3.Connection, container_id: str, config: ContainerConfig) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO links VALUES (?, ?)", [(container_id, link.target) for link in config.links]
    )


_COLUMNS = frozenset(
    [
        "phase",
        "wanted",
        "generation",
        "boot",
        "pid",
        "pid_start",
        "monitor",
        "monitor_start",
        "state",
        "exit_code",
        "error",
        "oom",
        "started",
        "finished",
        "restarts",
        "streak",
        "restart_at",
        "ailing",
        "health_restarts",
        "address",
    ]
)


def change(connection: sqlite3.Connection, container_id: str, **values: Any) -> None:
    """Set columns of one row."""
    unknown = set(values) - _COLUMNS
    if unknown:
        raise TypeError(f"no such columns: {sorted(unknown)}")
    assignments = ", ".join(f"{name} = ?" for name in values)
    connection.execute(f"UPDATE containers SET {assignments} WHERE id = ?", (*values.values(), container_id))  # noqa: S608 - names are checked above


def change_config(connection: sqlite3.Connection, container_id: str, config: ContainerConfig) -> None:
    """Give a container another configuration (same name); it counts from the next start."""
    document = json.dumps(config.document(), separators=(",", ":"))
    connection.execute("UPDATE containers SET config = ? WHERE id = ?", (document, container_id))
    connection.execute("DELETE FROM links WHERE container = ?", (container_id,))
    _insert_links(connection, container_id, config)


def change_identity(connection: sqlite3.Connection, container_id: str, config: ContainerConfig) -> None:
    """Give a container the name and owner of another configuration of its, and that."""
    statement = "UPDATE containers SET name = ?, owner = ? WHERE id = ?"
    connection.execute(statement, (config.name, config.owner, container_id))
    change_config(connection, container_id, config)


def change_mounts(connection: sqlite3.Connection, container_id: str, mounts: tuple[ResolvedMount, ...]) -> None:
    """Give a container the same mounts under other names."""
    document = json.dumps(as_document(mounts), separators=(",", ":"))
    connection.execute("UPDATE containers SET mounts = ? WHERE id = ?", (document, container_id))


def delete(connection: sqlite3.Connection, container_id: str) -> None:
    """Take a container's row, links, address and ports away."""
    for statement in (
        "DELETE FROM links WHERE container = ?",
        "DELETE FROM addresses WHERE container = ?",
        "DELETE FROM ports WHERE container = ?",
        "DELETE FROM containers WHERE id = ?",
    ):
        connection.execute(statement, (container_id,))
