"""The engine's records in SQLite: one connection, one writer at a time, every commit an effect.

Rooms own their tables' queries; this module owns the schema, the transactions and the migrations. The truth about
what runs is the kernel, not the store: readers compare. WAL with `synchronous=NORMAL`: a power loss may take the last
commits, which is no worse than the power loss a moment earlier, and never the order of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from reconciler.engine.kernel import files
from reconciler.engine.kernel.effects import effect
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.paths import Paths

VERSION = 4

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE layers (           -- unpacked layers; the folder is complete once the row is there, and stays while an image has it
    diff_id TEXT PRIMARY KEY,   -- sha256:... of the uncompressed tar
    short   TEXT NOT NULL UNIQUE,
    size    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE images (
    id       TEXT PRIMARY KEY,  -- sha256:... of the configuration
    config   TEXT NOT NULL,     -- records.ImageConfig as JSON, made once from the configuration
    origin   TEXT NOT NULL,     -- where it came from: "pulled from HOST", "loaded from FILE", "built here"
    created  REAL NOT NULL,     -- when it came
    manifest TEXT NOT NULL      -- sha256:... of the manifest it came with, "" without one; its bytes are in content
) WITHOUT ROWID;

CREATE TABLE tags (
    reference TEXT PRIMARY KEY, -- canonical: docker.io/library/mariadb:10.11
    image     TEXT NOT NULL REFERENCES images (id),
    digest    TEXT NOT NULL     -- sha256:... that the tag stood for where the image came from, "" where nobody said
) WITHOUT ROWID;

CREATE TABLE digests (          -- names by digest, of manifests and indexes
    repository TEXT NOT NULL,   -- canonical: docker.io/library/mariadb
    digest     TEXT NOT NULL,   -- sha256:...
    image      TEXT NOT NULL REFERENCES images (id),
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;

CREATE TABLE volumes (
    name      TEXT PRIMARY KEY,
    anonymous INTEGER NOT NULL,
    owner     TEXT NOT NULL,    -- "stack/key" of the containers it belongs to, of a named one its own key, "" for none
    target    TEXT NOT NULL,    -- where its owner mounts an anonymous one
    labels    TEXT NOT NULL,
    created   REAL NOT NULL,
    protected TEXT NOT NULL,    -- who does not want it removed, in words, "" = nobody
    folder    TEXT NOT NULL UNIQUE  -- what its folder is called: as it was itself when it was made
) WITHOUT ROWID;

CREATE TABLE containers (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    owner         TEXT NOT NULL,
    image         TEXT NOT NULL,      -- id
    config        TEXT NOT NULL,      -- records.ContainerConfig as JSON
    mounts        TEXT NOT NULL,      -- resolved mounts as JSON, volumes-from and image volumes included
    created       REAL NOT NULL,
    phase         TEXT NOT NULL,      -- ready or removing: what a crash interrupted
    wanted        TEXT NOT NULL,      -- running, stopped or last run: see catalog
    generation    INTEGER NOT NULL DEFAULT 0,   -- counts starts: who comes second finds another number
    boot          TEXT NOT NULL DEFAULT '',     -- boot id of the last start
    pid           INTEGER NOT NULL DEFAULT 0,
    pid_start     INTEGER NOT NULL DEFAULT 0,   -- field 22 of /proc/PID/stat
    monitor       INTEGER NOT NULL DEFAULT 0,
    monitor_start INTEGER NOT NULL DEFAULT 0,
    state         TEXT NOT NULL,      -- created, running, exited, restarting as last written
    exit_code     INTEGER,
    error         TEXT NOT NULL DEFAULT '',
    oom           INTEGER NOT NULL DEFAULT 0,
    started       REAL NOT NULL DEFAULT 0,
    finished      REAL NOT NULL DEFAULT 0,
    restarts      INTEGER NOT NULL DEFAULT 0,   -- by policy, since somebody started it
    streak        INTEGER NOT NULL DEFAULT 0,   -- of those in a row after a short run: what the back-off counts
    restart_at    REAL NOT NULL DEFAULT 0,
    ailing        INTEGER NOT NULL DEFAULT 0,   -- it is unhealthy, and being ended so as to be started again
    health_restarts INTEGER NOT NULL DEFAULT 0, -- for that reason, in a row without having become healthy in between
    address       TEXT NOT NULL DEFAULT ''      -- inside the bridge's network, while a lease is held or wanted again
) WITHOUT ROWID;

CREATE INDEX containers_owner ON containers (owner);

CREATE TABLE links (            -- who must hear of a changed address
    container TEXT NOT NULL,
    target    TEXT NOT NULL,    -- a container's name
    PRIMARY KEY (target, container)
) WITHOUT ROWID;

CREATE TABLE addresses (        -- given out: nobody else gets it
    address   TEXT PRIMARY KEY,
    container TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE ports (            -- given out while the container exists
    container      TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    protocol       TEXT NOT NULL,
    host_ip        TEXT NOT NULL,
    host_port      INTEGER NOT NULL,
    random         INTEGER NOT NULL,
    PRIMARY KEY (protocol, host_ip, host_port)
) WITHOUT ROWID;

CREATE TABLE remembered_ports ( -- random ports of an owner, so that its next container gets the same when free
    owner          TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    protocol       TEXT NOT NULL,
    host_ip        TEXT NOT NULL,
    host_port      INTEGER NOT NULL,
    PRIMARY KEY (owner, container_port, protocol, host_ip, host_port)
) WITHOUT ROWID;
"""


@effect
def _commit(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")


class Store:
    """Opened lazily; safe to use from several threads, one at a time inside a transaction."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._connection: sqlite3.Connection | None = None
        self._guard = threading.RLock()
        self._lock_fd = -1
        self._depth = 0
        self._alone = False

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent view. Rows are `sqlite3.Row`."""
        with self._guard:
            connection = self._open()
            if self._depth or connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
                self._let_others()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that commits at the end, or rolls back when the body raises. Nested: part of the outer one.

        Nothing slow belongs inside: other processes wait.
        """
        with self._guard:
            connection = self._open()
            if self._depth:
                yield connection
                return
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self._give_up_room()
                connection.execute("BEGIN IMMEDIATE")
                self._depth += 1
                try:
                    yield connection
                    _commit(connection)
                except BaseException:
                    if connection.in_transaction:  # a commit that failed (full disk) may have ended it already
                        connection.execute("ROLLBACK")
                    raise
                finally:
                    self._depth -= 1
                self._checkpoint(connection)
            except sqlite3.OperationalError as error:
                if told := self._told(error):
                    raise told from error
                raise
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
                self._let_others()

    def close(self) -> None:
        """Close the connection; the store can be used again afterwards."""
        with self._guard:
            if self._connection:
                self._connection.close()
                self._connection = None
                self._alone = False
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1

    def _keep_room(self) -> None:
        """Have some disk space in reserve, as much as suits what is free."""
        path = self._paths.store + ".reserve"
        free = self._free()
        size = _RESERVE if free > _PLENTY else _SMALL_RESERVE if free > _LITTLE else 0
        if not size or (os.path.exists(path) and os.stat(path).st_size >= size):
            return
        fd = files.create(path, 0o600, 0)
        try:
            with contextlib.suppress(OSError):  # somebody was faster to fill the disk
                files.allocate(fd, size)
        finally:
            os.close(fd)

    def _free(self) -> int:
        facts = os.statvfs(self._paths.root)
        return facts.f_bavail * facts.f_frsize

    def _give_up_room(self) -> None:
        """Give up a slice of the reserve where the disk is full.

        So containers can be listed, stopped and removed, which makes room. By slices, as a container that fills the
        disk takes what is given up at any time before it is dead.
        """
        if self._free() >= _SLICE:
            return
        try:
            fd = files.open_for_writing(self._paths.store + ".reserve")
        except FileNotFoundError:
            return
        try:
            if size := os.fstat(fd).st_size:
                files.truncate(fd, max(0, size - _SLICE))
        finally:
            os.close(fd)

    def _told(self, error: sqlite3.Error) -> ReconcilerError | None:
        """The error as one of a full disk, None where it is something else."""
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        full = kind == sqlite3.SQLITE_FULL
        if not full and not (kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and self._free() < _SLICE):
            return None
        return ReconcilerError(
            f"the disk is full: {self._paths.store} could not be written",
            code=DISK_FULL,
            hint="`reconciler rm -f` of a container that you can spare makes room; `df -h` and `df -i` say where there is"
            " none",
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection:
            return self._connection
        self._keep_room()
        if self._lock_fd < 0:
            self._lock_fd = files.create(self._paths.store + ".lock", 0o600, 0)
        if not os.path.exists(self._paths.store):
            # It holds values of variables: SQLite would have everybody read it wherever it is copied to.
            os.close(files.create(self._paths.store, 0o600, 0))
        try:
            try:
                connection = self._connect()
            except sqlite3.OperationalError as error:
                if not self._told(error):
                    raise
                # Alone, SQLite keeps the index of its WAL in memory, and a look needs no block of the full disk.
                connection = self._connect(alone=True)
                self._alone = True
        except sqlite3.DatabaseError as error:
            if told := self._told(error):
                raise told from error
            raise ReconcilerError(
                f"the store {self._paths.store} can't be read: {error}",
                code="store",
                hint="check that the disk has room and is writable; a copy of the file helps to find out what happened",
            ) from error
        self._connection = connection
        return connection

    def _connect(self, *, alone: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(self._paths.store, timeout=60.0, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            if alone:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            # Checkpoints happen under our own lock, or by the last one to close, who is alone: SQLite 3.40 can lose
            # frames when two run at once.
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("PRAGMA synchronous=NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _let_others(self) -> None:
        """Nobody else gets at the store while it is open for one alone: not longer than a transaction."""
        if self._alone and self._connection and not self._connection.in_transaction:
            self._connection.close()
            self._connection = None
            self._alone = False

    def _migrate(self, connection: sqlite3.Connection) -> None:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise ReconcilerError(
                    f"the store {self._paths.store} was written by a newer release (version {version})",
                    code="store",
                    hint="use that release, or another RECONCILER_ROOT",
                )
            if 0 < version < VERSION:
                raise ReconcilerError(
                    f"the store {self._paths.store} was written by a development version before the first release",
                    code="store",
                    hint="remove its containers with that version, then the folder, or use another RECONCILER_ROOT",
                )
            if version == 0:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={VERSION}")
                _commit(connection)
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            size = os.stat(self._paths.store + "-wal").st_size
        except FileNotFoundError:
            return
        if size > _WAL_LIMIT:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_WAL_LIMIT = 4 << 20
_RESERVE, _PLENTY = 2 << 20, 64 << 20
_SMALL_RESERVE, _LITTLE = 256 << 10, 4 << 20
"""Bytes: what is kept in reserve, and from how much free space on."""
_SLICE = 128 << 10
"""Bytes: more than it takes to open the store and commit what one verb changes."""
DISK_FULL = "disk-full"


@contextlib.contextmanager
def even_on_a_full_disk() -> Iterator[None]:
    """Go on where what is meant can't be written down: ending and removing a container is what makes room to write.

    Whoever is cut off then leaves a container that has ended, maybe without its files; the same verb again ends it.
    """
    try:
        yield
    except ReconcilerError as error:
        if error.code != DISK_FULL:
            raise


def get_meta(connection: sqlite3.Connection, key: str) -> str:
    """A small fact about these roots, "" if not set."""
    row: Any = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def set_meta(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a small fact about these roots."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
