"""Names and ids lead to images; what somebody uses stays, what nobody has any more goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imagelab import (
    NOTHING,
    OURS,
    KillAt,
    Layout,
    config_of,
    docker_files,
    entry,
    images_at,
    in_child,
    load,
    picture,
    remains,
    sha,
    tar,
    write_tar,
)  # fmt: skip

from reconciler.engine.images import configuration
from reconciler.engine.images.catalog import Arrival
from reconciler.engine.images.layers import LayerSource
from reconciler.engine.images.removal import Prunable, Removal
from reconciler.engine.images.streams import Span
from reconciler.engine.records import HealthConfig
from reconciler.kits.errors import ReconcilerError

BASE, ONE, TWO = (tar(entry(name, data=name.encode())) for name in ("base", "one", "two"))


@pytest.fixture
def two_images(images, tmp_path):
    """app:1, app:also and other:1, on one base."""
    images.load(write_tar(tmp_path / "1.tar", docker_files([BASE, ONE], ["app:1", "app:also"])))
    images.load(write_tar(tmp_path / "2.tar", docker_files([BASE, TWO], ["other:1"])))
    return images


@pytest.mark.kernel
def test_names_ids_and_prefixes_find_an_image(two_images):
    wanted = sha(config_of([BASE, ONE]))
    names = ("app:1", "docker.io/library/app:also", wanted, wanted[7:], wanted[7:19], wanted[:20])
    assert {two_images.resolve(name).id for name in names} == {wanted}
    assert two_images.find("app") is None
    assert two_images.find("f" * 64) is None
    assert two_images.names(wanted) == ("docker.io/library/app:1", "docker.io/library/app:also")
    assert [listed.reference for listed in two_images.list()] == [
        "docker.io/library/other:1", "docker.io/library/app:1", "docker.io/library/app:also",
    ]  # fmt: skip


@pytest.mark.kernel
def test_a_name_goes_before_an_id_and_a_common_beginning_is_no_name(two_images):
    row = two_images.resolve("app:1")
    with two_images._store.write() as rows:
        rows.executemany(
            "INSERT INTO images SELECT ?, config, origin, created, manifest FROM images WHERE id = ?",
            [("sha256:" + beginning.ljust(64, "0"), row.id) for beginning in ("dead", "deaf", "cafe1", "cafe2")],
        )
    with pytest.raises(ReconcilerError, match="beginning of several") as caught:
        two_images.resolve("cafe")
    assert caught.value.code == "ambiguous"
    assert two_images.find("dead") is not None
    assert two_images.find("dea") is None, "three digits are too few: they may well be a name"
    two_images.tag("other:1", "cafe")
    assert two_images.resolve("cafe").id == two_images.resolve("other:1").id


@pytest.mark.kernel
def test_an_unknown_name_is_answered_with_the_nearest(two_images):
    with pytest.raises(ReconcilerError, match="no such image: othr:1") as caught:
        two_images.resolve("othr:1")
    assert (caught.value.code, caught.value.hint) == ("not-found", "did you mean other:1?")
    with pytest.raises(ReconcilerError) as caught:
        two_images.resolve("Not A Name")
    assert caught.value.code == "bad-reference"


@pytest.mark.kernel
def test_images_go_with_their_last_name_and_layers_with_their_last_image(two_images, root):
    images = two_images
    one, two = images.resolve("app:1"), images.resolve("other:1")
    assert images.remove("app:1").lines == (("untagged", "app:1"),)
    assert images.resolve("app:also").id == one.id
    assert images.remove("app:also") == Removal((("untagged", "app:also"), ("deleted", one.id)), reclaimed=3)
    assert sorted(os.listdir(f"{root}/layers")) == sorted(os.listdir(f"{root}/tarsplit")) == sorted(two.layers)
    assert images.remove(two.id[7:19]) == Removal((("untagged", "other:1"), ("deleted", two.id)), reclaimed=7)
    assert remains(root) == NOTHING


def have_container(images, image, name="web"):
    with images._store.write() as rows:
        rows.execute(
            "INSERT INTO containers (id, name, owner, image, config, mounts, created, phase, wanted, state) "
            "VALUES (?, ?, '', ?, '', '', 0, '', '', '')",
            (name, name, image.id),
        )


@pytest.mark.kernel
def test_an_image_in_use_stays(two_images, root):
    images = two_images
    one = images.resolve("app:1")
    before = remains(root)
    have_container(images, one)
    for force in (False, True):
        with pytest.raises(ReconcilerError, match="is in use by web") as caught:
            images.remove(one.id, force=force)
        assert caught.value.code == "in-use"
    assert remains(root) == before
    assert images.remove("app:1").lines == (("untagged", "app:1"),), "another name is left"
    with pytest.raises(ReconcilerError, match="in use"):
        images.remove("app:also")
    assert images.remove("app:also", force=True) == Removal((("untagged", "app:also"),))
    assert images.resolve(one.id) == one
    assert set(one.layers) <= set(os.listdir(f"{root}/layers"))


@pytest.mark.kernel
def test_several_names_go_by_id_only_with_force(two_images):
    one = two_images.resolve("app:1")
    with pytest.raises(ReconcilerError, match="has several names: app:1, app:also") as caught:
        two_images.remove(one.id)
    assert caught.value.code == "several-names"
    assert two_images.remove(one.id, force=True).lines == (
        ("untagged", "app:1"), ("untagged", "app:also"), ("deleted", one.id),
    )  # fmt: skip


@pytest.mark.kernel
def test_names_by_digest_go_with_the_last_tag_or_by_themselves(images, tmp_path):
    files, digest = manifest_of([BASE, ONE])
    archive = write_tar(tmp_path / "a.tar", files)
    images.load(archive)
    image = images.resolve("app:1")
    gone = (("untagged", f"app@{digest}"), ("deleted", image.id))
    images.tag("app:1", "app:2")
    assert images.remove("app:1").lines == (("untagged", "app:1"),)
    assert images.remove("app:2").lines == (("untagged", "app:2"), *gone)
    images.load(archive)
    assert images.remove(f"app@{digest}").lines == gone[:1], "its tag stays"
    assert images.remove("app:1").lines == (("untagged", "app:1"), gone[1])
    images.load(archive)
    images.tag("app:1", "reg.example:5000/mirror:1")
    assert images.remove("app:1").lines == (("untagged", "app:1"), gone[0])
    assert images.remove(image.id[7:17]).lines == (("untagged", "reg.example:5000/mirror:1"), gone[1])


# Pruning


@pytest.mark.kernel
def test_prune_takes_what_nobody_uses_and_has_no_name(images, root, tmp_path):
    for number, (layer, tags) in enumerate([(ONE, ["app:1"]), (TWO, ["app:1"]), (BASE, ["base:1"])]):
        images.load(write_tar(tmp_path / f"{number}.tar", docker_files([BASE, layer], tags)))
    dangling = sha(config_of([BASE, ONE]))
    have_container(images, images.resolve("base:1"))
    assert images.prune(Prunable()) == Removal((("deleted", dangling),), reclaimed=3)
    assert images.prune(Prunable()) == Removal()
    assert images.prune(Prunable(tagged=True)).lines == (
        ("untagged", "app:1"),
        ("deleted", sha(config_of([BASE, TWO]))),
    )
    assert sorted(os.listdir(f"{root}/layers")) == sorted(images.resolve("base:1").layers)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("wanted", "gone"),
    [
        ({}, "abc"),
        ({"until": 1_000_000_000.0}, "a"),
        ({"labels": (("team", None, True),)}, "bc"),
        ({"labels": (("team", "blue", True),)}, "b"),
        ({"labels": (("team", "blue", False),)}, "ac"),
        ({"labels": (("team", None, True), ("team", "red", False))}, "b"),
        ({"until": 2_000_000_000.0, "labels": (("team", "red", True),)}, ""),
    ],
)
def test_prune_filters(images, tmp_path, wanted, gone):
    made = {
        "a": ("2001-01-01T00:00:00Z", {}),
        "b": ("2020-01-01T00:00:00Z", {"team": "blue"}),
        "c": ("", {"team": "red"}),
    }
    for name, (created, labels) in made.items():
        config = config_of([BASE], created=created, config={"Labels": labels})
        images.load(write_tar(tmp_path / f"{name}.tar", docker_files([BASE], [f"{name}:1"], config=config)))
        with images._store.write() as rows:
            rows.execute("UPDATE images SET created = ? WHERE created < 3e9", (3_000_000_000.0,))
    done = images.prune(Prunable(tagged=True, **wanted))
    assert "".join(sorted(name[0] for what, name in done.lines if what == "untagged")) == gone


@pytest.mark.kernel
def test_prune_killed_anywhere_leaves_nothing_that_the_next_does_not_take(tmp_path):
    archive = write_tar(tmp_path / "a.tar", docker_files([BASE, ONE]))
    for after in (False, True):
        for number in range(1000):
            root = str(tmp_path / f"{after}{number}")
            load(root, archive)
            status = in_child(
                lambda root=root: images_at(root).prune(Prunable(tagged=True)), KillAt(number, after=after)
            )
            if status == 0:
                break
            assert status == -signal.SIGKILL
            images = images_at(root)
            there = images.find("app:1")
            assert there is None or set(there.layers) <= set(os.listdir(f"{root}/layers"))
            images.prune(Prunable(tagged=True))
            images._store.close()
            assert remains(root) == NOTHING, f"effect {number}, killed {'after' if after else 'before'} it"
        assert number > 8, "the killing did not work"


@pytest.mark.kernel
def test_prunes_and_loads_at_once_leave_every_image_whole(root, tmp_path):
    os.mkdir(root)
    archives = [
        write_tar(tmp_path / f"{n}.tar", docker_files([BASE, tar(entry(f"own{n}", data=b"x"))], [f"app:{n}"]))
        for n in (0, 1)
    ]
    act = {
        "load": "for _ in range(15): imagelab.load(sys.argv[2], sys.argv[3])",
        "prune": "from reconciler.engine.images.removal import Prunable\n"
        "for _ in range(40): imagelab.images_at(sys.argv[2]).prune(Prunable(tagged=True))",
    }
    setup = "import sys; sys.path.insert(0, sys.argv[1]); import imagelab\n"
    here = os.path.dirname(__file__)
    runs = [
        subprocess.Popen([sys.executable, "-c", setup + act[what], here, root, archive])
        for what, archive in (("load", archives[0]), ("load", archives[1]), ("prune", ""))
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    images = images_at(root)
    for listed in images.list():
        for short in listed.image.layers:
            assert os.listdir(f"{root}/layers/{short}") != []
    for archive in archives:
        images.load(archive)
    images.save(["app"], str(tmp_path / "out.tar"))
    assert {short for n in (0, 1) for short in images.resolve(f"app:{n}").layers} == set(os.listdir(f"{root}/layers"))
    images._store.close()


@pytest.mark.kernel
def test_a_name_moves_to_the_image_that_comes_with_it(two_images, tmp_path):
    old = two_images.resolve("app:1")
    two_images.remove("app:also")
    two_images.load(write_tar(tmp_path / "3.tar", docker_files([BASE, TWO, ONE], ["app:1"])))
    assert two_images.resolve("app:1").id != old.id
    assert two_images.names(old.id) == ()
    assert two_images.resolve(old.id) == old


@pytest.mark.kernel
def test_a_layer_that_was_removed_by_hand_comes_back_where_images_look_for_it(two_images, root, tmp_path):
    base = two_images.resolve("app:1").layers[0]
    whole = picture(f"{root}/layers/{base}", times=False)
    shutil.rmtree(f"{root}/layers/{base}")
    two_images.load(write_tar(tmp_path / "1.tar", docker_files([BASE, ONE], ["app:1"])))
    assert picture(f"{root}/layers/{base}", times=False) == whole
    assert two_images.resolve("other:1").layers[0] == base


@pytest.mark.kernel
def test_what_nobody_has_is_swept_by_the_next_one_who_works(root):
    for name in ("layers/none/etc", "staging/half", "content/sha256"):
        os.makedirs(f"{root}/{name}")
    with open(f"{root}/content/sha256/{'0' * 64}", "w") as file:
        file.write("{}")
    images = images_at(root)
    with pytest.raises(ReconcilerError):
        images.load("/nowhere.tar")
    images._store.close()
    assert remains(root) == NOTHING


@pytest.mark.kernel
def test_with_a_lost_store_no_containers_layers_are_swept(two_images, root, tmp_path):
    """Whoever deletes the store by hand must not lose the files of what runs."""
    before = sorted(os.listdir(f"{root}/layers"))
    os.makedirs(f"{root}/containers/{'a' * 64}")
    with two_images._store.write() as rows:
        for table in ("tags", "images", "layers"):
            rows.execute(f"DELETE FROM {table}")
    two_images.load(write_tar(tmp_path / "new.tar", docker_files([TWO], ["new:1"])))
    assert set(before) < set(os.listdir(f"{root}/layers"))


# Names by digest


def manifest_of(layers, name="app:1"):
    """An OCI archive with one image of this name, and its manifest's digest."""
    layout = Layout()
    descriptor = layout.image(layers)
    return layout.add(descriptor, name).done(), descriptor["digest"]


@pytest.mark.kernel
def test_a_manifests_digest_is_a_name_whatever_the_tag_says(images, tmp_path):
    files, digest = manifest_of([BASE, ONE])
    images.load(write_tar(tmp_path / "a.tar", files))
    image = images.resolve("app:1")
    assert images.resolve(f"app@{digest}") == images.resolve(f"docker.io/library/app:other@{digest}") == image
    assert images.find(f"other@{digest}") is None
    assert images.find(f"app@sha256:{'0' * 64}") is None
    assert images.digests(image.id) == (f"docker.io/library/app@{digest}",)
    assert images.digest_of("app:1") == digest
    assert [listed.digest for listed in images.list()] == [digest]


@pytest.mark.kernel
def test_an_image_whose_tag_has_moved_keeps_its_name_by_digest(images, tmp_path):
    files, digest = manifest_of([BASE, ONE])
    images.load(write_tar(tmp_path / "a.tar", files))
    old = images.resolve("app:1")
    newer, newer_digest = manifest_of([BASE, TWO])
    images.load(write_tar(tmp_path / "b.tar", newer))
    assert images.resolve("app:1") != old
    assert images.resolve(f"app@{digest}") == old
    assert {(listed.reference, listed.digest) for listed in images.list()} == {
        ("docker.io/library/app:1", newer_digest), (f"docker.io/library/app@{digest}", digest),
    }  # fmt: skip


@pytest.mark.kernel
def test_an_index_and_its_manifest_are_names_and_the_tag_stands_for_the_index(images, tmp_path):
    layout = Layout()
    manifest = {**layout.image([BASE]), "platform": {"os": "linux", "architecture": OURS}}
    index = layout.index(manifest)
    images.load(write_tar(tmp_path / "a.tar", layout.add(index, "app:1").done()))
    assert images.digest_of("app:1") == index["digest"]
    assert images.resolve(f"app@{index['digest']}") == images.resolve(f"app@{manifest['digest']}")


@pytest.mark.kernel
def test_no_archive_can_say_that_its_content_has_a_digest(images, tmp_path):
    claimed = f"app@sha256:{'a' * 64}"
    names = images.load(write_tar(tmp_path / "a.tar", docker_files([BASE], [claimed, "app:1"])))
    assert names == ("app:1",)
    assert images.find(claimed) is None
    for reference in (claimed, f"app:1@sha256:{'a' * 64}"):
        with pytest.raises(ReconcilerError, match="follows from its content"):
            images.tag("app:1", reference)


# Several at work at once


@pytest.mark.kernel
def test_what_somebody_relies_on_stays_until_it_is_done(two_images, root):
    images = two_images
    one = images.resolve("app:1")
    with images._workshop(print).opened() as work:
        layers = work.place([], [sha(BASE), sha(ONE)])
        images.remove("app:1")
        images.remove("app:also")
        assert {layer.short for layer in layers} <= set(os.listdir(f"{root}/layers"))
        images.add([Arrival(one, b"{}", ("docker.io/library/again:1",))], "here")
    assert set(images.resolve("again:1").layers) <= set(os.listdir(f"{root}/layers"))
    images.remove("again:1")
    assert sorted(os.listdir(f"{root}/layers")) == sorted(images.resolve("other:1").layers)


@pytest.mark.kernel
def test_a_layer_that_no_image_has_is_not_relied_on_later(images, root):
    """It may be half on the disk only: after a power loss nobody knows."""
    with images._workshop(print).opened() as work:
        (layer,) = work.place([source_of(BASE, work)], [sha(BASE)])
        assert os.listdir(f"{root}/layers") == [layer.short]
    assert remains(root) == NOTHING


def source_of(data, work):
    fd = work.temporary()
    os.write(fd, data)
    return LayerSource(Span.whole(fd), "layer")


@pytest.mark.kernel
def test_a_container_is_not_written_down_of_an_image_that_has_just_gone(two_images):
    image = two_images.resolve("app:1")
    two_images.remove(image.id, force=True)
    with two_images._store.write() as connection, pytest.raises(ReconcilerError, match="just been removed"):
        two_images.claim(connection, image)


# Configurations


def test_a_configuration_is_read_once_and_kept_as_it_was_read(images):
    settings = {
        "User": "www-data:33", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Env": ["PATH=/bin", "E="],
        "Entrypoint": ["/entry", "--x"], "Cmd": None, "Volumes": {"/data": {}}, "WorkingDir": "/srv",
        "Labels": {"a": "b", "none": None}, "StopSignal": "SIGWINCH", "Unknown": 1,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_500_000_000, "Timeout": 0, "StartInterval": 250_000_000, "Retries": 3},
    }  # fmt: skip
    parsed = configuration.parse(config_of([BASE], config=settings, created="2026-01-01T00:00:00Z"), "x")
    image = parsed.image("sha256:" + "1" * 64, ("abcd",), 7)
    images.add([Arrival(image, b"{}", ("docker.io/library/x:1",))], "here")
    kept = images.resolve("x:1")
    assert kept == image
    assert kept.exposed == ("53/udp", "80/tcp")
    assert kept.command == ()
    assert kept.labels == {"a": "b", "none": ""}
    assert kept.health == HealthConfig(test=("CMD", "true"), interval=1.5, start_interval=0.25, retries=3)


def test_every_port_may_be_exposed_once():
    settings = {"ExposedPorts": {key: {} for key in ["1-65535", "1-65535/udp", "1-65535/sctp"]}}
    exposed = configuration.parse(config_of([BASE], config=settings), "x").settings["exposed"]
    assert len(set(exposed)) == len(exposed) == 3 * 65535


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # A few kilobytes that would stand for 10 million ports.
        ({"ExposedPorts": {f"{first}-65535/tcp": {} for first in range(1, 160)}}, "ExposedPorts holds more than the"),
        ({"Healthcheck": {"Interval": 10**400}}, "Interval is not a number from 0 to"),
        ({"Healthcheck": {"Retries": 2**63}}, "Retries is not a number from 0 to"),
        ({"Healthcheck": {"Timeout": -1}}, "Timeout is not a number from 0 to"),
    ],
)
def test_numbers_in_a_configuration_are_bounded(settings, message):
    tracemalloc.start()
    try:
        with pytest.raises(ReconcilerError, match=message) as raised:
            configuration.parse(config_of([BASE], config=settings), "x")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert raised.value.code == "bad-image"


KEYS = st.sampled_from(
    ["config", "rootfs", "diff_ids", "Env", "Cmd", "Labels", "Healthcheck", "Test", "Interval", "Retries", "os", "User"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_any_json_is_a_configuration_or_an_error_that_says_why(document):
    data = json.dumps(document).encode()
    try:
        parsed = configuration.parse(data, "image")
    except ReconcilerError as error:
        assert error.message.startswith("image: ")  # noqa: PT017 - either is fine
    else:
        image = parsed.image("sha256:0", (), 0)
        assert all(isinstance(value, str) for value in (*image.environment, *image.labels.values(), image.user))
