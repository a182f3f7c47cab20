"""Images under containers: in use they stay, a moved name is followed, and who prunes and who creates don't hurt each other."""

from __future__ import annotations

import os
import tarfile
import threading

import pytest

from reconciler.engine.images.removal import Prunable
from reconciler.engine.records import ContainerConfig
from reconciler.kits.errors import ReconcilerError

pytestmark = [pytest.mark.kernel, pytest.mark.images]

SLEEP = {"command": ["sleep", "1000"], "stop_grace_period": "0s"}


@pytest.fixture
def other(machine):
    """Another image with the same files: `other:1`."""
    archive = os.path.join(machine.folder, "tiny.tar")
    machine.cli("save", "tiny", "-o", archive)
    with tarfile.open(archive) as found:
        (layer,) = [name for name in found.getnames() if name.endswith(".tar")]
        root_fs = found.extractfile(layer).read()
    with open(os.path.join(machine.folder, "layer.tar"), "wb") as file:
        file.write(root_fs)
    machine.cli("import", "layer.tar", "other:1")
    return machine.engine.images.resolve("other:1")


def test_an_image_is_not_removed_under_a_container_running_or_not(machine):
    machine.apply({"containers": {"box": {**SLEEP, "image": "tiny"}}})
    image = machine.record("box").image
    for name in ("tiny", image, image[7:15]):
        ran = machine.cli("rmi", name, code=1)
        assert ran.err == (
            f"error: image {name} is in use by box\n  hint: remove the containers first, running or not\n"
        )
    machine.cli("stop", "box")
    assert machine.cli("rmi", "tiny", code=1).out == ""
    assert machine.cli("image", "prune", "-af").out == "Total reclaimed space: 0B\n"
    lines = machine.cli("rmi", "-f", "tiny").out.splitlines()
    assert lines[0] == "Untagged: tiny:latest"
    assert not any(line.startswith("Deleted") for line in lines)
    assert machine.cli("image", "prune", "-af").out == "Total reclaimed space: 0B\n"
    machine.cli("start", "box")
    assert machine.exec("box", "cat", "/proc/1/comm") == "sleep\n"
    machine.cli("rm", "-f", "box")
    pruned = machine.cli("image", "prune", "-f").out
    assert f"deleted: {image}\n" in pruned
    assert pruned.endswith("Total reclaimed space: 1.98MB\n")
    assert os.listdir(machine.paths.layers) == os.listdir(machine.paths.tarsplit) == []


def test_a_name_that_moves_between_two_applies_is_followed(machine, other):
    machine.cli("tag", "tiny", "app:1")
    stack = {"containers": {"box": {**SLEEP, "image": "app:1"}, "side": {**SLEEP, "image": "tiny"}}}
    machine.apply(stack)
    before, side = machine.record("box"), machine.record("side")
    machine.cli("tag", "other:1", "app:1")
    ran = machine.cli("apply", machine.spec(stack))
    assert f"image: app:1 {before.image[:19]} -> app:1 {other.id[:19]}" in ran.out
    assert machine.record("box").image == other.id
    assert machine.record("side") == side
    assert machine.apply(stack).out.startswith("nothing to do")


def test_a_spec_can_name_an_image_by_its_digest(machine):
    (name,) = machine.engine.images.digests(machine.engine.images.resolve("tiny").id)
    digest = name.partition("@")[2]
    stack = {"containers": {"box": {**SLEEP, "image": f"tiny:whatever@{digest}", "pull_policy": "always"}}}
    machine.apply(stack)
    assert machine.state("box") == "running"
    assert machine.apply(stack).out.startswith("nothing to do"), "a digest moves nowhere: no registry is asked"
    absent = machine.apply(
        {"containers": {"box": {**SLEEP, "image": f"tiny@sha256:{'0' * 64}", "pull_policy": "never"}}}, code=1
    )
    assert "is not here and its pull_policy is never" in absent.err


def test_prunes_and_creates_at_once_leave_no_container_without_its_image(machine, other):
    """Whoever is first wins: the image is gone and the container can't be made, or it is made and the image stays."""
    images = machine.engine.images
    archive = os.path.join(machine.folder, "tiny.tar")
    done = threading.Event()
    outcomes = {"made": 0, "refused": 0}

    def prune():
        while not done.is_set():
            images.prune(Prunable(tagged=True))

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        while min(outcomes.values()) < 3:
            try:
                made = machine.engine.lifecycle.create(ContainerConfig("box", "tiny", command=("true",)))
            except ReconcilerError as error:
                assert error.code == "not-found"  # noqa: PT017 - one of the two
                outcomes["refused"] += 1
                machine.console.load(archive)
                continue
            outcomes["made"] += 1
            image = images.resolve(machine.record("box").image)
            for short in image.layers:
                assert os.listdir(os.path.join(machine.paths.layers, short))
            machine.engine.lifecycle.start(made)
            machine.engine.lifecycle.remove(made, force=True)
    finally:
        done.set()
        pruner.join()
    assert images.find(other.id) is None
