"""What is saved is what came, byte for byte; and who can't have that gets nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagelab import (
    PACKERS,
    Layout,
    config_of,
    docker_files,
    entry,
    folder,
    images_at,
    link,
    sha,
    symlink,
    tar,
    write_tar,
)
from support.machine import image as built_image

from reconciler.engine.images.streams import Limits, Span
from reconciler.engine.images.tarsplit import Record
from reconciler.engine.images.unpack import unpack
from reconciler.engine.kernel.rooted import open_root
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

BASE = tar(folder("."), folder("etc"), entry("etc/a", data=b"base" * 500), entry("etc/empty"))
TOP = tar(folder("etc"), entry("etc/b", data=os.urandom(3000)), entry("etc/.wh.a"))
LAYERS = [BASE, TOP]


# Tars


def written_again(data):
    """The tar's bytes as they come out of its folder and its record, and the record's size."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile() as source:
        os.mkdir(f"{place}/root")
        source.write(b"x" * 512 + data)
        source.flush()
        with open(f"{place}/record", "wb") as record, open_root(f"{place}/root") as root:
            unpack(Span(source.fileno(), 512, len(data)), root, Limits(), "layer", record=record.fileno())
        with Record(f"{place}/record") as record, open_root(f"{place}/root") as root:
            assert record.size == len(data)
            return b"".join(bytes(piece) for piece in record.pieces(root)), os.path.getsize(f"{place}/record")


NAMES = st.sampled_from(
    ["a", "b", "d/a", "d/b", "d/e/f", "l/a", "d", "e", "n" * 120, "d/.wh.a", ".wh.b", ".wh..wh.plnk"]
)
CONTENTS = st.sampled_from([b"", b"x", b"\0" * 512, b"y" * 513, b"z" * 70_000])


@st.composite
def members(draw):
    name = draw(NAMES)
    kind = draw(st.sampled_from(["file", "file", "file", "folder", "symlink", "link", "fifo"]))
    if ".wh." in name or kind == "file":
        return entry(name, data=draw(CONTENTS), mtime=draw(st.sampled_from([0, 1.5, 2**33])))
    if kind == "folder":
        return folder(name)
    if kind == "symlink":
        return symlink(name, draw(st.sampled_from(["d", "/d", "a", ".."])))
    return link(name, draw(st.sampled_from(["a", "d/a"]))) if kind == "link" else entry(name, tarfile.FIFOTYPE)


@settings(max_examples=300)
@given(st.lists(members(), max_size=9), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_any_layer_that_unpacks_is_written_again_as_it_was(found, form):
    """Members replace one another, whiteouts and bookkeeping have content, names lead through links."""
    data = tar(*found, form=form)
    try:
        again, _ = written_again(data)
    except ReconcilerError as error:
        assert error.code == "bad-image"  # noqa: PT017 - not every such tar is a layer
        return
    assert again == data


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar", "v7"])
def test_what_gnu_tar_writes_is_written_again_as_it_was(tmp_path, form):
    source = tmp_path / "tree"
    (source / "d").mkdir(parents=True)
    (source / "d" / "big").write_bytes(os.urandom(3 << 20))
    with open(source / "sparse", "wb") as file:
        for offset in (1 << 20, 5 << 20):
            file.seek(offset)
            file.write(b"island" * 1000)
        file.truncate(8 << 20)
    os.link(source / "d" / "big", source / "same")
    sparse = ["--sparse"] if form in ("gnu", "pax") else []
    made = ["tar", f"--format={form}", "-C", source, *sparse, "-cf", "-", "."]
    data = subprocess.run(made, check=True, capture_output=True).stdout
    again, record = written_again(data)
    assert again == data
    assert record < 4096, "content went into the record"


def test_a_tar_that_ends_oddly_is_written_again_as_it_was():
    end = len(BASE.rstrip(b"\0")) // 512 * 512 + 512
    for data in (BASE[:end], BASE[: end + 512], BASE + bytes(512 * 7), tar()):
        assert written_again(data)[0] == data


def test_a_record_is_small():
    data = tar(*(entry(f"some/folder/with-a-name-{number:04}", data=os.urandom(2000)) for number in range(200)))
    assert written_again(data)[1] < len(data) / 40


# Archives


def files_of(archive):
    with tarfile.open(archive) as found:
        return {member.name: found.extractfile(member).read() for member in found}


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_a_saved_image_is_loaded_as_the_same_one(images, tmp_path, form, pack):
    images.load(
        write_tar(
            tmp_path / "in.tar", docker_files(LAYERS, ["app:1", "reg.example:5000/team/app:2"], pack=PACKERS[pack])
        )
    )
    images.save(["app:1", "reg.example:5000/team/app:2"], str(tmp_path / "out.tar"), form)
    other = images_at(tmp_path / "other")
    assert sorted(other.load(str(tmp_path / "out.tar"))) == ["app:1", "reg.example:5000/team/app:2"]
    image = other.resolve("app:1")
    assert image.id == images.resolve("app:1").id == sha(config_of(LAYERS))
    assert other.configuration(image.id) == config_of(LAYERS)
    other.save(["app:1", "reg.example:5000/team/app"], str(tmp_path / "again.tar"), form)
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "out.tar").read_bytes()
    contents = list(files_of(tmp_path / "out.tar").values())
    assert BASE in contents
    assert TOP in contents
    other._store.close()


@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_a_manifest_of_plain_layers_is_given_back_as_it_came(images, tmp_path, pack):
    layout = Layout()
    came = layout.image(LAYERS, PACKERS[pack])
    images.load(write_tar(tmp_path / "in.tar", layout.add(came, "app:1").done()))
    images.save(["app:1"], str(tmp_path / "out.tar"), "oci")
    index = json.loads(files_of(tmp_path / "out.tar")["index.json"])
    (descriptor,) = index["manifests"]
    assert (descriptor["digest"] == came["digest"]) == (pack == "plain")
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/library/app:1"


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_layers_that_leave_out_folders_or_come_twice_are_saved_as_they_came(images, tmp_path, form):
    """Such a layer is kept for what is below it: the same tar lies here twice, with another folder each."""
    loose = tar(entry("tmp/new", data=b"x"))
    for name, below in (("a:1", tar(folder("tmp", mode=0o1777))), ("b:1", tar(folder("tmp", mode=0o700)))):
        images.load(write_tar(tmp_path / "in.tar", docker_files([below, loose, BASE, loose], [name])))
    images.save(["a:1", "b:1"], str(tmp_path / "out.tar"), form)
    assert list(files_of(tmp_path / "out.tar").values()).count(loose) == 1
    other = images_at(tmp_path / "other")
    other.load(str(tmp_path / "out.tar"))
    for name in ("a:1", "b:1"):
        assert other.resolve(name).id == images.resolve(name).id
    other._store.close()


def test_what_is_named_is_saved_once_under_the_names_that_were_given(images, tmp_path):
    images.load(write_tar(tmp_path / "1.tar", docker_files(LAYERS, ["app:1", "app:2"])))
    images.load(write_tar(tmp_path / "2.tar", docker_files([BASE], ["base:1"])))
    identifier = images.resolve("app:1").id

    def saved(*names):
        images.save(names, str(tmp_path / "out.tar"))
        found = files_of(tmp_path / "out.tar")
        layers = [name for name in found if name.endswith(".tar")]
        assert len(layers) == len(set(layers))
        return [(one["Config"], one["RepoTags"]) for one in json.loads(found["manifest.json"])]

    app, base = f"{identifier[7:]}.json", sha(config_of([BASE]))[7:] + ".json"
    assert saved("app:1") == [(app, ["app:1"])]
    assert saved("app") == saved("docker.io/library/app") == [(app, ["app:1", "app:2"])]
    assert saved(identifier[7:19]) == [(app, None)]
    assert saved("base:1", "app:2", identifier, "base") == [(base, ["base:1"]), (app, ["app:2"])]
    with pytest.raises(ReconcilerError) as caught:
        images.save(["app:3"], str(tmp_path / "never.tar"))
    assert caught.value.code == "not-found"
    assert not (tmp_path / "never.tar").exists()


def shorten(path):
    os.truncate(path, 100)


def change(path):
    with open(path, "r+b") as file:
        file.write(b"Base")


def test_a_target_that_can_not_be_is_told(images, tmp_path):
    images.load(write_tar(tmp_path / "1.tar", docker_files(LAYERS)))
    for target, message in ((tmp_path, "is a folder"), (tmp_path / "nowhere" / "x.tar", "no such folder: .*/nowhere$")):
        with pytest.raises(ReconcilerError, match=message):
            images.save(["app:1"], str(target))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda layer, _: change(f"{layer}/etc/a"), "its content has been changed on the disk"),
        (lambda layer, _: shorten(f"{layer}/etc/a"), "a file of it is shorter than it was"),
        (lambda layer, _: os.unlink(f"{layer}/etc/a"), "files of it are gone"),
        (lambda _, record: os.unlink(record), "there is no record of it"),
        (lambda _, record: shorten(record), "its record is c"),
        (lambda _, record: change(record), "its record is none"),
    ],
)
def test_a_layer_that_is_not_as_it_came_is_not_saved(images, root, tmp_path, damage, message):
    images.load(write_tar(tmp_path / "in.tar", docker_files(LAYERS)))
    short = images.resolve("app:1").layers[0]
    (tmp_path / "out.tar").write_text("what was there before")
    damage(f"{root}/layers/{short}", f"{root}/tarsplit/{short}")
    with pytest.raises(ReconcilerError) as caught:
        images.save(["app:1"], str(tmp_path / "out.tar"))
    assert caught.value.code == "damaged"
    assert caught.value.message.startswith(f"layer {sha(BASE)} of app:1 can't be written as it came: {message}")
    assert (tmp_path / "out.tar").read_text() == "what was there before"
    assert [name for name in os.listdir(tmp_path) if "out" in name] == ["out.tar"]


def test_layers_stay_while_they_are_saved(images, root, tmp_path):
    images.load(write_tar(tmp_path / "in.tar", docker_files(LAYERS)))
    layers = set(images.resolve("app:1").layers)
    with images._workshop(print).using():
        images.remove("app:1")
        assert layers <= set(os.listdir(f"{root}/layers"))
        assert layers <= set(os.listdir(f"{root}/tarsplit"))
    assert os.listdir(f"{root}/layers") == os.listdir(f"{root}/tarsplit") == []


def test_a_reader_that_goes_away_ends_it(images, tmp_path):
    images.load(write_tar(tmp_path / "in.tar", docker_files([tar(entry("big", data=os.urandom(1 << 20)))])))
    reading, writing = os.pipe()
    os.close(reading)
    before = os.dup(1)
    try:
        os.dup2(writing, 1)
        with pytest.raises(BrokenPipeError):
            images.save(["app:1"], "-")
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writing)


@pytest.mark.images
def test_wordpress_goes_through_a_pipe_and_is_the_same(tmp_path):
    """The real image: same id, same layers, and the manifest that its builder wrote."""
    command = [sys.executable, "-c", "import sys; from reconciler.cli.main import entry; entry()"]
    archive = built_image("wordpress")
    places = [
        {**os.environ, "RECONCILER_ROOT": str(tmp_path / f"root{n}"), "RECONCILER_RUN": str(tmp_path / f"run{n}")}
        for n in (1, 2)
    ]
    subprocess.run([*command, "load", "-q", archive], env=places[0], check=True, capture_output=True)
    with (
        subprocess.Popen(
            [*command, "save", "--format", "oci", "wordpress"], env=places[0], stdout=subprocess.PIPE
        ) as save,
        subprocess.Popen([*command, "load", "-q"], env=places[1], stdin=save.stdout, stdout=subprocess.PIPE) as load,
    ):
        said = load.communicate()[0].decode()
        save.stdout.close()
        assert (save.wait(), load.returncode) == (0, 0)
    assert said == "Loaded image: wordpress:6.1\nLoaded image: wordpress:latest\n"
    one, other = (images_at(tmp_path / f"root{n}") for n in (1, 2))
    here, there = one.resolve("wordpress:6.1"), other.resolve("wordpress:6.1")
    assert here.id == there.id
    assert one.configuration(here.id) == other.configuration(there.id)
    assert one.digest_of("wordpress:6.1") == other.digest_of("wordpress:6.1") != ""
    with tarfile.open(archive) as built:
        wanted = {name.rpartition("/")[2] for name in built.getnames() if built.getmember(name).size > 1 << 20}
    diff_ids = json.loads(other.configuration(there.id))["rootfs"]["diff_ids"]
    assert {diff_id[7:] for diff_id in diff_ids} == wanted
    for catalog in (one, other):
        catalog._store.close()
