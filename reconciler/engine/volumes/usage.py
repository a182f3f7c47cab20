"""Who mounts which volume: read from the containers' rows, for volumes and containers alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


def users(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Names of containers by the name of a volume that they mount, running or not."""
    found: dict[str, list[str]] = {}
    for row in connection.execute("SELECT name, mounts FROM containers ORDER BY name"):
        for mount in json.loads(row["mounts"]):
            if mount["kind"] != "bind":
                found.setdefault(mount["source"], []).append(row["name"])
    return found
