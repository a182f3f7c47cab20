"""What one pair of roots has on this machine, read from the kernel: processes, mounts, links, rules, cgroups, files, rows.

`snapshot` names containers by their names, so that two runs of the same scenario compare equal whatever ids, times and
process ids they got. `leftovers` is what must be empty when everything was removed. Both read only.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from reconciler.engine.kernel import cgroups, mounts

if TYPE_CHECKING:
    from reconciler.engine.paths import Paths

_PRESENT = frozenset(
    ("created", "started", "finished", "boot", "pid", "pid_start", "monitor", "monitor_start", "generation")
)
"""Columns of which only counts whether they are set: they differ from run to run."""

_SQLITE = ("store.db", "store.db-wal", "store.db-shm")


def processes_of(paths: Paths) -> dict[int, str]:
    """The processes that have one of the roots in their command line, or live in a cgroup of them."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = os.fsdecode(file.read()).replace("\0", " ").strip()
            with open(f"/proc/{name}/cgroup", encoding="utf-8") as file:
                groups = file.read()
        except OSError:
            continue
        if f"{paths.root}/" in f"{line}/" or f"{paths.run}/" in f"{line}/" or f"/{paths.cgroup}/" in groups:
            found[int(name)] = line
    return found


def zombies_of(paths: Paths, *others: int) -> list[str]:
    """Who has ended and was not waited for by whoever works for these roots, and `others`; not what a container leaves."""
    ours = {pid for pid, line in processes_of(paths).items() if paths.run in line} | {*others}
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == b"Z" and int(parent) in ours:
            found.append(f"zombie {name} of {int(parent)}")
    return found


def parent_of(pid: int) -> int:
    """The process's parent, 0 where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def holder_of(path: str) -> int:
    """The process that holds the lock on this file, 0 where nobody does; who asks about it has it shared for a moment."""
    try:
        node = os.stat(path).st_ino
    except FileNotFoundError:
        return 0
    with open("/proc/locks", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return next(
        (int(one[4]) for one in lines if one[1] == "FLOCK" and one[3] == "WRITE" and one[5].endswith(f":{node}")), 0
    )


def groups_of(paths: Paths) -> list[str]:
    """The cgroups of these roots, one for all hierarchies."""
    found = set()
    for hierarchy in cgroups.hierarchies():
        for folder, _, _ in os.walk(os.path.join(hierarchy, paths.cgroup)):
            found.add(os.path.relpath(folder, hierarchy))
    return sorted(found)


def links_of(paths: Paths, ids: tuple[str, ...] = ()) -> list[str]:
    """The bridge and what is attached to it, with addresses; veths of containers `ids` also when attached nowhere."""
    done = subprocess.run(["ip", "-json", "address"], capture_output=True, check=True)
    found = []
    for link in json.loads(done.stdout):
        mine = link["ifname"] == paths.bridge or link.get("master") == paths.bridge
        if mine or any(link["ifname"].startswith(f"rc{identity[:8]}") for identity in ids):
            addresses = [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["family"] == "inet"]
            found.append(" ".join((link["ifname"], link.get("master", "-"), link["operstate"], *addresses)))
    return sorted(found)


def table_of(paths: Paths) -> Any:
    """The firewall table without its handles, None when there is none."""
    done = subprocess.run(["nft", "-j", "list", "table", "ip", paths.table], capture_output=True, check=False)
    if done.returncode:
        return None
    return _ordered(_without_handles([part for part in json.loads(done.stdout)["nftables"] if "metainfo" not in part]))


def _without_handles(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_handles(inner) for key, inner in value.items() if key not in ("handle", "packets", "bytes")
        }
    return [_without_handles(inner) for inner in value] if isinstance(value, list) else value


def _ordered(parts: list[Any]) -> list[Any]:
    for part in parts:
        for inner in part.values():
            if isinstance(inner, dict) and isinstance(inner.get("elem"), list):
                inner["elem"].sort(key=json.dumps)
    return parts


def foreign_rules(paths: Paths) -> list[str]:
    """Rules with our name in other tables."""
    done = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if f'comment "{paths.table}"' in line]


def rows_of(paths: Paths) -> dict[str, list[dict[str, Any]]]:
    """All rows of the store."""
    if not os.path.exists(paths.store):
        return {}
    with sqlite3.connect(f"file:{paths.store}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in sorted(names)}
    connection.close()
    return rows


def files_of(paths: Paths) -> dict[str, str]:
    """Every file below the roots: type, mode, owner, and a digest of regular files outside of layers."""
    found = {}
    for base, prefix in ((paths.root, "ROOT"), (paths.run, "RUN")):
        for folder, names, others in os.walk(base):
            inside = os.path.relpath(folder, base)
            if prefix == "ROOT" and inside == "layers":
                found["ROOT/layers"] = " ".join(sorted(names))
                names.clear()
                continue
            for name in (*names, *others):
                path = os.path.join(folder, name)
                if name in _SQLITE or name == "exec.fifo":  # who waits at it shows among the processes
                    continue
                found[os.path.normpath(f"{prefix}/{inside}/{name}")] = _describe(path)
            names[:] = [name for name in names if not os.path.ismount(os.path.join(folder, name))]
    return found


def _describe(path: str) -> str:
    facts = os.lstat(path)
    text = f"{stat.filemode(facts.st_mode)} {facts.st_uid}:{facts.st_gid}"
    if stat.S_ISLNK(facts.st_mode):
        return f"{text} -> {os.readlink(path)}"
    if stat.S_ISREG(facts.st_mode) and "/data/" in path:
        with open(path, "rb") as file:
            text += " " + sha256(file.read()).hexdigest()[:12]
    return text


def leftovers(paths: Paths, ids: tuple[str, ...] = ()) -> list[str]:
    """What is there of these roots beside files and rows, one line each. Empty when all was removed."""
    return [
        *(f"process {pid}: {line}" for pid, line in processes_of(paths).items()),
        *(f"mount {point}" for point in (*mounts.mounts_below(paths.root), *mounts.mounts_below(paths.run))),
        *(f"link {line}" for line in links_of(paths, ids)),
        *([f"firewall table {paths.table}"] if table_of(paths) is not None else []),
        *(f"rule {line}" for line in foreign_rules(paths)),
        *(f"cgroup {group}" for group in groups_of(paths)),
    ]


class Snapshot:
    """The whole state, by section, each a list of lines."""

    def __init__(self, paths: Paths) -> None:
        rows = rows_of(paths)
        self._names = {row["id"]: row["name"] for row in rows.get("containers", ())}
        self._patterns = self._replacements(rows)
        points = (*mounts.mounts_below(paths.root), *mounts.mounts_below(paths.run))
        self.sections: dict[str, list[str]] = {
            "processes": self._lines(self._process(line) for line in processes_of(paths).values()),
            "mounts": self._lines(points),
            "links": self._lines(links_of(paths, tuple(self._names))),
            "firewall": self._lines([json.dumps(table_of(paths), indent=1)]),
            "foreign rules": self._lines(foreign_rules(paths)),
            "cgroups": self._lines(groups_of(paths)),
            "files": self._lines(f"{name}: {what}" for name, what in files_of(paths).items()),
            "rows": self._lines(self._row(table, row) for table, found in rows.items() for row in found),
        }

    def difference(self, other: Snapshot) -> list[str]:
        """What is in only one of the two: `-` in this one, `+` in the other."""
        found = []
        for section, lines in self.sections.items():
            others = list(other.sections[section])
            for line in lines:
                if line in others:
                    others.remove(line)
                else:
                    found.append(f"- {section}: {line}")
            found += [f"+ {section}: {line}" for line in others]
        return found

    def _replacements(self, rows: dict[str, list[dict[str, Any]]]) -> list[tuple[re.Pattern[str], str]]:
        """What a run is free to choose: names for ids, addresses, the subnet, random ports, anonymous volumes."""
        found = [(r"state/specs/[0-9a-f]{32}\.json", "state/specs/CACHED.json")]
        for identity, name in self._names.items():
            found.append((rf"rc{identity[:8]}[0-9a-f]+", f"VETH-{name}"))
            found.append((f"{identity}|{identity[:12]}", f"ID-{name}"))
        volumes = [row for row in rows.get("volumes", ()) if row["anonymous"]]
        found += [(row["name"], f"ANONYMOUS-{row['owner']}-{row['target']}") for row in volumes]
        leases = [row for name in ("ports", "remembered_ports") for row in rows.get(name, ()) if row.get("random", 1)]
        found += [(rf"\b{row['host_port']}\b", f"RANDOM-{row['container_port']}") for row in leases]
        addressed = [row for row in rows.get("containers", ()) if row["address"]]
        found += [(rf"(?<![\d.]){re.escape(row['address'])}(?![\d.])", f"ADDRESS-{row['name']}") for row in addressed]
        subnets = [row["value"] for row in rows.get("meta", ()) if row["key"] == "network.subnet"]
        found += [(re.escape(subnet.rpartition(".")[0] + "."), "SUBNET.") for subnet in subnets]
        return [(re.compile(pattern), text) for pattern, text in found]

    def _process(self, line: str) -> str:
        return re.sub(r"/proc/\d+", "/proc/PID", line)

    def _row(self, table: str, row: dict[str, Any]) -> str:
        kept = {key: bool(value) if key in _PRESENT else value for key, value in row.items()}
        if table == "containers":
            kept["config"] = config = json.loads(row["config"])
            for mount in config.get("mounts", ()):  # a successor is told which anonymous volume it has to mount again
                mount["source"] = "" if mount["kind"] == "anonymous" else mount["source"]
        return f"{table} {json.dumps(kept, sort_keys=True)}"

    def _lines(self, lines: Any) -> list[str]:
        return sorted(part for line in lines for part in self._normal(line).splitlines())

    def _normal(self, line: str) -> str:
        for pattern, text in self._patterns:
            line = pattern.sub(text, line)
        return line
