"""`cp` between host and container, running and not: what arrives, what is refused, and that no link leads outside."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import threading

import pytest
from support.machine import until

from reconciler.engine.containers import copies
from reconciler.engine.kernel import effects
from reconciler.engine.records import ContainerConfig, MountConfig, SecurityConfig
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

SLEEP = ("sleep", "1000")
PLAIN = copies.Copying()
ARCHIVE = copies.Copying(archive=True)


def make(machine, command=SLEEP, *mounts, start=True):
    found = machine.engine.lifecycle.create(ContainerConfig("box", "tiny", command=command, mounts=mounts))
    if start:
        machine.engine.lifecycle.start("box")
    return found


@pytest.fixture(params=["running", "stopped", "never started"])
def box(request, machine):
    """A container with a volume at /data and a read-only file of the host at /file."""
    kept = os.path.join(machine.folder, "kept")
    with open(kept, "w", encoding="ascii") as file:
        file.write("the host's\n")
    mounts = (MountConfig("volume", "data", "/data"), MountConfig("bind", kept, "/file", read_only=True))
    make(machine, SLEEP, *mounts, start=request.param != "never started")
    if request.param == "stopped":
        machine.engine.lifecycle.stop("box", 0)
    return machine


def tree(machine):
    """A folder with all kinds of entries but devices."""
    top = os.path.join(machine.folder, "tree")
    os.makedirs(os.path.join(top, "sub", "empty"))
    for name, text, mode in (("a", "hello\n", 0o640), ("sub/tool", "#!/bin/sh\n", 0o4755)):
        path = os.path.join(top, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chown(path, 1234, 4321)
        os.chmod(path, mode)
        os.utime(path, (1, 1_000_000_000))
    os.symlink("a", os.path.join(top, "link"))
    os.link(os.path.join(top, "a"), os.path.join(top, "same"))
    os.mkfifo(os.path.join(top, "fifo"))
    return top


def facts(top):
    """What a tree is: by name the type, mode, owner, time of files, content or target, and how many names it has."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            seen = os.lstat(path)
            content = os.readlink(path) if stat.S_ISLNK(seen.st_mode) else ""
            if stat.S_ISREG(seen.st_mode):
                with open(path, encoding="ascii") as file:
                    content = file.read()
            when = int(seen.st_mtime) if stat.S_ISREG(seen.st_mode) else 0
            links = 0 if stat.S_ISDIR(seen.st_mode) else seen.st_nlink
            found[os.path.relpath(path, top)] = (seen.st_mode, seen.st_uid, seen.st_gid, when, content, links)
    return found


def test_an_archive_comes_back_as_it_went(box):
    top = tree(box)
    lifecycle = box.engine.lifecycle
    copies.copy_in(lifecycle, top, "box", "/data", ARCHIVE)
    copies.copy_in(lifecycle, top, "box", "/made", ARCHIVE)
    for inside in ("/data/tree", "/made"):
        back = os.path.join(box.folder, "back" + inside.replace("/", "-"))
        copies.copy_out(lifecycle, "box", inside, back, ARCHIVE)
        assert facts(back) == facts(top)
    if box.state("box") == "running":
        assert box.exec("box", "cat", "/data/tree/same") == "hello\n"
        assert os.path.exists(os.path.join(box.paths.volume_data("data"), "tree", "a"))


def test_without_archive_root_owns_it_and_nothing_keeps_a_dangerous_bit(box):
    top = tree(box)
    copies.copy_in(box.engine.lifecycle, top, "box", "/made", ARCHIVE)
    back = os.path.join(box.folder, "back")
    copies.copy_out(box.engine.lifecycle, "box", "/made", back, PLAIN)
    assert {(uid, gid) for _, uid, gid, *_ in facts(back).values()} == {(0, 0)}
    assert facts(back)["sub/tool"][0] == stat.S_IFREG | 0o755


def test_the_forms_of_source_and_target(box):
    """As cp(1) and docker cp: into a folder that is there, as one that is not, and its contents with `/.`."""
    top, lifecycle = tree(box), box.engine.lifecycle

    def put(source, target):
        copies.copy_in(lifecycle, source, "box", target, PLAIN)

    def names(inside):
        data = io.BytesIO(box_tar(box, inside))
        with tarfile.open(fileobj=data) as tar:
            return sorted(tar.getnames())

    put(f"{top}/a", "/made")
    assert names("/made") == ["made"]
    put(f"{top}/a", "/data/")
    assert names("/data") == ["data", "data/a"]
    put(f"{top}/sub/.", "/data")
    put(f"{top}/sub", "/data/sub/")
    assert names("/data/.") == [".", "./a", "./empty", "./sub", "./sub/empty", "./sub/tool", "./tool"]
    put(f"{top}/link", "/data/link")
    put(f"{top}/sub/tool", "/data/link")  # follows the link that is the target
    assert {"data/a", "data/link"} <= set(names("/data"))
    with tarfile.open(fileobj=io.BytesIO(box_tar(box, "/data/a"))) as tar:
        assert tar.extractfile("a").read() == b"#!/bin/sh\n"


def box_tar(machine, inside):
    done = subprocess.run(
        machine.argv("cp", f"box:{inside}", "-"), env=machine.environment, capture_output=True, check=True
    )
    machine.check_audit()
    return done.stdout


def test_a_tar_goes_in_as_it_is(box):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in (("sub/.wh.hidden", b"no whiteout\n"), ("../../../out", b"inside\n")):
            member = tarfile.TarInfo(name)
            member.size, member.uid = len(content), 1000
            tar.addfile(member, io.BytesIO(content))
    command = box.argv("cp", "-", "box:/data")
    subprocess.run(command, input=data.getvalue(), env=box.environment, check=True)
    with tarfile.open(fileobj=io.BytesIO(box_tar(box, "/data/."))) as tar:
        assert {m.name: m.uid for m in tar if m.isreg()} == {"./sub/.wh.hidden": 1000, "./out": 1000}


def send(machine, target, *members):
    """`cp - box:TARGET` of a tar with these (name, type, content); how it ended."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            tar.addfile(member, io.BytesIO(content))
    command = machine.argv("cp", "-", f"box:{target}")
    done = subprocess.run(command, input=data.getvalue(), env=machine.environment, capture_output=True, check=False)
    machine.check_audit()
    return done.returncode, done.stderr.decode()


def test_a_tar_takes_the_place_of_no_folder_link_or_mount(box):
    """A layer's later member wins; in a container that would empty the volume, and the folder of the host."""
    top = tree(box)
    copies.copy_in(box.engine.lifecycle, top, "box", "/data", ARCHIVE)
    code, said = send(box, "/", ("data", tarfile.REGTYPE, b"x"))
    assert (code, "'data' is a directory there, and none in the archive" in said) == (1, True), said
    code, said = send(box, "/", ("data", tarfile.SYMTYPE, b""))
    assert code == 1
    code, said = send(box, "/data/tree", ("link", tarfile.DIRTYPE, b""))
    assert (code, "is a directory in the archive, and none there" in said) == (1, True), said
    code, said = send(box, "/", ("file", tarfile.REGTYPE, b"written"))
    assert (code, "mounted read-only" in said) == (1, True), said
    assert facts(os.path.join(box.paths.volume_data("data"), "tree")) == facts(top)
    if box.state("box") == "running":
        assert box.exec("box", "cat", "/file") == "the host's\n"
        assert box.exec("box", "cat", "/data/tree/a") == "hello\n"
        assert send(box, "/etc", ("hosts", tarfile.REGTYPE, b"127.0.0.1 localhost mine\n"))[0] == 0
        assert "mine" in box.exec("box", "cat", "/etc/hosts")
        record = box.record("box")
        with open(os.path.join(box.paths.names(record.id), "hosts"), encoding="ascii") as file:
            assert "mine" in file.read(), "the mount is the same"


def test_a_read_only_root_is_read_only_also_while_it_does_not_run(machine):
    config = ContainerConfig(
        "box",
        "tiny",
        command=SLEEP,
        mounts=(MountConfig("volume", "data", "/data"),),
        security=SecurityConfig(read_only=True),
    )
    machine.engine.lifecycle.create(config)
    top = tree(machine)
    with pytest.raises(ReconcilerError, match="mounted read-only"):
        copies.copy_in(machine.engine.lifecycle, top, "box", "/srv", PLAIN)
    copies.copy_in(machine.engine.lifecycle, top, "box", "/data", PLAIN)
    assert os.path.exists(os.path.join(machine.paths.volume_data("data"), "tree", "a"))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("nosuch", "box:/", "no such file or directory"),
        ("box:/nosuch", "here", "No such container:path: box:/nosuch"),
        ("kept", "box:/nosuch/deep/er", "no such directory: box:/nosuch/deep"),
        ("kept", "box:/nosuch/", "no such directory: box:/nosuch/"),
        ("kept/", "box:/", "is not a directory"),
        ("box:/data", "kept", "kept is a file, and '/data' is a directory"),
        ("kept", "box:/file", "mounted read-only"),
        ("box:/data", "box:/srv", "copying between containers is not supported"),
        ("kept", "here", "must specify at least one container source"),
        ("nobox:/x", "here", "No such container: nobox"),
    ],
)
def test_what_does_not_go_is_said(machine, source, target, message):
    kept = os.path.join(machine.folder, "kept")
    with open(kept, "w", encoding="ascii") as file:
        file.write("the host's\n")
    make(machine, SLEEP, MountConfig("volume", "data", "/data"), MountConfig("bind", kept, "/file", read_only=True))
    ran = machine.cli("cp", source, target, code=None)
    assert ran.code in (1, 125)
    assert message in ran.err
    with open(kept, encoding="ascii") as file:
        assert file.read() == "the host's\n"


def test_a_mounted_file_is_written_to_and_stays_mounted(machine):
    """The kernel would let it be unlinked from outside, and the container would lose its mount."""
    kept = os.path.join(machine.folder, "kept")
    with open(kept, "w", encoding="ascii") as file:
        file.write("the host's\n")
    make(machine, SLEEP, MountConfig("bind", kept, "/file"))
    other = os.path.join(machine.folder, "other")
    with open(other, "w", encoding="ascii") as file:
        file.write("new\n")
    copies.copy_in(machine.engine.lifecycle, other, "box", "/file", PLAIN)
    with open(kept, encoding="ascii") as file:
        assert file.read() == "new\n"
    assert machine.exec("box", "cat", "/file") == "new\n"
    link = os.path.join(machine.folder, "link")
    os.symlink("x", link)
    with pytest.raises(ReconcilerError, match="something is mounted there"):
        copies.copy_in(machine.engine.lifecycle, link, "box", "/file", PLAIN)


def test_devices_come_out_only_when_asked_for(machine):
    make(machine, ("sh", "-c", "mknod /srv/disk b 8 0; exec sleep 1000"))
    target = os.path.join(machine.folder, "out")
    until(lambda: machine.cli("exec", "box", "test", "-e", "/srv/disk", code=None).code == 0)
    with pytest.raises(ReconcilerError, match="'disk' is a device"):
        copies.copy_out(machine.engine.lifecycle, "box", "/srv/disk", target, PLAIN)
    assert not os.path.lexists(target)
    copies.copy_out(machine.engine.lifecycle, "box", "/srv/disk", target, ARCHIVE)
    assert stat.S_ISBLK(os.lstat(target).st_mode)


def test_links_inside_lead_nowhere_outside(box):
    """As target and as source, absolute and with dots, also in the middle of a path."""
    secret = os.path.join(box.folder, "secret")
    os.makedirs(secret)
    with open(os.path.join(secret, "key"), "w", encoding="ascii") as file:
        file.write("secret\n")
    links = os.path.join(box.folder, "links")
    os.makedirs(links)
    os.symlink(secret, os.path.join(links, "absolute"))
    os.symlink("../" * 30 + secret.lstrip("/"), os.path.join(links, "dots"))
    os.symlink("/proc/1/root" + secret, os.path.join(links, "magic"))
    lifecycle = box.engine.lifecycle
    copies.copy_in(lifecycle, links, "box", "/links", PLAIN)
    own = os.path.join(box.folder, "own")
    with open(own, "w", encoding="ascii") as file:
        file.write("own\n")
    for name in ("absolute", "dots", "magic"):
        for target in (f"/links/{name}", f"/links/{name}/key", f"/links/{name}/new"):
            with pytest.raises((ReconcilerError, OSError)):
                copies.copy_in(lifecycle, own, "box", f"{target}/", PLAIN)
            with pytest.raises((ReconcilerError, OSError)):
                copies.copy_out(lifecycle, "box", f"{target}/key", os.path.join(box.folder, "stolen"), PLAIN)
    assert os.listdir(secret) == ["key"]
    assert not os.path.lexists(os.path.join(box.folder, "stolen"))


def test_a_container_that_swaps_links_gets_and_gives_nothing_of_the_host(machine):
    """It exchanges a folder and a link to the host's folder as fast as it can, while files are copied in and out."""
    outside = os.path.join(machine.folder, "outside")
    os.makedirs(outside)
    with open(os.path.join(outside, "file"), "w", encoding="ascii") as file:
        file.write("the host's\n")
    swap = (
        f"mkdir -p /srv/real; echo mine > /srv/real/file; ln -s {outside} /srv/evil; while :; do "
        "mv -T /srv/real /srv/at; mv -T /srv/at /srv/real; mv -T /srv/evil /srv/at; mv -T /srv/at /srv/evil; done"
    )
    make(machine, ("sh", "-c", swap))
    own, target = os.path.join(machine.folder, "own"), os.path.join(machine.folder, "got")
    with open(own, "w", encoding="ascii") as file:
        file.write("own\n")
    seen = set()
    for _ in range(150):
        for act in (
            lambda: copies.copy_in(machine.engine.lifecycle, own, "box", "/srv/at/file", PLAIN),
            lambda: copies.copy_out(machine.engine.lifecycle, "box", "/srv/at/file", target, PLAIN),
            lambda: copies.copy_out(
                machine.engine.lifecycle, "box", "/srv/at", os.path.join(machine.folder, "t"), PLAIN
            ),
        ):
            try:
                act()
                seen.add("went")
            except (ReconcilerError, OSError):
                seen.add("refused")
        if os.path.exists(target):
            with open(target, encoding="ascii") as file:
                assert file.read() in ("mine\n", "own\n")
    assert seen == {"went", "refused"}
    with open(os.path.join(outside, "file"), encoding="ascii") as file:
        assert file.read() == "the host's\n"


class CutOffError(BaseException):
    """As a kill would."""


def test_cut_off_anywhere_nothing_stays_mounted_and_the_next_copy_works(machine):
    """Of a container that does not run; what is left in its folders is only what was copied so far."""
    make(machine, SLEEP, MountConfig("volume", "data", "/data"), start=False)
    top, lifecycle = tree(machine), machine.engine.lifecycle
    number = 0
    while True:
        number += 1
        watcher = Cutting(number)
        previous = effects.watch(watcher)
        try:
            copies.copy_in(lifecycle, top, "box", "/data", ARCHIVE)
        except CutOffError:
            pass
        finally:
            effects.watch(previous)
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            assert machine.folder not in table.read()
        if watcher.seen < number:
            break
    assert number > 20
    back = os.path.join(machine.folder, "back")
    copies.copy_out(lifecycle, "box", "/data/tree", back, ARCHIVE)
    assert facts(back) == facts(top)


class Cutting:
    def __init__(self, number):
        self.number, self.seen, self.lock = number, 0, threading.Lock()

    def before(self, _name, _arguments):
        with self.lock:
            self.seen += 1
            if self.seen == self.number:
                raise CutOffError

    def after(self, name, arguments):
        pass
