"""Images that are out to harm, run through the engine with both OCI runtimes: refused or contained.

What they would reach is a folder of the host with a secret in it: nothing of it is read into a container, nothing is
written there, and nothing waits for what it can't get.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tarfile

import pytest
from imagelab import config_of, docker_files, entry, folder, picture, symlink, tar, write_tar
from support.machine import image

from reconciler.engine.containers import runtime
from reconciler.engine.containers.runtime import find_program
from reconciler.engine.records import ContainerConfig, MountConfig, TmpfsConfig
from reconciler.kits.errors import ReconcilerError
from reconciler.runtimes.console import ExecOptions

pytestmark = pytest.mark.kernel

GIANT = 4 << 30
SECRET = "what only the host may know"
INTRUDER = "intruder:x:4242:4242::/:/bin/sh\n"


@pytest.fixture(autouse=True)
def _nothing_waits():
    """What opens a fifo or reads a device to its end is cut off, not waited for."""

    def cut(_number, _frame):
        raise AssertionError("something waits for what an image has put in its way")

    before = signal.signal(signal.SIGALRM, cut)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["crun", "runc"])
def lab(request, machine, monkeypatch, capfd):
    if request.param == "runc":
        monkeypatch.setattr(runtime, "find_program", lambda name: "" if name == "crun" else find_program(name))
    lab = Lab(machine, capfd)
    before = picture(lab.host)
    yield lab
    assert picture(lab.host) == before, "the host's folder was changed"


class Lab:
    """A folder of the host, and images whose links lead there."""

    def __init__(self, machine, capfd):
        self.machine, self.capfd = machine, capfd
        self.host = os.path.join(machine.folder, "host")
        os.makedirs(f"{self.host}/folder", 0o700)
        for name, text in (
            ("secret", SECRET),
            ("folder/secret", SECRET),
            ("passwd", INTRUDER),
            ("group", "intruders:x:4343:\n"),
        ):
            with open(os.path.join(self.host, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.dots = "../" * 40 + self.host.lstrip("/")

    def load(self, name, *members):
        """An image of the tiny one's layer and one with these members above it; a member of bytes is a whole layer."""
        with tarfile.open(image("tiny")) as archive:
            (whole,) = json.load(archive.extractfile("manifest.json"))
            base = archive.extractfile(whole["Layers"][0]).read()
        layers = [base, *(one for one in members if isinstance(one, bytes))]
        layers.append(tar(*(one for one in members if not isinstance(one, bytes))))
        config = config_of(layers, config={"Cmd": ["sleep", "1000"]})
        path = os.path.join(self.machine.folder, f"{name}.tar")
        self.machine.console.load(write_tar(path, docker_files(layers, (f"{name}:latest",), config=config)))

    def start(self, name, of, **settings):
        self.machine.engine.lifecycle.create(ContainerConfig(name, of, stop_timeout=0.0, **settings))
        self.machine.console.start(name)

    def run(self, name, script, **options):
        """What a shell inside writes, both streams."""
        self.capfd.readouterr()
        self.machine.console.exec(name, ExecOptions(command=("sh", "-c", f"({script}) 2>&1"), **options))
        return self.capfd.readouterr().out

    def inside(self, path=""):
        """Where a link to the host's folder leads inside."""
        return os.path.join(self.host, path).rstrip("/")

    def sparse(self):
        """A layer with /fill/giant, a file of nothing but a hole."""
        top = os.path.join(self.machine.folder, "layer")
        os.makedirs(f"{top}/fill")
        with open(f"{top}/fill/giant", "wb") as file:
            file.truncate(GIANT)
        return subprocess.run(
            ["tar", "--format=pax", "-C", top, "--sparse", "-c", "fill/giant"], check=True, capture_output=True
        ).stdout


def test_links_at_mount_targets_stay_inside(lab):
    """Bind, volume, tmpfs, names and working folder, over links that lead to the host: absolute ones, and with dots."""
    own = lab.inside("folder/own").lstrip("/")
    lab.load(
        "hostile",
        entry(own, data=b"the image's own"),
        symlink("absolute", lab.inside("folder")),
        symlink("dots", lab.dots + "/folder"),
        symlink("dangling", lab.dots + "/nothing"),
        symlink("bound", lab.dots + "/bound"),
        symlink("file", lab.dots + "/secret"),
        symlink("memory", lab.inside("memory")),
        symlink("work", lab.dots),
        *(symlink(f"etc/{name}", f"{lab.dots}/{name}") for name in ("hosts", "hostname", "resolv.conf")),
    )
    given = os.path.join(lab.machine.folder, "given")
    os.mkdir(given)
    with open(f"{given}/file", "w", encoding="utf-8") as file:
        file.write("given")
    lab.start(
        "box",
        "hostile",
        working_dir="/work/made/by/it",
        tmpfs=(TmpfsConfig("/memory", ()),),
        mounts=(
            MountConfig("volume", "absolute", "/absolute"),
            MountConfig("volume", "dots", "/dots/below"),
            MountConfig("volume", "dangling", "/dangling"),
            MountConfig("bind", given, "/bound"),
            MountConfig("bind", f"{given}/file", "/file"),
        ),
    )
    volume = lab.machine.paths.volume_data
    assert picture(volume("absolute")).keys() == {b".", b"own", b"below"}  # a folder to mount the next on
    for name in ("dots", "dangling"):
        assert os.listdir(volume(name)) == []
    assert lab.run("box", "cat /absolute/own; pwd; cat /bound/file /file") == (
        f"the image's own{lab.host}/made/by/it\ngivengiven"
    )
    assert lab.machine.record("box").id[:12] in lab.run("box", "cat /etc/hosts /etc/hostname")
    script = "for f in absolute dots/below dangling bound memory work; do echo written >/$f/written || exit; done"
    assert lab.run("box", f"{script}; echo all") == "all\n"
    assert SECRET not in lab.run("box", f"cat /file /dots/secret /work/secret {lab.host}/secret; grep -r '' /work")


@pytest.mark.parametrize("kind", ["link", "dots", "fifo", "device", "huge", "folder"])
def test_users_are_looked_up_in_the_image_alone(lab, kind):
    def files():
        for name in ("passwd", "group"):
            path, text = f"etc/{name}", INTRUDER if name == "passwd" else "intruders:x:4343:\n"
            yield {
                "link": lambda: symlink(path, lab.inside(name)),  # noqa: B023 - called at once
                "dots": lambda: symlink(path, f"{lab.dots}/{name}"),  # noqa: B023
                "fifo": lambda: entry(path, tarfile.FIFOTYPE),  # noqa: B023
                "device": lambda: entry(path, tarfile.CHRTYPE, devmajor=1, devminor=5),  # noqa: B023
                "huge": lambda: entry(path, data=text.encode() + bytes(8 << 20)),  # noqa: B023
                "folder": lambda: folder(path),  # noqa: B023
            }[kind]()

    lab.load("hostile", *files())
    unreadable = {
        "fifo": "regular file",
        "device": "regular file",
        "huge": "too large",
        "folder": "is a directory",
    }.get(kind)
    for settings, word in (
        ({"user": "intruder"}, "unable to find user intruder"),
        ({"user": "0:intruders"}, "unable to find group intruders"),
        ({"groups": ("intruders",)}, "unable to find group intruders"),
        *([({"user": "1000"}, unreadable)] if unreadable else []),
    ):
        with pytest.raises(ReconcilerError, match=f"(?i){unreadable or word}"):
            lab.start("refused", "hostile", **settings)
        lab.machine.console.remove("refused", force=True)
    if not unreadable:
        lab.start("box", "hostile", user="1000")
        assert lab.run("box", "grep -E '^[UG]id:' /proc/self/status").split() == [
            "Uid:",
            *["1000"] * 4,
            "Gid:",
            *["0"] * 4,
        ]
        with pytest.raises(ReconcilerError, match="unable to find user intruder"):
            lab.run("box", "id", user="intruder")


def test_a_container_that_puts_a_fifo_before_who_looks_users_up_holds_nobody_up(lab):
    lab.load("honest")
    lab.start("box", "honest")
    lab.run("box", "rm /etc/passwd; mkfifo /etc/passwd")
    with pytest.raises(ReconcilerError, match="/etc/passwd in the container can't be read: not a regular file"):
        lab.run("box", "true", user="1000")
    lab.machine.console.stop("box")
    with pytest.raises(ReconcilerError, match="/etc/passwd in the container can't be read: not a regular file"):
        lab.machine.console.start("box")


def test_devices_fifos_and_giants_in_a_layer_are_neither_opened_nor_filled(lab):
    """Copied into a volume they are what they were; and what is a device of the host's no container can open."""
    disk = os.stat("/").st_dev
    disk = {"devmajor": os.major(disk), "devminor": os.minor(disk)}
    memory = {"devmajor": 1, "devminor": 1}
    lab.load(
        "hostile",
        lab.sparse(),
        folder("fill", mode=0o755),
        entry("fill/fifo", tarfile.FIFOTYPE),
        entry("fill/disk", tarfile.BLKTYPE, mode=0o666, **disk),
        entry("fill/memory", tarfile.CHRTYPE, mode=0o666, **memory),
        symlink("fill/absolute", lab.inside("secret")),
        symlink("fill/dots", lab.dots + "/folder"),
        entry("disk", tarfile.BLKTYPE, mode=0o666, **disk),
        entry("memory", tarfile.CHRTYPE, mode=0o666, **memory),
    )
    lab.start("box", "hostile", mounts=(MountConfig("volume", "filled", "/fill"),))
    data = lab.machine.paths.volume_data("filled")
    found = {name: os.lstat(os.path.join(data, name)) for name in os.listdir(data)}
    assert {name: stat.filemode(facts.st_mode)[0] for name, facts in found.items()} == {
        "fifo": "p", "disk": "b", "memory": "c", "absolute": "l", "dots": "l", "giant": "-"
    }  # fmt: skip
    assert (found["giant"].st_size, found["giant"].st_blocks) == (GIANT, 0)
    for path in ("/disk", "/memory", "/fill/disk", "/fill/memory"):
        for script in (f"head -c 1 {path}", f": >>{path}"):
            assert "Operation not permitted" in lab.run("box", script), script
    assert "Operation not permitted" in lab.run("box", "head -c 1 /disk", privileged=True)
    assert "No such file" in lab.run("box", "cat /fill/absolute /fill/dots/secret")
    assert not lab.machine.cli("volume", "ls", "-q").out.count("\n") - 1


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
@pytest.mark.parametrize("way", ["absolute", "dots"])
def test_links_where_the_kernels_file_systems_go_are_refused(lab, place, way):
    """Of these runc 1.1 follows /dev out of the image and makes links and devices there."""
    target = lab.inside("folder") if way == "absolute" else lab.dots + "/folder"
    lab.load("hostile", entry(f".wh.{place}"), symlink(place, target))
    with pytest.raises(ReconcilerError, match=f"/{place} in the image is a link, not a folder"):
        lab.start("box", "hostile")


def test_names_are_put_into_an_etc_that_is_a_link(lab):
    lab.load("hostile", entry(".wh.etc"), symlink("etc", lab.dots + "/folder"))
    lab.start("box", "hostile")
    assert "localhost" in lab.run("box", "cat /etc/hosts")
    assert SECRET not in lab.run("box", "ls -l /etc/; cat /etc/secret")
