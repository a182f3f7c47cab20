"""Archives of every form bring the same image; what is wrong with one is said once, and then nothing has arrived."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest
from imagelab import (
    NOTHING,
    OTHER,
    OURS,
    PACKERS,
    KillAt,
    Layout,
    config_of,
    docker_files,
    entry,
    folder,
    images_at,
    in_child,
    load,
    picture,
    remains,
    sha,
    symlink,
    tar,
    write_folder,
    write_tar,
)  # fmt: skip

from reconciler.engine.images import streams
from reconciler.engine.images.streams import Limits, Span
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

BASE = tar(folder("."), folder("tmp", mode=0o1777, mtime=5), folder("etc"), entry("etc/a", data=b"base" * 500))
TOP = tar(folder("etc"), entry("etc/b", data=os.urandom(3000)), entry("etc/.wh.a"))
LAYERS = [BASE, TOP]


def oci_files(pack, config=None):
    layout = Layout()
    return layout.add(layout.image(LAYERS, pack, config), "app:1").done()


def from_stdin(catalog, path):
    with open(path, "rb") as file:
        shell = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"]
        with subprocess.Popen(shell, stdin=file, stdout=subprocess.PIPE) as pipe:
            before = os.dup(0)
            try:
                os.dup2(pipe.stdout.fileno(), 0)
                return catalog.load("-")
            finally:
                os.dup2(before, 0)
                os.close(before)


@pytest.mark.parametrize("layers_are", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("archive_is", ["folder", "plain", "gzip", "zstd", "xz", "stdin"])
@pytest.mark.parametrize("form", ["docker", "oci"])
def test_every_form_brings_the_same_image(images, root, tmp_path, form, archive_is, layers_are):
    pack = PACKERS[layers_are]
    files = docker_files(LAYERS, pack=pack) if form == "docker" else oci_files(pack)
    if archive_is == "folder":
        names = images.load(write_folder(tmp_path / "archive", files))
    elif archive_is == "stdin":
        names = from_stdin(images, write_tar(tmp_path / "archive", files, PACKERS["gzip"]))
    else:
        names = images.load(write_tar(tmp_path / "archive", files, PACKERS[archive_is]))
    assert names == ("app:1",)
    image = images.resolve("app:1")
    assert image.id == sha(config_of(LAYERS))
    assert (image.command, image.environment) == (("/bin/app",), ("A=b",))
    assert image.size == 5000
    assert images.configuration(image.id) == config_of(LAYERS)
    lower, upper = (f"{root}/layers/{short}" for short in image.layers)
    assert set(picture(lower)) == {b".", b"tmp", b"etc", b"etc/a"}
    assert picture(upper)[b"etc/a"][0] == oct(0o020000)
    assert os.listdir(f"{root}/staging") == []


def test_overlayfs_shows_the_layers_as_one_tree(images, root, tmp_path):
    layers = [
        tar(folder("."), folder("d"), entry("d/lower"), entry("f"), folder("tmp", mode=0o1777), folder("e"), entry("e/x")),
        tar(folder("d"), entry("d/.wh..wh..opq"), entry("d/upper"), entry(".wh.f"), entry("tmp/new")),
        tar(entry(".wh.e"), folder("e", uid=3), symlink("link", "d/upper")),
    ]  # fmt: skip
    images.load(write_tar(tmp_path / "a.tar", docker_files(layers)))
    merged = tmp_path / "merged"
    merged.mkdir()
    lower = ":".join(reversed(images.resolve("app:1").layers))
    subprocess.run(
        ["mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}", "overlay", merged], check=True, cwd=f"{root}/layers"
    )
    try:
        seen = picture(merged, times=False)
    finally:
        subprocess.run(["umount", merged], check=True)
    assert set(seen) == {b".", b"d", b"d/upper", b"tmp", b"tmp/new", b"e", b"link"}
    # The second layer's tar does not name /tmp, and must not hide how the first one has it.
    assert seen[b"tmp"][0] == oct(0o041777)
    assert seen[b"e"][1] == 3


def test_a_folder_left_out_looks_as_in_each_images_own_layers(images, root, tmp_path):
    """The same tar on two bases: once the folder is sticky, once private, once nobody has it."""
    top = tar(entry("tmp/new"))
    bases = {
        "sticky": [tar(folder("tmp", mode=0o1777))],
        "private": [tar(folder("tmp", mode=0o700, uid=7))],
        "none": [],
    }
    for name, below in bases.items():
        images.load(write_tar(tmp_path / f"{name}.tar", docker_files([*below, top], [f"{name}:1"])))
    seen = {}
    for name in bases:
        facts = os.stat(f"{root}/layers/{images.resolve(name + ':1').layers[-1]}/tmp")
        seen[name] = (facts.st_mode & 0o7777, facts.st_uid)
    assert seen == {"sticky": (0o1777, 0), "private": (0o700, 7), "none": (0o755, 0)}


def test_a_layer_that_comes_twice_is_mounted_once_where_it_is_uppermost(images, tmp_path):
    images.load(write_tar(tmp_path / "a.tar", docker_files([BASE, TOP, BASE])))
    both = images.resolve("app:1").layers
    images.load(write_tar(tmp_path / "b.tar", docker_files([TOP, BASE], ["other:1"])))
    assert images.resolve("other:1").layers == both
    assert len(both) == 2


# Names and platforms


def named(name, key="org.opencontainers.image.ref.name"):
    layout = Layout()
    return layout.add(layout.image(LAYERS), name, key).done()


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (docker_files(LAYERS, ["app", "reg.example:5000/team/app:2"]), ("app:latest", "reg.example:5000/team/app:2")),
        (docker_files(LAYERS, []), (sha(config_of(LAYERS)),)),
        (named("docker.io/library/app:3", "io.containerd.image.name"), ("app:3",)),
        (named("app:4"), ("app:4",)),
        (named("app"), ("app:latest",)),
        (named("latest"), (sha(config_of(LAYERS)),)),
        (named("10.11"), (sha(config_of(LAYERS)),)),
        (named(""), (sha(config_of(LAYERS)),)),
        # docker save writes both forms; the one with names counts.
        ({**named(""), **docker_files(LAYERS, ["app:5"])}, ("app:5",)),
        ({**docker_files(LAYERS, ["app:5"]), **named("app:6")}, ("app:6",)),
    ],
)
def test_names(images, tmp_path, files, names):
    assert images.load(write_tar(tmp_path / "a.tar", files)) == names
    for name in names:
        assert images.resolve(name).id == sha(config_of(LAYERS))


def test_several_images_in_one_archive_share_layers_and_all_arrive(images, root, tmp_path):
    layout = Layout()
    layout.add(layout.image([BASE]), "base:1").add(layout.image(LAYERS), "app:1").add(layout.image(LAYERS), "app:2")
    assert images.load(write_tar(tmp_path / "a.tar", layout.done())) == ("base:1", "app:1", "app:2")
    assert images.resolve("app:1").layers[0] == images.resolve("base:1").layers[0]
    assert len(os.listdir(f"{root}/layers")) == 2


def test_all_images_of_an_archive_arrive_or_none(images, root, tmp_path):
    layout = Layout()
    layout.add(layout.image([BASE]), "base:1").add(layout.image(LAYERS), "app:1")
    with pytest.raises(ReconcilerError, match="app:1: layer 2 of 2"):
        images.load(write_tar(tmp_path / "a.tar", changed(layout.done(), **{TOP_NAME: flipped})))
    assert remains(root) == NOTHING


def platformed(*architectures, nested=True, name="app:1"):
    layout = Layout()
    found = []
    for architecture in architectures:
        config = config_of(LAYERS, architecture=architecture, author=architecture)
        platform = {"os": "linux", "architecture": architecture}
        found.append({**layout.image(LAYERS, config=config), "platform": platform})
    note = {"vnd.docker.reference.type": "attestation-manifest"}
    unknown = {"os": "unknown", "architecture": "unknown"}
    found.append({**layout.blob(b"{}"), "platform": unknown, "annotations": note})
    if nested:
        layout.add(layout.index(layout.index(*found)), name)
    else:
        layout.manifests += found
    return layout.done()


@pytest.mark.parametrize("nested", [True, False])
def test_the_index_is_searched_for_this_machines_platform(images, tmp_path, nested):
    images.load(write_tar(tmp_path / "a.tar", platformed(OTHER, OURS, "riscv64", nested=nested)))
    (listed,) = images.list()
    assert json.loads(images.configuration(listed.image.id))["author"] == OURS


@pytest.mark.parametrize(
    ("files", "there"),
    [
        (platformed(OTHER, "riscv64"), f"linux/riscv64, linux/{OTHER}"),
        (docker_files(LAYERS, config=config_of(LAYERS, architecture=OTHER)), f"linux/{OTHER}"),
        (docker_files(LAYERS, config=config_of(LAYERS, os="windows")), f"windows/{OURS}"),
    ],
)
def test_an_image_for_other_machines_says_for_which(images, root, tmp_path, files, there):
    with pytest.raises(ReconcilerError) as caught:
        images.load(write_tar(tmp_path / "a.tar", files))
    assert caught.value.code == "platform"
    assert f"is for {there}, not for this machine's linux/{OURS}" in caught.value.message
    assert remains(root) == NOTHING


# What is wrong with an archive


def changed(files, **changes):
    """The files with some replaced: a value, or a function of the old one; None takes the file away."""
    made = dict(files)
    for name, change in changes.items():
        key = next(key for key in made if name in key)
        made[key] = change(made[key]) if callable(change) else change
        if made[key] is None:
            del made[key]
    return made


DOCKER = docker_files(LAYERS)
OCI = oci_files(bytes)
ZIPPED = oci_files(PACKERS["gzip"])
TOP_NAME = sha(TOP)[7:]
ZIPPED_TOP = sha(PACKERS["gzip"](TOP))


def manifest(**keys):
    return lambda data: json.dumps([{**json.loads(data)[0], **keys}]).encode()


def flipped(data):
    return data[:-700] + bytes([data[-700] ^ 1]) + data[-699:]


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"", " is empty"),
        (b"not an archive at all" * 100, "not a tar archive"),
        (tar(entry("bin/sh")), "neither index.json (OCI layout) nor manifest.json"),
        (changed(DOCKER, **{"manifest.json": b"[]"}), "manifest.json: speaks of 0 images"),
        (changed(DOCKER, **{"manifest.json": b"{}"}), "manifest.json: not a list of images"),
        (changed(DOCKER, **{"manifest.json": b"[" * 100_000}), "manifest.json: not JSON"),
        (changed(DOCKER, **{"manifest.json": b" " * (5 << 20)}), "is more than it can sensibly be"),
        (changed(DOCKER, **{"manifest.json": manifest(Layers="x")}), "manifest.json: Config, Layers or RepoTags"),
        (changed(DOCKER, **{"manifest.json": manifest(RepoTags=["UPPER:1"])}), "bad image reference 'UPPER:1'"),
        (changed(DOCKER, **{"manifest.json": manifest(Config="../../etc/passwd")}), "which is not in the archive"),
        (changed(DOCKER, **{TOP_NAME: None}), f"names layer 2 '{TOP_NAME[:50]}"),
        (changed(DOCKER, **{TOP_NAME: flipped}), f"app:1: layer 2 of 2: the digest of the plain layer does not match: expected {sha(TOP)}, got {sha(flipped(TOP))}"),
        (changed(DOCKER, **{TOP_NAME: TOP[:1500]}), f"layer 2 of 2: the digest of the plain layer does not match: expected {sha(TOP)}"),
        (changed(DOCKER, **{".json": config_of(LAYERS, author="x")}), "configuration: the digest does not match: expected sha256:"),
        (docker_files(LAYERS, config=b'{"rootfs": {"diff_ids": []}}'), "speaks of 0 layers, the manifest of 2"),
        (docker_files(LAYERS, config=b'{"rootfs": {"diff_ids": ["md5:1"]}}'), "which is no sha256 digest"),
        (docker_files(LAYERS, config=config_of(LAYERS, config={"Cmd": "sh"})), "configuration: Cmd is not a list of strings"),
        (docker_files(LAYERS, config=config_of(LAYERS, config={"Healthcheck": {"Retries": "3"}})), "Retries is not a number"),
        (docker_files(LAYERS, config=config_of(LAYERS, author="\ud800")), "configuration: not JSON"),
        (docker_files(LAYERS, config=config_of(LAYERS, author=float("inf"))), "configuration: not JSON"),
        (changed(OCI, **{"index.json": b"{}"}), "index.json: manifests is not a list"),
        (changed(OCI, **{TOP_NAME: None}), f"layer 2 of 2: blob {sha(TOP)} is not in the archive"),
        (changed(OCI, **{TOP_NAME: TOP + bytes(1)}), f"layer 2 of 2: the size does not match: expected {len(TOP)} bytes, got {len(TOP) + 1}"),
        (changed(OCI, **{TOP_NAME: flipped}), f"layer 2 of 2: the digest does not match: expected {sha(TOP)}"),
        (changed(OCI, **{sha(config_of(LAYERS))[7:]: lambda data: data.replace(b"A=b", b"A=c")}), "configuration: the digest does not match"),
        (changed(ZIPPED, **{ZIPPED_TOP[7:]: lambda data: data[:-1] + bytes([data[-1] ^ 1])}), "layer 2 of 2: corrupt gzip data"),
        (changed(docker_files(LAYERS, pack=PACKERS["gzip"]), **{TOP_NAME: lambda data: data[:-300]}), "layer 2 of 2: the gzip data ends early"),
        (changed(docker_files(LAYERS, pack=PACKERS["gzip"]), **{TOP_NAME: lambda data: data + b"tail" * 20}), "layer 2 of 2: corrupt gzip data"),
        (changed(docker_files(LAYERS, pack=PACKERS["zstd"]), **{TOP_NAME: lambda data: data[:-300]}), "layer 2 of 2: the zstd data ends early"),
        (changed(docker_files(LAYERS, pack=PACKERS["zstd"]), **{TOP_NAME: lambda data: data[:4] + b"\xff" * 8 + data[12:]}), "layer 2 of 2: corrupt zstd data"),
        (docker_files([BASE, tar(entry("x", b"V"))]), "layer 2 of 2: 'x' is of a type"),
        (docker_files([BASE, tar(entry("zeros", data=bytes(9 << 20)))], pack=PACKERS["zstd"]), "as a decompression bomb does"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_arrives(root, tmp_path, archive, message):
    path = tmp_path / "a.tar"
    if isinstance(archive, bytes):
        path.write_bytes(archive)
    else:
        write_tar(path, archive)
    with pytest.raises(ReconcilerError) as caught:
        load(root, str(path), Limits(ratio=20, ratio_floor=1 << 20))
    assert caught.value.code == "bad-image"
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(str(path))
    assert remains(root) == NOTHING


@pytest.mark.parametrize("pack", ["plain", "gzip", "zstd"])
def test_an_archive_that_is_cut_off_anywhere_brings_nothing(root, tmp_path, pack):
    whole = PACKERS[pack](tar(*(entry(name, data=data) for name, data in DOCKER.items())))
    path = tmp_path / "a.tar"
    last = len(whole) - 1024 if pack == "plain" else len(whole)
    while not any(whole[last - 512 : last]) and pack == "plain":  # tarfile fills up to 10 KiB
        last -= 512
    for part in range(1, 12):
        path.write_bytes(whole[: last * part // 12])
        with pytest.raises(ReconcilerError) as caught:
            load(root, str(path))
        assert caught.value.code == "bad-image"
    assert remains(root) == NOTHING


def test_an_error_leaves_what_was_there_before(images, root, tmp_path):
    images.load(write_tar(tmp_path / "good.tar", docker_files([BASE])))
    before, tree = remains(root), picture(f"{root}/layers")
    with pytest.raises(ReconcilerError):
        images.load(write_tar(tmp_path / "bad.tar", changed(DOCKER, **{TOP_NAME: flipped})))
    assert (remains(root), picture(f"{root}/layers")) == (before, tree)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=200", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    "layer",
    [tar(entry("big", data=os.urandom(4 << 20))), tar(*(entry(f"f{number}") for number in range(300)))],
    ids=["bytes", "inodes"],
)
@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_a_full_disk_is_named_and_left_as_it_was(tmp_path, small_disk, layer, pack):
    root = str(small_disk / "root")
    with pytest.raises(ReconcilerError) as caught:
        load(root, write_tar(tmp_path / "a.tar", docker_files([layer], pack=PACKERS[pack])))
    assert caught.value.code == "disk-full"
    assert f"the disk of {root} is full" in caught.value.message
    assert remains(root) == NOTHING
    load(root, write_tar(tmp_path / "b.tar", DOCKER))


# Killed anywhere


def test_killed_at_any_effect_the_next_load_ends_as_if_nothing_had_been(tmp_path):
    small = [tar(folder("d"), entry("d/f", data=b"x")), tar(folder("d"), entry("d/g"), entry("t/u"))]
    archive = write_tar(tmp_path / "a.tar", docker_files(small))
    plain = str(tmp_path / "undisturbed")
    load(plain, archive)
    wanted = _comparable(plain)
    number = 0
    for after in (False, True):
        for number in range(1000):
            root = str(tmp_path / f"{after}{number}")
            status = in_child(lambda root=root: load(root, archive), KillAt(number, after=after))
            if status == 0:
                break
            assert status == -signal.SIGKILL
            load(root, archive)
            assert _comparable(root) == wanted, f"effect {number}, killed {'after' if after else 'before'} it"
            shutil.rmtree(root)
        assert number > 30, "the killing did not work"


def _comparable(root):
    held = remains(root)
    held["rows of images"] = [(row[0], row[1]) for row in held["rows of images"]]
    # Folders that no tar names have the time of their making.
    return held, {path: facts[:5] + facts[6:] for path, facts in picture(f"{root}/layers").items()}


def test_two_loads_at_once_do_not_sweep_each_other(root, tmp_path):
    layers = [[tar(*(entry(f"{side}{number}", data=b"x" * 100) for number in range(500))), BASE] for side in "ab"]
    archives = [write_tar(tmp_path / f"{n}.tar", docker_files(layers[n], [f"app:{n}"])) for n in (0, 1)]
    command = "import sys; sys.path.insert(0, sys.argv[1]); import imagelab; imagelab.load(sys.argv[2], sys.argv[3])"
    here = os.path.dirname(__file__)
    runs = [subprocess.Popen([sys.executable, "-c", command, here, root, archive]) for archive in archives]
    assert [run.wait() for run in runs] == [0, 0]
    images = images_at(root)
    one, other = images.resolve("app:0"), images.resolve("app:1")
    assert one.layers[1] == other.layers[1]
    assert sorted(os.listdir(f"{root}/layers")) == sorted({*one.layers, *other.layers})
    assert [len(os.listdir(f"{root}/layers/{image.layers[0]}")) for image in (one, other)] == [500, 500]
    images._store.close()


def test_memory_stays_flat(tmp_path):
    """An image ten times as large, of many files, compressed twice, needs no more memory.

    The smaller one is large enough to fill every buffer there is.
    """
    command = (
        "import sys; sys.path.insert(0, sys.argv[1]); import imagelab;"
        "imagelab.load(sys.argv[2], sys.argv[3]);"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    needed = {}
    for size, count in ((8 << 20, 400), (80 << 20, 4000)):
        layer = tar(entry("big", data=os.urandom(1 << 20) * (size >> 20)), *(entry(f"{n}" * 20) for n in range(count)))
        archive = write_tar(tmp_path / f"{size}.tar", docker_files([layer], pack=PACKERS["gzip"]), PACKERS["gzip"])
        here = os.path.dirname(__file__)
        ran = subprocess.run(
            [sys.executable, "-c", command, here, str(tmp_path / f"root{size}"), archive],
            check=True,
            capture_output=True,
        )
        needed[size] = int(ran.stdout)
    assert needed[80 << 20] < needed[8 << 20] + 2048, f"KiB by size: {needed}"


# Root file systems


@pytest.mark.parametrize("pack", ["plain", "gzip", "zstd", "xz"])
def test_import_makes_an_image_of_one_layer(images, root, tmp_path, pack):
    (tmp_path / "rootfs.tar").write_bytes(PACKERS[pack](BASE))
    image_id = images.import_root(str(tmp_path / "rootfs.tar"), "mine")
    image = images.resolve("mine:latest")
    assert image.id == image_id
    assert image.command == ()
    assert set(picture(f"{root}/layers/{image.layers[0]}")) == {b".", b"tmp", b"etc", b"etc/a"}
    assert images.origin(image_id) == f"imported from {tmp_path}/rootfs.tar"


@pytest.mark.parametrize("content", [BASE[:-10240], b"", b"text" * 1000], ids=["cut", "empty", "text"])
def test_import_refuses_what_is_no_whole_tar(images, root, tmp_path, content):
    (tmp_path / "rootfs.tar").write_bytes(content)
    with pytest.raises(ReconcilerError) as caught:
        images.import_root(str(tmp_path / "rootfs.tar"), "mine")
    assert caught.value.code == "bad-image"
    assert remains(root) == NOTHING


def test_an_empty_pipe_is_named(images):
    with pytest.raises(ReconcilerError) as caught:
        from_stdin(images, os.devnull)
    assert caught.value.message == "standard input is empty"


def test_a_missing_file_is_named(images):
    with pytest.raises(ReconcilerError, match="no such file: /nowhere") as caught:
        images.load("/nowhere.tar")
    assert caught.value.code == "not-found"


# Another maker of archives


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"] if shutil.which("skopeo") else [])
def test_what_skopeo_writes_is_read(images, root, tmp_path, kind):
    source = write_tar(tmp_path / "a.tar", DOCKER)
    target = tmp_path / "copy"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{source}", f"{kind}:{target}:app:9"], check=True
    )
    assert images.load(str(target)) == ("app:9",)
    image = images.resolve("app:9")
    assert set(picture(f"{root}/layers/{image.layers[0]}")) == {b".", b"tmp", b"etc", b"etc/a"}
    assert image.command == ("/bin/app",)


@pytest.mark.parametrize("pack", ["gzip", "zstd", "xz"])
def test_members_without_content_cost_what_their_bytes_cost(tmp_path, monkeypatch, pack):
    """Each end of a member has all that follows copied: that must not be the whole file, again and again."""
    copied = []

    class Counting(streams._Gzip if pack == "gzip" else streams._Buffered):
        @property
        def unused(self):
            copied.append(super().unused)
            return copied[-1]

    monkeypatch.setattr(streams, Counting.__mro__[1].__name__, Counting)
    empty, text = PACKERS[pack](b""), PACKERS[pack](b"text")
    data = text + empty * ((2 << 20) // len(empty)) + text + bytes(600) + text
    plain = tmp_path / "plain"
    with open(plain, "wb") as target, tempfile.TemporaryFile() as source:
        source.write(data)
        source.flush()
        streams.expand(Span.whole(source.fileno()), pack, target.fileno(), Limits(), "x")
    assert plain.read_bytes() == b"text" * 3
    assert len(copied) > (2 << 20) // len(empty)
    assert sum(copied) < len(copied) * (16 << 10) + 4 * len(data)
