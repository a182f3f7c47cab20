"""Debian's docker-registry behind a proxy that spoils what it says: the real command pulls, and applies, all the same.

Or it ends soon, says why, and has touched nothing that runs.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import tarfile

import pytest
from registrylab import Hub, busy, configured, cut, hang, layer_of, on, reply, running
from support.machine import image
from support.registry import Pusher, docker_registry, sha

pytestmark = [pytest.mark.kernel, pytest.mark.images]

DROPPED = 400_000


class Front(Hub):
    """Answers as the registry behind it does; `pids` have to be alive whenever it is asked."""

    def __init__(self, behind):
        super().__init__()
        self.behind = behind
        self.pids, self.dead = [], []
        self.rules.append(self._see)

    def _see(self, request, _handler):
        self.dead += [(request, pid) for pid in self.pids if not os.path.exists(f"/proc/{pid}")]
        return False

    def fetched(self, request):
        """Status, headers and body from behind."""
        with contextlib.closing(http.client.HTTPConnection(self.behind)) as connection:
            names = ("Accept", "Range", "Authorization")
            sent = {name: request.headers[name] for name in names if name in request.headers}
            connection.request(request.method, request.path, headers=sent)
            answer = connection.getresponse()
            kept = ("Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest")
            return answer.status, {name: answer.headers[name] for name in kept}, answer.read()

    def serve(self, request, handler):
        status, headers, data = self.fetched(request)
        return reply(handler, status, data, headers)

    def starts(self):
        """Where the requests for the layer begin."""
        return [int(request.headers.get("Range", "bytes=0-")[6:-1]) for request in self.asked(self.layer)]

    # What it does to the layer

    def drop(self, request, handler):
        status, headers, data = self.fetched(request)
        reply(handler, status, data[:DROPPED], headers)
        cut(handler)

    def trickle(self, request, handler):
        """In sum longer than the registry may be silent."""
        status, headers, data = self.fetched(request)
        reply(handler, status, b"", headers)
        piece = len(data) // 9 + 1
        for at in range(0, len(data), piece):
            self.ended.wait(0.3)
            handler.wfile.write(data[at : at + piece])

    def falsify(self, request, handler):
        status, headers, data = self.fetched(request)
        reply(handler, status, data[:-1] + bytes([data[-1] ^ 1]), headers)

    def enlarge(self, request, handler):
        status, headers, data = self.fetched(request)
        reply(handler, status, data + 100 * b"x", {**headers, "Content-Length": str(len(data) + 100)})


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """A registry with the tiny image and a layer more as app:1; its address, that layer's digest, both layers' sizes."""
    with tarfile.open(image("tiny")) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))
        config = json.load(archive.extractfile(entry["Config"]))
        (low,) = [archive.extractfile(name).read() for name in entry["Layers"]]
    high = layer_of("a", 1_000_000)
    config["rootfs"]["diff_ids"].append(sha(high))
    config.pop("history", None)
    packed = [gzip.compress(layer, 1, mtime=0) for layer in (low, high)]
    with docker_registry(str(tmp_path_factory.mktemp("registry"))) as address:
        Pusher(address).image("app", "1", json.dumps(config).encode(), packed)
        yield address, sha(packed[1]), [len(layer) for layer in packed]


@pytest.fixture
def front(behind):
    address, digest, sizes = behind
    with running(Front(address)) as made:
        made.layer, made.size, made.low = digest, sizes[1], sizes[0]
        yield made


@pytest.fixture(params=["pull", "apply"])
def attempt(request, front, make_machine, tmp_path):
    """A function that pulls app:1 by the verb or by a step of `apply` that would replace a container in use."""
    applied = request.param == "apply"
    machine = make_machine(images=applied, disk="64m")
    machine.environment |= {"DOCKER_CONFIG": os.path.join(machine.folder, "docker"), "HOME": machine.folder}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        machine.environment.pop(name, None)
    one = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
    if applied:
        machine.apply({"containers": {"one": one}})
        front.pids.append(json.loads(machine.cli("inspect", "one").out)[0]["State"]["Pid"])
    name = f"{front.address}/app:1"

    def run(*, code=0, **pull):
        machine.environment["RECONCILER_CONFIG"] = configured(tmp_path, front, pull=pull)
        if not applied:
            ran = machine.cli("pull", name, code=code)
        else:
            before = machine.record("one").id
            ran = machine.apply({"containers": {"one": {**one, "image": name}}}, code=code)
            assert front.dead == [], "stopped before all was there"
            assert machine.state("one") == "running"
            assert (machine.record("one").id == before) == bool(code)
        assert (name.rpartition(":")[0] in machine.cli("images").out) == (not code)
        return ran

    run.machine, run.wanted = machine, front.size + (0 if applied else front.low)
    return run


def test_a_slow_one_is_waited_for_as_long_as_something_comes(front, attempt):
    front.rules.append(on(front.layer, front.trickle))
    attempt(idle_timeout="2s")
    assert front.starts() == [0]


def test_one_that_drops_connections_is_not_asked_again_for_what_is_here(front, attempt):
    front.rules.append(on(front.layer, front.drop))
    attempt()
    assert front.starts() == list(range(0, front.size, DROPPED))
    assert len(front.starts()) > 2


@pytest.mark.parametrize(("how", "words"), [("falsify", "layer 2 of 2"), ("enlarge", "bytes, the registry has")])
def test_one_that_lies_is_told_and_believed_when_it_says_the_truth(front, attempt, how, words):
    front.rules.append(on(front.layer, getattr(front, how), times=1))
    assert words in attempt(code=1).err
    assert not os.path.exists(attempt.machine.paths.downloads) or os.listdir(attempt.machine.paths.downloads) == []
    attempt()


def test_one_that_is_busy_for_a_while_is_asked_again(front, attempt):
    front.rules += [
        on("/manifests/", busy(503), times=1),
        on("/manifests/", busy(429, {"Retry-After": "1"}), times=1),
        on(front.layer, busy(429, {"Retry-After": "1"}), times=1),
        on(front.layer, busy(503), times=1),
    ]
    attempt()
    assert len(front.starts()) == 3


@pytest.mark.parametrize("attempt", ["pull"], indirect=True)
def test_one_that_is_busy_for_ever_is_given_up(front, attempt):
    front.rules.append(on("/manifests/", busy(503)))
    ran = attempt(code=1)
    assert "503 Service Unavailable" in ran.err
    assert "hint: try again later" in ran.err
    asked = [request for request in front.requests if "/manifests/" in request.path]
    assert len(asked) <= 10, "five times for each question"


def test_one_that_hangs_is_given_up(front, attempt):
    silent = on("/manifests/", hang(front))
    front.rules.append(silent)
    ran = attempt(code=1, idle_timeout="1s")
    assert f"{front.address} does not answer within 1 s" in ran.err
    front.rules.remove(silent)
    front.rules.append(on(front.layer, hang(front)))
    ran = attempt(code=1, idle_timeout="1m", time_limit="3s")
    assert "time_limit in config.yaml allows more" in ran.err


def test_a_disk_that_fills_meanwhile_is_told_and_the_next_pull_has_its_room(attempt):
    """There is room for what comes, and not for what becomes of it."""
    machine = attempt.machine
    machine.cli("images")  # the store has its reserve by now
    machine.resize_disk(attempt.wanted + (300 << 10))
    before = machine.free()
    ran = attempt(code=1)
    assert f"the disk of {machine.root} is full" in ran.err
    assert "hint: remove images that nobody uses" in ran.err
    assert before - machine.free() <= 64 << 10, "nothing of it is kept"
    machine.resize_disk(32 << 20)
    attempt()
