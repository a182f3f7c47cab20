"""Volumes: filled while others have them mounted, cut off and gone on with, removed while somebody begins to use them."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import stat
import subprocess

import pytest

from reconciler.engine.containers import mounting
from reconciler.engine.kernel import effects
from reconciler.engine.kernel.rooted import open_root
from reconciler.engine.records import ContainerConfig, MountConfig, VolumesFromConfig
from reconciler.engine.volumes import volumes
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace

pytestmark = pytest.mark.kernel

SLEEP = ["sleep", "1000"]


class CutOffError(BaseException):
    """As a kill would."""


class Watcher:
    """Calls `meet` with number (from 1) and name of each effect before it is made."""

    def __init__(self, meet):
        self.meet, self.seen = meet, 0

    def before(self, name, _arguments):
        self.seen += 1
        self.meet(self.seen, name)

    def after(self, name, arguments):
        pass


@contextlib.contextmanager
def watching(meet):
    watcher = Watcher(meet)
    previous = effects.watch(watcher)
    try:
        yield watcher
    finally:
        effects.watch(previous)


def cut_off_before(number):
    def meet(seen, _name):
        if seen == number:
            raise CutOffError

    return watching(meet)


@pytest.fixture
def image(tmp_path):
    """Content at /data; its files are linked, owned and restricted."""
    data = tmp_path / "image" / "data"
    (data / "folder" / "inner").mkdir(parents=True)
    (data / "folder" / "inner" / "file").write_text("deep")
    (data / "plain").write_text("plain")
    os.link(data / "plain", data / "same")
    (data / "link").symlink_to("plain")
    os.chown(data / "plain", 1000, 1001)
    os.chmod(data / "plain", 0o4750)
    os.chown(data, 33, 34)
    os.chmod(data, 0o2770)
    with open_root(tmp_path / "image") as root:
        yield root


def content(path):
    """What copy-up has to keep of everything in a folder, and of itself (but for the time)."""
    found = {}
    for folder, names, others in os.walk(path):
        for name in (".", *names, *others):
            inside = os.path.normpath(os.path.relpath(os.path.join(folder, name), path))
            facts = os.lstat(os.path.join(folder, name))
            what = os.readlink(os.path.join(folder, name)) if stat.S_ISLNK(facts.st_mode) else ""
            count = 0 if stat.S_ISDIR(facts.st_mode) else facts.st_nlink
            time = facts.st_mtime_ns if inside != "." else 0
            found[inside] = (oct(facts.st_mode), facts.st_uid, facts.st_gid, count, time, what)
    return found


@pytest.mark.parametrize("mounted", [False, True])
def test_a_filling_that_is_cut_off_anywhere_is_gone_on_with(make_machine, image, tmp_path, mounted):
    paths = make_machine(images=False).paths
    expected = content(tmp_path / "image" / "data")
    number, finished = 0, False
    while not finished:
        number += 1
        name = f"v{number}"
        data = paths.volume_data(name)
        inode = 0
        if mounted:
            volumes.make_folder(paths, name)
            inode = os.stat(data).st_ino
        with cut_off_before(number) as watcher, contextlib.suppress(CutOffError):
            volumes.fill(paths, name, image, "/data")
            finished = True
        assert finished or watcher.seen == number
        # Who comes next may be one that would not fill it: what was begun is finished all the same.
        if os.path.exists(os.path.join(os.path.dirname(data), "_filled")):
            volumes.make_folder(paths, name)
        else:
            volumes.fill(paths, name, image, "/data")
        assert content(data) == expected
        assert os.listdir(os.path.dirname(data)) == ["_data"]
        assert not mounted or os.stat(data).st_ino == inode
    assert number > 20


def test_what_is_seen_of_a_filling_is_on_the_disk(make_machine, image):
    """Power may fail right after the rename that makes it visible."""
    paths = make_machine(images=False).paths
    names = []
    with watching(lambda _number, name: names.append(name)):
        volumes.fill(paths, "v", image, "/data")
    assert names.index("copying.sync_filesystem") < names.index("files.rename")


def test_what_a_container_made_meanwhile_stays(make_machine, image, tmp_path):
    paths = make_machine(images=False).paths
    volumes.make_folder(paths, "v")
    data = paths.volume_data("v")

    def meet(_number, name):
        if name == "copying.sync_filesystem":
            for made in ("plain", "folder"):
                with open(f"{data}/{made}", "w", encoding="utf-8") as file:
                    file.write("mine")

    with watching(meet):
        volumes.fill(paths, "v", image, "/data")
    for made in ("plain", "folder", "same", "link"):
        with open(f"{data}/{made}", encoding="utf-8") as file:
            assert file.read() == ("plain" if made == "same" else "mine"), made
    assert sorted(os.listdir(data)) == sorted(os.listdir(tmp_path / "image" / "data"))


def test_a_volume_is_filled_while_another_container_has_it_mounted(machine):
    pair = {
        "containers": {
            "app": {"image": "tiny", "command": SLEEP, "volumes": ["shared:/empty"], "stop_grace_period": "0s"},
        },
        "volumes": {"shared": {}},
    }
    machine.apply(pair)
    assert machine.exec("app", "ls", "/empty") == ""
    pair["containers"]["web"] = {**pair["containers"]["app"], "volumes": ["shared:/srv/fixture"]}
    machine.apply(pair)
    shown = machine.exec("web", "ls", "-ln", "/srv/fixture")
    assert "plain" in shown
    assert machine.exec("app", "ls", "-ln", "/empty") == shown
    machine.exec("app", "sh", "-c", "echo from app >/empty/written")
    assert machine.exec("web", "cat", "/srv/fixture/written") == "from app\n"


def begin_to_use(machine, name):
    mounts = (MountConfig("volume", name, "/data"),)
    machine.engine.lifecycle.create(ContainerConfig("user", "tiny", command=tuple(SLEEP), mounts=mounts))


def test_a_volume_is_not_removed_under_who_begins_to_use_it(machine):
    console, paths, store = machine.console, machine.paths, machine.engine.store
    volumes_of = machine.engine.volumes
    volumes_of.create("kept", folder=True)
    volumes_of.create("gone", folder=True)

    def meet(_number, name):
        if name == "files.rename":  # decided, and not yet done: nobody else gets in
            other = sqlite3.connect(paths.store, timeout=0)
            with contextlib.closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")

    begin_to_use(machine, "kept")
    with watching(meet):
        volumes.discard(paths, store, ["kept", "gone", "never"])
    assert [volume.name for volume in console.volumes()] == ["kept"]
    assert os.listdir(paths.volumes) == ["kept"]
    with pytest.raises(ReconcilerError, match=r"in use - \[user\]"):
        volumes_of.remove("kept")
    with pytest.raises(ReconcilerError, match="No such volume"):
        volumes_of.remove("gone")
    volumes_of.create("shop_db")
    for asked, hint in (("db", "did you mean shop_db?"), ("b", "`reconciler volume ls` lists them")):
        with pytest.raises(ReconcilerError, match=f"No such volume: {asked}") as caught:
            volumes_of.get(asked)
        assert caught.value.hint == hint
    assert os.path.isdir(paths.volume_data("kept"))


def test_a_protected_volume_is_removed_by_nothing_until_it_is_let_go(machine):
    spec = {
        "containers": {"c": {"image": "tiny", "command": SLEEP, "volumes": ["data:/data"], "stop_grace_period": "0s"}},
        "volumes": {"data": {"protect": True, "labels": {"a": "b"}}},
    }
    machine.apply(spec)
    process = machine.record("c").pid
    machine.exec("c", "touch", "/data/precious")
    spec["volumes"]["data"]["labels"] = {"a": "c"}
    machine.apply(spec)
    assert machine.record("c").pid == process
    assert machine.console.volumes()[0].labels == {"a": "c"}
    path = machine.spec(spec)
    assert "is protected" in machine.cli("down", "--volumes", "--yes", path, code=1).err
    assert machine.state("c") == "running"
    machine.cli("down", path)
    refused = machine.cli("volume", "rm", "stack_data", code=1).err
    assert f"error: remove stack_data: volume is protected by {path}\n" in refused
    kept = machine.cli("volume", "prune", "--all", "--force").out
    assert kept == "Total reclaimed space: 0B\nkept 1 protected volume: stack_data\n"
    volumes.discard(machine.paths, machine.engine.store, ["stack_data"])
    assert os.listdir(machine.paths.volume_data("stack_data")) == ["precious"]
    machine.cli("volume", "unprotect", "stack_data")
    machine.cli("volume", "rm", "stack_data")
    assert os.listdir(machine.paths.volumes) == []


def test_only_volumes_made_since_are_discarded(machine):
    machine.engine.volumes.create("old", folder=True)
    created = machine.engine.volumes.get("old")[0].created
    volumes.discard(machine.paths, machine.engine.store, ["old"], since=created + 1)
    assert os.listdir(machine.paths.volumes) == ["old"]
    volumes.discard(machine.paths, machine.engine.store, ["old"], since=created)
    assert os.listdir(machine.paths.volumes) == []


def test_a_removal_that_is_cut_off_anywhere_leaves_a_volume_or_none(machine):
    shelf, paths = machine.engine.volumes, machine.paths
    number, finished = 0, False
    while not finished:
        number += 1
        shelf.create("v", folder=True)
        with open(f"{paths.volume_data('v')}/precious", "w", encoding="utf-8"):
            pass
        with cut_off_before(number), contextlib.suppress(CutOffError):
            shelf.remove("v")
            finished = True
        with contextlib.suppress(ReconcilerError):
            shelf.remove("v")
        shelf.create("w", folder=True)
        shelf.remove("w")  # sweeps what was left
        assert shelf.every() == []
        assert os.listdir(paths.volumes) == []
    assert number > 3


def test_a_removal_that_the_store_refuses_keeps_the_data(machine):
    shelf, paths = machine.engine.volumes, machine.paths
    shelf.create("v", folder=True)
    with open(f"{paths.volume_data('v')}/precious", "w", encoding="utf-8"):
        pass

    def meet(_number, name):
        if name == "store._commit":
            raise sqlite3.OperationalError("database or disk is full")

    with watching(meet), pytest.raises(Exception, match="full"):
        shelf.remove("v")
    assert [volume.name for volume, _ in shelf.every()] == ["v"]
    assert os.listdir(paths.volume_data("v")) == ["precious"]


@pytest.mark.parametrize(
    "target", ["/", "//", "/dev/", "/proc", "/proc/self", "/sys", "/sys/fs/cgroup", "/a/../proc/x"]
)
def test_nothing_is_mounted_over_what_a_container_needs_itself(machine, target):
    image = machine.engine.images.resolve("tiny")
    with machine.engine.store.write() as connection:
        for mounts, declared in (((MountConfig("bind", "/tmp", target),), ()), ((), (target,))):
            config = ContainerConfig("c", "tiny", mounts=mounts)
            with pytest.raises(ReconcilerError, match=f"volume at {target}: ") as raised:
                mounting.resolve(connection, config, replace(image, volumes=declared), 1.0)
            assert raised.value.code == "mount"
        below = ContainerConfig("c", "tiny", mounts=(MountConfig("volume", "shm", "/dev/shm"),))
        assert [mount.target for mount in mounting.resolve(connection, below, image, 1.0)] == ["/dev/shm"]


def test_of_several_sources_of_volumes_the_last_wins_and_an_own_mount_over_all(machine):
    def of(name, *targets, sources=()):
        mounts = tuple(MountConfig("volume", f"{name}{number}", target) for number, target in enumerate(targets))
        config = ContainerConfig(name, "tiny", command=tuple(SLEEP), mounts=mounts, volumes_from=sources)
        machine.engine.lifecycle.create(config)

    of("one", "/a", "/b", "/c")
    of("two", "/b", "/c", "/d")
    of("both", "/c", sources=(VolumesFromConfig("one"), VolumesFromConfig("two")))
    found = {mount.target: mount.source for mount in machine.record("both").mounts}
    assert found == {"/a": "one0", "/b": "two0", "/c": "both0", "/d": "two2"}


def test_a_command_that_the_image_links_to_a_mount_is_left_to_the_runtime(machine):
    """And one that is nowhere is refused as before, also when there are mounts."""
    program = os.path.join(machine.folder, "app", "bin", "srv")
    os.makedirs(os.path.dirname(program))
    with open(program, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nexec sleep 1000\n")
    os.chmod(program, 0o755)
    mounts = (MountConfig("bind", os.path.join(machine.folder, "app"), "/app"),)
    for name, command in (("srv", "srv"), ("path", "/usr/bin/srv"), ("none", "nosuch")):
        config = ContainerConfig(name, "tiny", command=(command,), mounts=mounts)
        upper = os.path.join(machine.paths.container(machine.engine.lifecycle.create(config)), "upper")
        os.makedirs(os.path.join(upper, "usr", "local", "bin"))
        os.makedirs(os.path.join(upper, "usr", "bin"), exist_ok=True)
        os.symlink("/opt/srv", os.path.join(upper, "usr", "bin", "srv"))
        os.makedirs(os.path.join(upper, "opt"))
        os.symlink("../app/bin/srv", os.path.join(upper, "opt", "srv"))
    for name in ("srv", "path"):
        machine.console.start(name)
        assert "sleep 1000" in machine.cli("exec", name, "ps").out
    with pytest.raises(ReconcilerError, match='can\'t run "nosuch"'):
        machine.console.start("none")


def test_what_a_container_gets_does_not_depend_on_the_callers_limits_and_umask(machine):
    host = os.path.join(machine.folder, "made", "folder")
    call = ["sh", "-c", 'ulimit -Sn 64; umask 077; exec "$@"', "sh"]
    mounted = {"image": "tiny", "command": SLEEP, "volumes": [f"{host}:/host", "v:/v"], "stop_grace_period": "0s"}
    spec = machine.spec({"containers": {"c": {**mounted, "user": "1000"}}, "volumes": {"v": {}}})
    subprocess.run([*call, *machine.argv("apply", spec)], env=machine.environment, check=True, capture_output=True)
    hard = min(1048576, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert machine.exec("c", "sh", "-c", "ulimit -Sn; ulimit -Hn").split() == [str(hard)] * 2
    with open(f"/proc/{machine.record('c').pid}/limits", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(hard)] * 2
    machine.exec("c", "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    machine.exec("c", "ls", "/host", "/v")
