"""Plans that ask a registry: tags that move between two applies, images that come back as they were, nobody who answers."""

from __future__ import annotations

import json
import os
import tarfile

import pytest
from support.machine import image
from support.registry import DOCKER_LIST, DOCKER_MANIFEST, Pusher, docker_registry

pytestmark = [pytest.mark.kernel, pytest.mark.images]


@pytest.fixture
def machine(make_machine):
    made = make_machine(images=False)
    made.environment |= {"DOCKER_CONFIG": os.path.join(made.folder, "docker"), "HOME": made.folder}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        made.environment.pop(name, None)
    return made


def other_archive(machine):
    """The tiny image's files under another configuration."""
    machine.cli("load", "-q", image("tiny"))
    machine.cli("save", "tiny", "-o", "tiny.tar")
    with tarfile.open(os.path.join(machine.folder, "tiny.tar")) as found:
        (layer,) = [name for name in found.getnames() if name.endswith(".tar")]
        data = found.extractfile(layer).read()
    with open(os.path.join(machine.folder, "layer.tar"), "wb") as file:
        file.write(data)
    machine.cli("import", "layer.tar", "other:1")
    machine.cli("save", "other:1", "-o", "other.tar")
    machine.cli("rmi", "other:1", "tiny")
    return os.path.join(machine.folder, "other.tar")


def test_a_tag_that_moves_is_followed_by_whom_the_policy_tells(machine):
    other = other_archive(machine)
    with docker_registry(os.path.join(machine.folder, "registry")) as address:
        pusher = Pusher(address)
        old = pusher.archive("tools/app", "1", image("tiny"))
        name = f"{address}/tools/app:1"
        sleep = {"command": ["sleep", "1000"], "stop_grace_period": "0s", "image": name}
        stack = {"containers": {"eager": {**sleep, "pull_policy": "always"}}}
        planned = machine.cli("plan", machine.spec(stack)).out
        assert f"+ pull   image {name}  it is not here, and needed by eager" in planned
        assert "known after pull: image id, exposed ports, declared volumes" in planned
        machine.apply(stack)
        assert machine.apply(stack).out.startswith("nothing to do")
        before = machine.record("eager")

        new = pusher.archive("tools/app", "1", other)
        assert machine.apply(stack, "--pull", "missing").out.startswith("nothing to do")
        ran = machine.cli("plan", "--detailed-exitcode", machine.spec(stack), code=2)
        assert f"      digest: {old[:19]} -> {new[:19]}\n" in ran.out
        document = json.loads(machine.cli("plan", "--json", machine.spec(stack)).out)
        assert [step["verb"] for step in document["steps"]][:2] == ["pull", "stop"]
        assert document["steps"][1]["reasons"][0]["new"] == new[:19]
        ran = machine.apply(stack)
        assert ran.out.index(f"pulled image {name}") < ran.out.index("stopped eager")
        assert machine.record("eager").image != before.image
        assert machine.apply(stack).out.startswith("nothing to do")

        listed = json.loads(machine.cli("images", "--json").out)
        assert {(one["reference"].rpartition("/")[2], one["digest"]) for one in listed} == {
            ("app:1", new), (f"app@{old}", old),
        }  # fmt: skip
        assert {one["origin"] for one in listed} == {f"pulled from {address}"}
        assert f"deleted: {before.image}\n" in machine.cli("image", "prune", "-f").out
    ran = machine.apply(stack, code=1)
    assert f"what {name} of container eager stands for can't be found out, and its pull_policy is always: " in ran.err
    assert "--pull missing takes the image that is here" in ran.err
    assert ran.err.startswith(f"error: {machine.folder}/stack.yaml:")
    assert machine.apply(stack, "--pull", "missing").out.startswith("nothing to do")


def test_an_index_that_changes_for_other_machines_only_replaces_nobody(machine):
    with docker_registry(os.path.join(machine.folder, "registry")) as address:
        pusher = Pusher(address)
        digest = pusher.archive("app", "plain", image("tiny"))
        machine.cli("pull", "-q", f"{address}/app:plain")
        document = json.loads(machine.cli("inspect", f"{address}/app:plain").out)[0]
        ours = {"os": "linux", "architecture": document["Architecture"]}
        size = len(machine.engine.images.configuration(digest))

        def push(*platforms):
            entries = [{"mediaType": DOCKER_MANIFEST, "digest": digest, "size": size, "platform": p} for p in platforms]
            pusher.manifest(
                "app", "1", {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}, DOCKER_LIST
            )

        push(ours)
        sleep = {"command": ["sleep", "1000"], "stop_grace_period": "0s", "pull_policy": "always"}
        stack = {"containers": {"one": {**sleep, "image": f"{address}/app:1"}}}
        machine.apply(stack)
        before = machine.record("one")
        push(ours, {"os": "linux", "architecture": "s390x"})
        ran = machine.apply(stack)
        assert "replaced" in ran.out, "what the plan foresaw"
        assert ran.out.endswith("with what was pulled nothing else is to do\n")
        assert machine.record("one") == before
        assert machine.apply(stack).out.startswith("nothing to do")


def test_what_came_compressed_is_saved_as_the_same_image(machine):
    with docker_registry(os.path.join(machine.folder, "registry")) as address:
        Pusher(address).archive("app", "1", image("tiny"))
        machine.cli("pull", "-q", f"{address}/app:1")
    pulled = machine.engine.images.resolve(f"{address}/app:1")
    for form in ("docker", "oci"):
        machine.cli("save", "--format", form, f"{address}/app:1", "-o", "out.tar")
        machine.cli("rmi", f"{address}/app:1")
        assert os.listdir(machine.paths.layers) == []
        assert machine.cli("load", "-q", "out.tar").out == f"Loaded image: {address}/app:1\n"
        assert machine.engine.images.resolve(f"{address}/app:1").id == pulled.id
