"""What goes wrong while containers are made or started: one clear message, and a world as it was."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import tarfile

import pytest
from support import world
from support.machine import PROJECT, image, until, until_gone

from reconciler.engine.containers import runtime
from reconciler.engine.containers.runtime import find_program
from reconciler.engine.records import ContainerConfig
from reconciler.engine.store import VERSION
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}


def difference(before, machine):
    """What has changed, without caches, and without volumes: a failure deletes none, not even one just made."""
    found = before.difference(world.Snapshot(machine.paths))
    return [
        line
        for line in found
        if not re.search("ROOT/(state/specs|cache|volumes)|RUN/locks/volume-|rows: volumes", line)
    ]


def refuse(machine, stack, *words, before=None):
    """`apply` fails with all of `words` in its message, and changes nothing for good."""
    before = before or world.Snapshot(machine.paths)
    said = machine.apply(stack, code=1).err
    for word in words:
        assert word in said, said
    assert not until_gone(lambda: difference(before, machine)), "left behind"
    return said


@pytest.fixture
def busy():
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


def test_what_cannot_run_is_refused_and_leaves_nothing(machine, busy):
    good = {"containers": {"db": {**SLEEP, "volumes": ["data:/data"]}}, "volumes": {"data": {}}}
    machine.apply(good)
    machine.cli("down", "--volumes", "--yes", "stack")
    until_gone(lambda: world.leftovers(machine.paths))
    before = world.Snapshot(machine.paths)

    def web(**keys):
        return {**good, "containers": {**good["containers"], "web": {**SLEEP, "links": ["db"], **keys}}}

    refuse(machine, web(ports=[f"{busy}:80"]), f"{busy}", f"(process {os.getpid()})", before=before)
    refuse(machine, web(image="nosuch:1"), "nosuch:1", "load", before=before)
    refuse(machine, web(command=["nosuch"]), 'can\'t run "nosuch"', "PATH", before=before)
    refuse(machine, web(command=["/etc/passwd"]), 'can\'t run "/etc/passwd"', "not an executable", before=before)
    refuse(machine, web(user="nobody-here"), "nobody-here", before=before)
    refuse(machine, web(volumes=[f"{machine.folder}/in-use:/etc"]), "/etc", before=before)

    # Beside one that runs: that one goes on.
    machine.apply(good)
    running = machine.record("db").pid
    refuse(machine, web(command=["nosuch"]), 'can\'t run "nosuch"')
    assert machine.record("db").pid == running


def test_a_container_that_ends_at_once_is_reported_with_its_last_words(machine):
    stack = {"containers": {"job": {**SLEEP, "command": ["sh", "-c", "echo first; echo the last words >&2; exit 5"]}}}
    said = machine.apply(stack, code=1).err
    assert "exit code 5" in said
    assert "the last words" in said
    assert machine.state("job") == "exited"
    stack["containers"]["job"]["command"] = ["sh", "-c", "exit 0"]
    machine.apply(stack)


def test_a_missing_program_is_named_with_its_package(machine, monkeypatch):
    def make_box():
        machine.engine.lifecycle.create(ContainerConfig("box", "tiny", command=("sleep", "1000")))
        machine.console.start("box")

    def settled():
        machine.clean()
        assert not until_gone(lambda: world.leftovers(machine.paths))
        return world.Snapshot(machine.paths)

    make_box()
    before = settled()
    for missing, package in ((("crun", "runc"), "crun"), (("conmon",), "conmon"), (("nft",), "nftables")):
        machine.restart()
        with monkeypatch.context() as patch:
            patch.setattr(
                runtime, "find_program", lambda name, gone=missing: "" if name in gone else find_program(name)
            )
            if missing == ("nft",):
                patch.setenv("PATH", machine.folder)
            with pytest.raises(ReconcilerError) as raised:
                make_box()
        assert missing[0] in raised.value.message
        assert f"apt-get install {package}" in f"{raised.value.message} {raised.value.hint}"
        assert not before.difference(settled())


def test_images_that_are_broken_leave_nothing(make_machine):
    machine = make_machine(images=False)
    machine.cli("load", image("tiny"))
    machine.cli("rmi", "tiny")
    before = world.Snapshot(machine.paths)
    with open(image("tiny"), "rb") as file:
        whole = file.read()
    broken = os.path.join(machine.folder, "broken.tar")
    middle = whole.index(b"BusyBox v1")  # inside the one program of the layer
    for data, word in (
        (whole[: len(whole) // 2], "broken.tar"),
        (whole[:middle] + b"B" * 10 + whole[middle + 10 :], "sha256"),
        (b"no tar at all" * 100, "broken.tar"),
    ):
        with open(broken, "wb") as file:
            file.write(data)
        said = machine.cli("load", broken, code=1).err
        assert word in said
        assert not difference(before, machine)


def test_a_full_disk_is_reported_and_leaves_nothing(make_machine):
    machine = make_machine(images=False)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", machine.root], check=True)
    try:
        said = machine.cli("load", image("tiny"), code=1).err
        assert "is full" in said
        assert not [name for folder, names, _ in os.walk(f"{machine.root}/staging") for name in names]
        assert os.listdir(f"{machine.root}/layers") == []
        assert machine.cli("images", "-q").out == ""
        subprocess.run(["mount", "-o", "remount,size=20m", machine.root], check=True)
        machine.cli("load", image("tiny"))
        assert "tiny" in machine.cli("images").out
    finally:
        machine.restart()
        subprocess.run(["umount", machine.root], check=True)


def layer_with(folder, number):
    """A layer of one file, as examples/images writes them."""
    import archive  # noqa: PLC0415 - of examples/images

    path = os.path.join(folder, f"layer-{number}")
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(f"layers/{number}")
        info.size = len(str(number))
        tar.addfile(info, io.BytesIO(str(number).encode()))
    with open(path, "rb") as file:
        data = file.read()
    return archive.Layer("sha256:" + hashlib.sha256(data).hexdigest(), len(data), path)


def test_an_image_of_127_layers_runs(machine, monkeypatch):
    monkeypatch.syspath_prepend(os.path.join(PROJECT, "examples", "images"))
    import archive  # noqa: PLC0415 - of examples/images

    with open(image("tiny") + ".json", encoding="utf-8") as file:
        base = archive.find_layer(image("tiny"), json.load(file)["layer"], "base")
    layers = [base, *(layer_with(machine.folder, number) for number in range(126))]
    target = os.path.join(machine.folder, "deep.tar")
    archive.write_archive(target, tags=["deep:latest"], config={}, layers=layers, epoch=0)
    machine.cli("load", target)
    machine.apply({"containers": {"deep": {**SLEEP, "image": "deep"}}})
    assert machine.exec("deep", "sh", "-c", "ls /layers | wc -l").strip() == "126"
    assert until(lambda: machine.state("deep") == "running")


def test_on_a_full_disk_containers_can_be_looked_at_stopped_and_removed(make_machine):
    machine = make_machine(images=False)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m,mode=700", "none", machine.root], check=True)
    try:
        machine.cli("load", image("tiny"))
        sleep = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
        machine.apply({"containers": {"one": sleep, "two": sleep}})
        machine.restart()
        subprocess.run(["dd", "if=/dev/zero", f"of={machine.root}/filler", "status=none"], check=False, stderr=-3)
        assert os.statvfs(machine.root).f_bavail == 0
        assert "one" in machine.cli("ps").out
        machine.cli("stop", "one")
        machine.cli("rm", "-f", "one", "two")
        assert machine.cli("ps", "-aq").out == ""
        os.unlink(f"{machine.root}/filler")
        machine.apply({"containers": {"one": sleep}})
        machine.clean()
    finally:
        machine.restart()
        subprocess.run(["umount", machine.root], check=True)


@pytest.mark.parametrize(("version", "message"), [(1, "before the first release"), (99, "newer release")])
def test_a_store_of_another_version_is_left_alone(machine, version, message):
    machine.restart()
    with contextlib.closing(sqlite3.connect(machine.paths.store)) as store:
        store.execute(f"PRAGMA user_version={version}")
    ran = machine.cli("ps", code=1)
    assert message in ran.err
    with contextlib.closing(sqlite3.connect(machine.paths.store)) as store:
        assert store.execute("PRAGMA user_version").fetchone() == (version,)
        store.execute(f"PRAGMA user_version={VERSION}")
