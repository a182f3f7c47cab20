"""A registry that drops, lies, is busy, hangs, redirects: a pull goes on where it can, and ends clearly where it can't."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time

import pytest
from imagelab import NOTHING, config_of, entry, remains, sha, tar
from registrylab import (
    Hub,
    busy,
    configured,
    content,
    cut,
    downloads,
    dropping,
    hang,
    layer_of,
    noise,
    on,
    opened_images,
    refuse,
    reply,
    running,
    until,
)

from reconciler.engine.images import streams, unpack
from reconciler.engine.images.registry.downloads import Arrival
from reconciler.engine.images.registry.watching import Watch
from reconciler.engine.images.removal import Prunable, Removal
from reconciler.engine.images.streams import Limits
from reconciler.kits.errors import ReconcilerError


def refused(images, name, code, *words):
    """The pull fails so, and leaves no trace of an image."""
    with pytest.raises(ReconcilerError) as raised:
        images.pull(name)
    error = raised.value
    assert error.code == code, error
    for word in words:
        assert word in str(error), error
    assert images.list() == ()
    return error


def pristine(images):
    """Not a byte is left of what came."""
    root = images._paths.root
    assert downloads(images) == {}
    assert {key: value for key, value in remains(root).items() if key in NOTHING} == NOTHING


# Connections that break


@pytest.mark.parametrize("after", [0, 1, 70_000, 262_144, 299_999])
def test_a_broken_connection_is_gone_on_with_where_it_broke(hub, images, after):
    hub.image(layers=[layer_of("a", 300_000)])
    digest = hub.layers()[0]
    hub.rules.append(on(digest, dropping(hub, after), times=3))
    images.pull(f"{hub.address}/app:1")
    size = len(hub.blobs[digest])
    starts = [request.headers.get("Range", "bytes=0-") for request in hub.asked(digest)]
    assert starts == [f"bytes={number * after}-" for number in range(4) if number * after < size][: len(starts)]
    assert len(starts) == min(4, 1 + size // after if after else 4)
    assert content(images, f"{hub.address}/app:1")["dir/a"] == noise(300_000, "a0")


def test_a_reset_connection_is_gone_on_with(hub, images):
    hub.image(layers=[layer_of("a", 300_000)])
    digest = hub.layers()[0]
    hub.rules.append(on(digest, dropping(hub, 100_000, reset=True), times=2))
    images.pull(f"{hub.address}/app:1")
    assert len(hub.asked(digest)) == 3
    assert content(images, f"{hub.address}/app:1")["dir/a"] == noise(300_000, "a0")


def test_as_long_as_something_comes_it_goes_on(hub, images):
    hub.image(layers=[layer_of("a", 300_000)])
    hub.rules.append(on(hub.layers()[0], dropping(hub, 12_000)))
    images.pull(f"{hub.address}/app:1")
    assert len(hub.asked(hub.layers()[0])) > 20


def test_what_came_before_a_failure_is_kept_for_the_next_run(hub, images):
    hub.image(layers=[layer_of("small"), layer_of("big", 300_000)])
    big = hub.layers()[1]
    rule = on(
        big, lambda request, handler: dropping(hub, 100_000 if "Range" not in request.headers else 0)(request, handler)
    )
    hub.rules.append(rule)
    error = refused(images, f"{hub.address}/app:1", "unreachable", "layer 2 of 2", "pull again to go on")
    assert "kept" in error.hint
    assert downloads(images)[big[7:]] == 100_000
    hub.rules.remove(rule)
    hub.requests.clear()
    images.pull(f"{hub.address}/app:1")
    assert [request.headers.get("Range") for request in hub.blob_requests()] == ["bytes=100000-"]
    assert downloads(images) == {}


def test_prune_frees_what_a_pull_left_unless_one_is_at_work(hub, images):
    hub.image(layers=[layer_of("big", 300_000)])
    hub.rules.append(on(hub.layers()[0], dropping(hub, 100_000), times=1))
    hub.rules.append(on(hub.layers()[0], lambda _, h: refuse(h, 403, "DENIED", "no")))
    refused(images, f"{hub.address}/app:1", "denied")
    assert list(downloads(images).values()) == [100_000]
    assert images.prune(Prunable(until=1.0)) == images.prune(Prunable(labels=(("a", None, True),))) == Removal()
    with images._workshop(lambda _text: None).opened():
        assert images.prune(Prunable()) == Removal()
    assert list(downloads(images).values()) == [100_000]
    assert images.prune(Prunable()) == Removal(reclaimed=100_000)
    pristine(images)


def test_after_a_kill_the_next_run_goes_on_and_nothing_stays(hub, make_machine):
    machine = make_machine(images=False)
    machine.environment |= {"RECONCILER_CONFIG": os.environ["RECONCILER_CONFIG"]}
    hub.image(layers=[layer_of("big", 900_000)])
    sent = threading.Event()

    def stop_in_the_middle(_request, handler):
        data = hub.blobs[hub.layers()[0]]
        reply(handler, 200, data[:500_000], {"Content-Length": str(len(data))})
        handler.wfile.flush()
        sent.set()
        hub.ended.wait(30)
        handler.close_connection = True

    rule = on(hub.layers()[0], stop_in_the_middle)
    hub.rules.append(rule)
    process = subprocess.Popen(
        machine.argv("pull", "-q", f"{hub.address}/app:1"), env=machine.environment, cwd=machine.folder
    )
    place = os.path.join(machine.root, "downloads", hub.layers()[0][7:])
    end = time.monotonic() + 30
    while not (os.path.exists(place) and os.stat(place).st_size >= 262_144):
        assert time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    process.wait()
    kept = os.stat(place).st_size
    hub.rules.remove(rule)
    hub.requests.clear()
    assert machine.cli("pull", "-q", f"{hub.address}/app:1").out == f"{hub.address}/app:1\n"
    assert [request.headers.get("Range") for request in hub.blob_requests()] == [f"bytes={kept}-"]
    assert os.listdir(os.path.join(machine.root, "downloads")) == []
    assert os.listdir(os.path.join(machine.root, "staging")) == []


def test_what_lies_there_and_is_wrong_is_fetched_anew(hub, images):
    hub.image(layers=[layer_of("a", 200_000)])
    os.makedirs(images._paths.downloads)
    place = os.path.join(images._paths.downloads, hub.layers()[0][7:])
    for rotten in (b"x" * 50_000, b"x" * 10_000_000, hub.blobs[hub.layers()[0]][:99_999] + b"x"):
        with open(place, "wb") as file:
            file.write(rotten)
        images.pull(f"{hub.address}/app:1")
        assert content(images, f"{hub.address}/app:1")["dir/a"] == noise(200_000, "a0")
        images.remove(f"{hub.address}/app:1")


def test_a_registry_without_ranges_is_read_again_from_the_start(hub, images):
    hub.image(layers=[layer_of("a", 300_000)])
    digest = hub.layers()[0]
    hub.rules.append(on(digest, dropping(hub, 150_000), times=1))
    hub.rules.append(on(digest, lambda _, handler: reply(handler, 200, hub.blobs[digest])))
    images.pull(f"{hub.address}/app:1")
    assert len(hub.asked(digest)) == 2


@pytest.mark.parametrize("span", ["bytes 200000-300000/300001", "bytes nonsense", ""])
def test_another_part_than_was_asked_for_is_refused(hub, images, span):
    hub.image(layers=[layer_of("a", 300_000)])
    digest = hub.layers()[0]
    hub.rules.append(on(digest, dropping(hub, 150_000), times=1))
    hub.rules.append(on(digest, lambda _, handler: reply(handler, 206, b"x" * 1000, {"Content-Range": span})))
    refused(images, f"{hub.address}/app:1", "unreachable", "another part than was asked for")


# Lies


def test_a_layer_with_other_bytes_is_refused(hub, images):
    hub.image(layers=[layer_of("a", 50_000), layer_of("b")])
    digest = hub.layers()[0]
    data = bytearray(hub.blobs[digest])
    data[30_000] ^= 1
    hub.blobs[digest] = bytes(data)
    refused(images, f"{hub.address}/app:1", "bad-image", "layer 1 of 2")
    assert digest[7:] not in downloads(images)
    hub.blobs[digest] = data[:30_000] + bytes([data[30_000] ^ 1]) + data[30_001:]
    assert images.pull(f"{hub.address}/app:1").changed


def test_a_valid_layer_in_the_place_of_another_is_refused(hub, images):
    hub.image(layers=[layer_of("a", 50_000)])
    digest = hub.layers()[0]
    hub.image(reference="2", layers=[layer_of("b", 50_000)])
    hub.blobs[digest] = hub.blobs[hub.layers("2")[0]]
    hub.changed(layers=[{"digest": digest, "size": len(hub.blobs[digest])}])
    refused(images, f"{hub.address}/app:1", "bad-image", f"the digest does not match: expected {digest}")
    pristine(images)


@pytest.mark.parametrize("difference", [-1000, 1000])
def test_a_size_that_is_not_the_manifests_is_refused(hub, images, difference):
    hub.image(layers=[layer_of("a", 50_000)])
    digest = hub.layers()[0]
    size = len(hub.blobs[digest])
    hub.changed(layers=[{"digest": digest, "size": size + difference}])
    refused(images, f"{hub.address}/app:1", "bad-image", f"expected {size + difference} bytes, the registry has {size}")
    pristine(images)


def test_a_layer_without_end_is_read_no_further_than_its_size(hub, images):
    hub.image(layers=[layer_of("a", 50_000)])
    sent = []

    def endless(_request, handler):
        reply(handler, 200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while not hub.ended.is_set() and len(sent) < 4000:
            handler.wfile.write(piece)
            sent.append(1)

    hub.rules.append(on(hub.layers()[0], endless))
    refused(images, f"{hub.address}/app:1", "bad-image")
    pristine(images)
    assert len(sent) < 400


def broken(hub, **changes):
    hub.image()
    hub.changed(**changes)


MANIFESTS = {
    "not-json": (lambda hub: hub.manifest("app", "1", b"{"), "not JSON"),
    "a-list": (lambda hub: hub.manifest("app", "1", b"[]"), "not a JSON object"),
    "a-web-page": (lambda hub: hub.manifest("app", "1", b"<html>", "text/html"), "a web page"),
    "schema-1": (lambda hub: broken(hub, schemaVersion=1, mediaType=None), "schema 1"),
    "both-kinds": (lambda hub: broken(hub, manifests=[]), "neither an image's manifest nor an index"),
    "no-layers": (lambda hub: broken(hub, layers=None), "neither an image's manifest nor an index"),
    "another-type": (
        lambda hub: broken(hub, mediaType="application/vnd.oci.image.index.v1+json"),
        "calls itself",
    ),
    "a-chart": (
        lambda hub: broken(hub, config=hub.blob(b"{}", mediaType="application/vnd.cncf.helm.config.v1+json")),
        "no container image but 'application/vnd.cncf.helm.config.v1+json'",
    ),
    "config-missing": (lambda hub: broken(hub, config=None), "config: not a descriptor"),
    "config-lies": (
        lambda hub: broken(hub, config={"digest": sha(b"x"), "size": 3}),
        "not found",
    ),
    "diff-ids-lie": (
        lambda hub: hub.image(config=config_of([layer_of("other")])),
        "the digest of the plain layer does not match",
    ),
    "one-layer-less": (lambda hub: hub.image(config=config_of([])), "speaks of 0 layers, the manifest of 1"),
    "odd-digest": (lambda hub: broken(hub, layers=[{"digest": "sha256:../../etc", "size": 1}]), "is no sha256 digest"),
    "odd-size": (lambda hub: broken(hub, layers=[{"digest": sha(b""), "size": -1}]), "is no size"),
    "huge-layer": (lambda hub: broken(hub, layers=[{"digest": sha(b""), "size": 1 << 50}]), "is no size"),
    "huge-config": (lambda hub: broken(hub, config={"digest": sha(b""), "size": 1 << 30}), "is no size"),
    "many-layers": (lambda hub: broken(hub, layers=[{"digest": sha(b""), "size": 1}] * 501), "501 layers"),
    "foreign": (
        lambda hub: broken(
            hub, layers=[{"digest": sha(b""), "size": 1, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]
        ),
        "must not distribute",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_is_not_what_it_should_be_is_refused(hub, images, case):
    make, words = MANIFESTS[case]
    make(hub)
    with pytest.raises(ReconcilerError) as raised:
        images.pull(f"{hub.address}/app:1")
    assert words in str(raised.value)
    assert "app:1" in str(raised.value)
    pristine(images)


def test_a_manifest_under_a_digest_that_the_registry_claims_wrongly_is_refused(hub, images):
    hub.image()
    data, kind = hub.manifests["app", "1"]
    claim = {"Content-Type": kind, "Docker-Content-Digest": sha(b"other")}
    hub.rules.append(on("/manifests/1", lambda _, handler: reply(handler, 200, data, claim)))
    refused(images, f"{hub.address}/app:1", "bad-image", "the digest does not match")


def test_a_manifest_without_end_is_given_up(hub, images):
    sent = []

    def endless(_request, handler):
        reply(handler, 200, b"", {"Content-Length": None, "Connection": "close"})
        handler.close_connection = True
        while len(sent) < 1000 and not hub.ended.is_set():
            handler.wfile.write(b" " * 65536)
            sent.append(1)

    hub.rules.append(on("/manifests/", endless))
    refused(images, f"{hub.address}/app:1", "unreachable", "too much")
    assert len(sent) < 500


def test_indexes_in_a_circle_end(hub, images):
    inner = hub.index("app", "deep", hub.image())
    for _ in range(8):
        inner = hub.index("app", "deep", inner)
    refused(images, f"{hub.address}/app:deep", "bad-image", "nested too deep")


def test_a_bomb_is_refused(hub, tmp_path):
    hub.image(layers=[layer_of("zeros", 10)[:512] + b"\0" * 8_000_000])
    with opened_images(tmp_path / "small", Limits(bytes=1_000_000)) as images:
        refused(images, f"{hub.address}/app:1", "bad-image", "unpacks to more than 1MB")
        pristine(images)


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n"],
)
def test_what_is_no_http_is_told_so(hub, images, garbage):
    def act(_request, handler):
        handler.wfile.write(garbage)
        handler.close_connection = True

    hub.rules.append(on("/v2/", act))
    refused(images, f"{hub.address}/app:1", "unreachable", hub.address)


# Busy, away, silent


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(hub, images, status):
    hub.image()
    hub.rules.append(on("/manifests/", busy(status), times=2))
    hub.rules.append(on("/blobs/", busy(status), times=3))
    assert images.pull(f"{hub.address}/app:1").changed


def test_retry_after_is_waited_for(hub, images):
    hub.image()
    hub.rules.append(on(hub.layers()[0], busy(429, {"Retry-After": "1"}), times=1))
    heard = []
    began = time.monotonic()
    images.pull(f"{hub.address}/app:1", progress=lambda *facts: heard.append(facts[1]))
    assert time.monotonic() - began >= 1.0
    assert any("429 Too Many Requests: retrying in 1 s" in phase for phase in heard)


def test_a_registry_that_asks_for_hours_is_not_waited_for(hub, images):
    hub.image()
    hub.rules.append(on("/manifests/", busy(429, {"Retry-After": "21600"})))
    error = refused(images, f"{hub.address}/app:1", "busy", "429 Too Many Requests", "asks to wait 6 hours")
    assert "log in" in error.hint


def test_a_registry_that_stays_busy_is_given_up(hub, images):
    hub.image()
    hub.rules.append(on("/manifests/", busy(503)))
    refused(images, f"{hub.address}/app:1", "busy", "503 Service Unavailable")
    assert len(hub.asked("/manifests/1")) == 5


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_a_registry_that_hangs_is_given_up_in_time(hub, images, tmp_path, monkeypatch, where):
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, pull={"idle_timeout": "200ms"}))
    hub.image()
    hub.rules.append(on(where, hang(hub)))
    refused(images, f"{hub.address}/app:1", "unreachable", "does not answer within 0.2 s")


def test_a_layer_that_stalls_is_gone_on_with_on_another_connection(hub, images, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, pull={"idle_timeout": "200ms"}))
    hub.image(layers=[layer_of("a", 300_000)])
    digest = hub.layers()[0]

    def stall(_request, handler):
        data = hub.blobs[digest]
        reply(handler, 200, data[:262_144], {"Content-Length": str(len(data))})
        hang(hub)(_request, handler)

    hub.rules.append(on(digest, stall, times=1))
    images.pull(f"{hub.address}/app:1")
    assert hub.asked(digest)[1].headers["Range"] == "bytes=262144-"


def test_a_pull_that_takes_too_long_ends(hub, images, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "RECONCILER_CONFIG", configured(tmp_path, hub, pull={"idle_timeout": "1m", "time_limit": "300ms"})
    )
    hub.image()

    def trickle(_request, handler):
        reply(handler, 200, b"", {"Content-Length": "1000000"})
        while not hub.ended.wait(0.01):
            handler.wfile.write(b"{")

    hub.rules.append(on("/manifests/", trickle))
    refused(images, f"{hub.address}/app:1", "deadline", "time_limit")


@pytest.mark.parametrize(
    ("end", "pack", "where", "function"),
    [
        ("interrupted", "plain", Arrival, "wait"),
        ("interrupted", "gzip", streams, "_check_size"),
        ("deadline", "gzip", streams, "_check_size"),
        ("interrupted", "gzip", unpack._Unpacker, "apply"),
    ],
)
def test_a_pull_ends_at_its_next_step_when_all_is_here_already(
    hub, images, tmp_path, monkeypatch, end, pack, where, function
):
    hub.image(layers=[tar(*(entry(f"file{number}", data=noise(1 << 20, number)) for number in range(6)))], pack=pack)
    if end == "deadline":
        monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, pull={"time_limit": "2s"}))
    there, stopped, calls = threading.Event(), threading.Event(), []
    stop, step = Watch.stop, getattr(where, function)

    def stopping(self, reason):
        stop(self, reason)
        stopped.set()

    def slow(*arguments):
        until(there.is_set)
        assert stopped.wait(20)
        calls.append(function)
        return step(*arguments)

    def progress(_layer, phase, _done, _total):
        if phase == "Download complete":
            there.set()

    monkeypatch.setattr(Watch, "stop", stopping)
    monkeypatch.setattr(where, function, slow)
    with pytest.raises(ReconcilerError) as raised:
        images.pull(
            f"{hub.address}/app:1", progress=progress, cancelled=lambda: end == "interrupted" and there.is_set()
        )
    assert raised.value.code == end
    assert len(calls) == 1
    assert downloads(images) == {digest[7:]: len(hub.blobs[digest]) for digest in hub.layers()}
    assert {key: value for key, value in remains(images._paths.root).items() if key in NOTHING} == NOTHING


def test_interim_answers_without_end_are_cut_off(hub, images, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, pull={"time_limit": "300ms"}))

    def forever(_request, handler):
        while not hub.ended.wait(0.001):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    hub.rules.append(on("/manifests/", forever))
    refused(images, f"{hub.address}/app:1", "deadline")


def test_nobody_at_the_address_is_told_at_once(images, tmp_path, monkeypatch):
    with running(Hub()) as gone:
        name = f"{gone.address}/app:1"
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, gone))
    error = refused(images, name, "unreachable", gone.address, "Connection refused")
    assert "reconciler load" in error.hint


@pytest.mark.usefixtures("hub")
def test_a_name_that_nobody_knows_is_told_at_once(images):
    refused(images, "registry.invalid/app:1", "unreachable", "registry.invalid can't be reached")


@pytest.mark.usefixtures("hub")
def test_a_registry_that_is_not_there_is_named_once_at_the_login(images):
    with pytest.raises(ReconcilerError, match=r"^registry\.invalid can't be reached: ") as caught:
        images.login("registry.invalid", "ann", "secret")
    assert caught.value.code == "unreachable"


# Names that are not there


def test_an_unknown_tag_and_an_unknown_repository_are_told_apart(hub, images):
    hub.image()
    refused(
        images, f"{hub.address}/app:2", "not-found", f"manifest for {hub.address}/app:2 not found: manifest unknown"
    )
    refused(images, f"{hub.address}/nosuch:1", "not-found", "has no such repository")
    with pytest.raises(ReconcilerError, match="not found"):
        images.remote_digest(f"{hub.address}/app:2")


# Redirects


def test_layers_may_lie_elsewhere_and_elsewhere_gets_no_credentials(hub, other, images, tmp_path):
    os.makedirs(tmp_path / "docker")
    with open(tmp_path / "docker" / "config.json", "w", encoding="utf-8") as file:
        json.dump({"auths": {hub.address: {"auth": "YTpi"}}}, file)
    hub.image(layers=[layer_of("a", 300_000)])
    other.blobs.update(hub.blobs)

    def guard(request, handler):
        if request.headers.get("Authorization") == "Basic YTpi":
            return False
        return reply(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

    def redirect(request, handler):
        return reply(handler, 307, b"", {"Location": f"{other.url}{request.path}?signature=1"})

    hub.rules += [guard, on("/blobs/", redirect)]
    other.rules.append(on(hub.layers()[0], dropping(other, 100_000), times=1))
    images.pull(f"{hub.address}/app:1")
    assert len(other.requests) == 3
    assert not any("Authorization" in request.headers for request in other.requests)
    # A signed address may have run out: who goes on asks the registry again.
    assert len(hub.asked(hub.layers()[0])) >= 2
    assert other.asked(hub.layers()[0])[1].headers["Range"] == "bytes=100000-"


def test_redirects_in_a_circle_end(hub, images):
    hub.rules.append(on("/manifests/", lambda r, h: reply(h, 307, b"", {"Location": r.path})))
    refused(images, f"{hub.address}/app:1", "unreachable", "redirects more than 5 times")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "gopher://x/", "http://[bad/", ""])
def test_redirects_to_odd_places_are_refused(hub, images, place):
    hub.image()
    hub.rules.append(on("/blobs/", lambda _, h: reply(h, 307, b"", {"Location": place} if place else {})))
    refused(images, f"{hub.address}/app:1", "unreachable")


# A disk without room


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_pull_that_cannot_fit_is_refused_before_it_begins(hub, small_disk):
    hub.image(layers=[layer_of("a", 9_000_000)])
    with opened_images(small_disk / "root") as images:
        refused(images, f"{hub.address}/app:1", "disk-full", "9MB are to be downloaded", "are free")
        pristine(images)
    assert hub.blob_requests() == []


@pytest.mark.parametrize("size", [1_500_000, 3_000_000])
def test_a_disk_that_fills_during_a_pull_is_told_and_emptied_again(hub, small_disk, size):
    layers = [layer_of("a", size), layer_of("b", 1_000_000), layer_of("c", 1_000_000)]
    hub.image(layers=layers)
    with opened_images(small_disk / "root") as images:
        error = refused(images, f"{hub.address}/app:1", "disk-full", "is full")
        assert "RECONCILER_ROOT" in error.hint
        pristine(images)
        hub.image(reference="2")
        assert images.pull(f"{hub.address}/app:2").changed


def test_a_connection_that_is_reset_between_two_requests_is_made_anew(hub, images):
    hub.image()

    def then_gone(request, handler):
        hub.serve(request, handler)
        cut(handler)

    hub.rules.append(on("/manifests/", then_gone))
    assert images.pull(f"{hub.address}/app:1").changed
