"""What is seen of the verb `pull` and of `apply`'s pulls on a terminal; platforms; and what the demo pulls or makes."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import tarfile
import threading

import pytest
from imagelab import OTHER, OURS, config_of
from registrylab import configured, layer_of, on
from support.machine import PROJECT, image

pytestmark = [pytest.mark.kernel, pytest.mark.images]


@pytest.fixture
def machine(hub, make_machine, tmp_path):
    made = make_machine(images=False)
    made.environment |= {"DOCKER_CONFIG": os.path.join(made.folder, "docker"), "HOME": made.folder}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        made.environment.pop(name, None)
    made.environment["RECONCILER_CONFIG"] = configured(tmp_path, hub, pull={"idle_timeout": "2m"})
    return made


def tiny_layer():
    with tarfile.open(image("tiny")) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))
        return archive.extractfile(entry["Layers"][0]).read()


def on_a_terminal(machine, *arguments, until, then):
    """What the command says there; `then` is called as soon as all of the words `until` were seen."""
    ours, theirs = pty.openpty()
    environment = {**machine.environment, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        machine.argv(*arguments), env=environment, stdout=theirs, stderr=theirs, cwd=machine.folder
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
            if all(word in said for word in until):
                then()
    except OSError:
        pass
    os.close(ours)
    assert process.wait() == 0, said
    return said


def test_another_platform_is_pulled_where_it_is_named(hub, machine):
    found = []
    for architecture in (OURS, OTHER):
        layers = [layer_of(architecture)]
        made = hub.image(reference=architecture, layers=layers, config=config_of(layers, architecture=architecture))
        found.append({**made, "platform": {"os": "linux", "architecture": architecture}})
    hub.index("app", "1", *found)
    name = f"{hub.address}/app:1"
    for options, architecture in (((), OURS), (("--platform", f"linux/{OTHER}"), OTHER)):
        machine.cli("pull", *options, name)
        assert json.loads(machine.cli("inspect", name).out)[0]["Architecture"] == architecture
    ran = machine.cli("pull", "--platform", "linux/mips", name, code=1)
    assert "not for linux/mips" in ran.err


def test_a_terminal_shows_all_layers_at_once_and_nothing_of_them_when_it_is_told_so(hub, machine):
    hub.image(layers=[layer_of(name) for name in "abc"])
    name, shorts = f"{hub.address}/app:1", [digest[7:19].encode() for digest in hub.layers()]
    seen = threading.Event()
    for digest in hub.layers():
        hub.rules.append(on(digest, lambda *_: not seen.wait(60)))
    said = on_a_terminal(machine, "pull", name, until=[*shorts, "━".encode()], then=seen.set)
    assert seen.is_set(), said
    frames = said.split(b"\x1b[1A")
    assert all(any(short in frame for frame in frames) for short in shorts)
    assert b"Status: Downloaded newer image" in said
    machine.cli("rmi", name)
    assert on_a_terminal(machine, "pull", "-q", name, until=[], then=int) == f"{name}\r\n".encode()


def test_a_terminal_shows_that_apply_pulls(hub, machine):
    hub.image(layers=[tiny_layer()])
    seen = threading.Event()
    hub.rules.append(on(hub.layers()[0], lambda *_: not seen.wait(60)))
    sleep = {"command": ["sleep", "1000"], "stop_grace_period": "0s"}
    path = machine.spec({"containers": {"one": {**sleep, "image": f"{hub.address}/app:1"}}})
    said = on_a_terminal(machine, "apply", path, until=[b"pulling"], then=seen.set)
    assert seen.is_set(), said


@pytest.mark.parametrize("verb", ["pull", "apply"])
def test_images_are_pulled_at_once_also_where_they_share_a_layer(hub, machine, verb):
    together = threading.Barrier(2)
    sleep = {"command": ["sleep", "1000"], "stop_grace_period": "0s"}
    names = {tag: f"{hub.address}/app:{tag}" for tag in ("one", "two")}
    for tag in names:
        hub.image(reference=tag, layers=[tiny_layer(), layer_of(tag)], pack="plain")
        # Neither is answered before both are asked for.
        hub.rules.append(on(hub.layers(tag)[1], lambda *_: together.wait(60) < 0, times=1))
    if verb == "pull":
        machine.cli("pull", *names.values())
    else:
        machine.apply({"containers": {tag: {**sleep, "image": name} for tag, name in names.items()}})
    assert not together.broken
    assert len(hub.asked(hub.layers("one")[0])) == 1, "what they share comes once"


@pytest.mark.parametrize("there", [True, False])
def test_the_demo_makes_images_where_no_registry_has_them_only(hub, machine, tmp_path, there):
    settings = {"docker.io": {"mirrors": [hub.url]}}
    machine.environment["RECONCILER_CONFIG"] = configured(
        tmp_path, hub, registries=settings, images={"docker.io/library": f"{hub.address}/library"}
    )
    for name, tag in (("mariadb", "10.11"), ("wordpress", "6.1")) if there else ():
        hub.image(repository=f"library/{name}", reference=tag, layers=[layer_of(name)])
    place, called = tmp_path / "project", tmp_path / "called"
    for folder in (".venv/bin", "examples/images"):
        os.makedirs(place / folder)
    shutil.copy(os.path.join(PROJECT, "examples", "demo"), place / "examples" / "demo")
    real = " ".join(machine.argv())
    log = f'echo "${{0##*/}} $*" >> {called}\n'
    scripts = {
        ".venv/bin/python": "",
        ".venv/bin/reconciler": f'{log}case $1 in inspect | pull) exec {real} "$@" ;; port) echo 127.0.0.1:1 ;; esac\n',
        "examples/images/build.py": log,
    }
    for path, text in scripts.items():
        (place / path).write_text("#!/bin/sh\n" + text)
        (place / path).chmod(0o755)
    subprocess.run([place / "examples" / "demo"], env=machine.environment, check=True, capture_output=True)
    said = called.read_text().splitlines()
    assert "reconciler pull mariadb:10.11 wordpress:6.1" in said
    assert ("build.py mariadb wordpress" in said) == (not there)
    assert any(line.startswith("reconciler load ") for line in said) == (not there)
    assert said.index("reconciler apply --wait specs/wordpress.yaml") > 0
    if there:
        machine.cli("inspect", "--type", "image", "mariadb:10.11", "wordpress:6.1")
