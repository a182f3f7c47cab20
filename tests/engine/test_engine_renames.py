"""Containers, volumes and stacks that are called otherwise: what runs goes on, with its data, also where a kill comes between."""

from __future__ import annotations

import os
import signal

import pytest
from support import crashes, world

pytestmark = pytest.mark.kernel


def pair(stack, db, data, *moved, **more):
    """A stack of two, one of them called `db` with a volume called `data`."""
    return {
        "name": stack,
        "containers": {
            db: {
                "image": "tiny",
                "command": ["sleep", "1000"],
                "volumes": [f"{data}:/data", "/anonymous"],
                "ports": ["80"],
                "stop_grace_period": "0s",
                **more,
            },
            "web": {
                "image": "tiny",
                "command": ["sleep", "1000"],
                "links": [f"{db}:mysql"],
                "volumes_from": [db],
                "stop_grace_period": "0s",
            },
        },
        "volumes": {data: {}},
        "moved": [{"from": old, "to": new} for old, new in moved],
    }


RENAMED = (
    ("containers.db", "containers.database"),
    ("volumes.data", "volumes.files"),
    ("stack.stack", "stack.shop"),
)


def facts(machine, db):
    """What must not change: processes, ids, addresses, ports, anonymous volumes."""
    found = []
    for name in (db, "web"):
        record = machine.record(name)
        anonymous = [mount.source for mount in record.mounts if mount.kind == "anonymous"]
        found.append((record.id, record.pid, record.address, record.ports, anonymous))
    return found


def test_a_whole_stack_with_its_containers_and_volumes_is_renamed_while_it_runs(machine):
    machine.apply(pair("stack", "db", "data"))
    machine.exec("db", "sh", "-c", "echo precious >/data/x; echo dear >/anonymous/y")
    before = facts(machine, "db")
    said = machine.apply(pair("shop", "database", "files", *RENAMED)).out
    assert "~ rename container stack/db -> shop/database\n" in said
    assert "Plan: 1 volume to rename, 2 containers to rename.\n" in said
    assert facts(machine, "database") == before
    hosts = machine.exec("web", "cat", "/etc/hosts")
    assert f"{before[0][2]}\tmysql {before[0][0][:12]} database\n" in hosts
    assert "1 packets received" in machine.exec("web", "ping", "-c", "1", "mysql")
    again = machine.apply(pair("shop", "database", "files", *RENAMED)).out
    assert again.startswith("nothing to do"), again
    names = {volume.name: (volume.stack, volume.users) for volume in machine.console.volumes()}
    assert names.pop("shop_files") == ("shop", ("database", "web"))
    assert [stack for stack, _ in names.values()] == ["shop"]

    # A volume that gets the name which was given up has a folder of its own; both are found after restarts.
    machine.engine.volumes.create("stack_data", folder=True)
    assert os.listdir(machine.engine.volumes.data_of("stack_data")) == []
    machine.cli("restart", "--stack", "shop")
    assert machine.exec("web", "cat", "/data/x", "/anonymous/y") == "precious\ndear\n"
    machine.cli("volume", "rm", "stack_data")
    assert machine.exec("web", "cat", "/data/x") == "precious\n"

    # The successor has volumes, address and port of the one that was renamed; so has one after `down`.
    machine.apply(pair("shop", "database", "files", *RENAMED, labels={"a": "b"}, user="0"))
    assert machine.exec("web", "cat", "/data/x", "/anonymous/y") == "precious\ndear\n"
    assert machine.record("database").ports == before[0][3]
    path = machine.spec(pair("shop", "database", "files", *RENAMED))
    machine.cli("down", path)
    machine.cli("apply", path)
    assert machine.exec("web", "cat", "/data/x", "/anonymous/y") == "precious\ndear\n"
    machine.cli("down", "--volumes", "--yes", "shop")
    assert os.listdir(machine.paths.volumes) == []


def test_a_stack_that_is_down_is_renamed_with_all_its_volumes(machine):
    path = machine.spec(pair("stack", "db", "data"))
    machine.cli("apply", path)
    machine.exec("db", "sh", "-c", "echo precious >/data/x; echo dear >/anonymous/y")
    machine.cli("down", path)
    machine.apply(pair("shop", "database", "files", *RENAMED))
    assert machine.exec("database", "cat", "/data/x", "/anonymous/y") == "precious\ndear\n"
    assert len(machine.console.volumes()) == 2


def test_what_another_stack_has_is_adopted_with_its_data_while_it_runs(machine):
    machine.apply(pair("stack", "db", "data"))
    machine.exec("db", "sh", "-c", "echo precious >/data/x; echo dear >/anonymous/y")
    before = facts(machine, "db")
    spec = pair("shop", "database", "files") | {
        "adopt": [
            {"from": "db", "to": "containers.database"},
            {"from": "web", "to": "containers.web"},
            {"from": "stack_data", "to": "volumes.files"},
        ]
    }
    assert "--take-over" in machine.cli("apply", machine.spec(spec, "other.yaml"), code=1).err
    machine.cli("apply", "--take-over", machine.spec(spec, "other.yaml"))
    assert facts(machine, "database") == before
    assert machine.exec("web", "cat", "/data/x", "/anonymous/y") == "precious\ndear\n"
    assert machine.cli("apply", machine.spec(spec, "other.yaml")).out.startswith("nothing to do")
    assert {volume.stack for volume in machine.console.volumes()} == {"shop"}


def test_a_rename_that_is_killed_at_any_effect_is_ended_by_the_next_apply(machine, monkeypatch):
    for variable in ("RECONCILER_ROOT", "RECONCILER_RUN"):
        monkeypatch.setenv(variable, machine.environment[variable])
    there = pair("stack", "db", "data", *[(new, old) for old, new in RENAMED])
    back = pair("shop", "database", "files", *RENAMED)
    machine.apply(there)
    machine.exec("db", "sh", "-c", "echo precious >/data/x")
    before = facts(machine, "db")
    log = os.path.join(machine.folder, "crash.log")
    number, killed = 0, 0
    while True:
        number += 1
        name, spec = ("database", back) if number % 2 else ("db", there)
        code = crashes.run(["apply", "--parallel", "1", machine.spec(spec)], log, crashes.Crasher(number, after=True))
        machine.restart()
        killed += code == -signal.SIGKILL
        if code != -signal.SIGKILL:
            assert code == 0
        else:
            machine.apply(spec)
        assert facts(machine, name) == before, number
        assert f" {name}\n" in machine.exec("web", "cat", "/etc/hosts"), number
        assert machine.exec(name, "cat", "/data/x") == "precious\n"
        assert machine.cli("plan", machine.spec(spec)).out.endswith("nothing to do.\n")
        assert len(world.rows_of(machine.paths)["volumes"]) == 2
        if code == 0:
            break
    assert killed > 4
