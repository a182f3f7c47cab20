"""What a pull brings, what it does not fetch again, and where it looks."""

from __future__ import annotations

import json
import threading

import pytest
from imagelab import OTHER, OURS, config_of, entry, folder, tar
from registrylab import configured, content, downloads, layer_of, on, opened_images, running, until
from support.registry import DOCKER_MANIFEST

from reconciler.kits.errors import ReconcilerError


@pytest.mark.parametrize("pack", ["gzip", "zstd", "plain"])
@pytest.mark.parametrize("kind", ["application/vnd.oci.image.manifest.v1+json", DOCKER_MANIFEST])
def test_a_pull_brings_the_image_under_its_name_and_its_digest(hub, images, pack, kind):
    found = hub.image(layers=[layer_of("low", 300_000), layer_of("high", 10)], pack=pack, kind=kind)
    pulled = images.pull(f"{hub.address}/app:1")
    assert (pulled.reference, pulled.digest, pulled.changed) == (f"{hub.address}/app:1", found["digest"], True)
    assert sorted(content(images, f"{hub.address}/app:1")) == ["dir/high", "dir/low"]
    assert images.find(f"{hub.address}/app@{found['digest']}").id == pulled.id
    assert images.digest_of(f"{hub.address}/app:1") == found["digest"]
    assert json.loads(images.configuration(pulled.id))["os"] == "linux"
    assert downloads(images) == {}


def test_what_is_here_is_not_fetched_again(hub, images):
    shared = layer_of("shared")
    hub.image(reference="1", layers=[shared, layer_of("one")])
    hub.image(reference="2", layers=[shared, layer_of("two")])
    images.pull(f"{hub.address}/app:1")
    assert images.pull(f"{hub.address}/app:1").changed is False
    images.pull(f"{hub.address}/app:2")
    shared_digest = hub.layers("1")[0]
    assert hub.layers("2")[0] == shared_digest
    assert len(hub.asked(shared_digest)) == 1
    assert len(hub.blob_requests("1")) == 2
    assert sorted(content(images, f"{hub.address}/app:2")) == ["dir/shared", "dir/two"]


def test_a_moved_tag_is_seen_and_followed(hub, images):
    name = f"{hub.address}/app:1"
    hub.image(layers=[layer_of("old")])
    images.pull(name)
    moved = hub.image(layers=[layer_of("new")])
    assert images.remote_digest(name) == moved["digest"] != images.digest_of(name)
    assert images.pull(name).changed is True
    assert images.digest_of(name) == moved["digest"]
    assert list(content(images, name)) == ["dir/new"]
    # The question alone fetches nothing but a header.
    assert {request.method for request in hub.asked("/manifests/1")[1:2]} == {"HEAD"} or hub.asked(
        "/manifests/1", "HEAD"
    )


def test_by_digest_it_is_that_manifest_or_none(hub, images):
    digest = hub.image()["digest"]
    hub.image(layers=[layer_of("newer")])
    pulled = images.pull(f"{hub.address}/app@{digest}")
    assert pulled.digest == digest
    assert list(content(images, f"{hub.address}/app@{digest}")) == ["dir/a"]
    hub.manifests["app", digest] = hub.manifests["app", "1"]
    with opened_images(images._paths.root + ".other") as empty:
        with pytest.raises(ReconcilerError, match=f"digest does not match: expected {digest}"):
            empty.pull(f"{hub.address}/app@{digest}")
        assert empty.list() == ()


def platformed(hub, *platforms, reference="multi"):
    """An index of images that differ in one file's name."""
    found = []
    for platform in platforms:
        system, architecture, *variant = platform.split("/")
        layers = [layer_of(platform.replace("/", "-"))]
        config = config_of(layers, os=system, architecture=architecture, variant="".join(variant))
        about = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        found.append({**hub.image(reference=f"only-{len(found)}", layers=layers, config=config), "platform": about})
    attestation = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    unknown = {"platform": {"os": "unknown", "architecture": "unknown"}}
    odd = {**hub.image(reference="attestation", layers=[]), **attestation, **unknown}
    return hub.index("app", reference, odd, *found)


def test_an_index_is_searched_for_this_machines_platform(hub, images):
    index = platformed(hub, f"linux/{OTHER}", f"linux/{OURS}", f"windows/{OURS}")
    pulled = images.pull(f"{hub.address}/app:multi")
    assert pulled.digest == index["digest"]
    assert list(content(images, pulled.reference)) == [f"dir/linux-{OURS}"]


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("linux/arm/v6", "linux-arm-v6"),
        ("linux/arm", "linux-arm-v7"),
        ("linux/arm64/v8", "linux-arm64"),
        ("aarch64", "linux-arm64"),
        ("linux/x86_64", "linux-amd64"),
    ],
)
def test_another_platform_is_pulled_when_it_is_asked_for(hub, images, asked, got):
    platformed(hub, "linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7")
    pulled = images.pull(f"{hub.address}/app:multi", platform=asked)
    assert list(content(images, pulled.reference)) == [f"dir/{got}"]


def test_a_platform_that_is_not_there_is_told_with_those_that_are(hub, images):
    platformed(hub, f"linux/{OTHER}", "linux/riscv64")
    with pytest.raises(
        ReconcilerError, match=rf"for linux/riscv64, linux/{OTHER}, not for this machine's linux/{OURS}"
    ):
        images.pull(f"{hub.address}/app:multi")
    with pytest.raises(ReconcilerError, match=r"not for linux/mips"):
        images.pull(f"{hub.address}/app:multi", platform="linux/mips")
    with pytest.raises(ReconcilerError, match="is not a platform"):
        images.pull(f"{hub.address}/app:multi", platform="linux/../x")
    hub.image(config=config_of([layer_of("a")], architecture=OTHER))
    with pytest.raises(ReconcilerError, match=f"for linux/{OTHER}, not for this"):
        images.pull(f"{hub.address}/app:1")
    assert images.list() == ()


def test_two_pulls_at_once_download_each_layer_once(hub, tmp_path):
    hub.image(layers=[layer_of(f"file{number}", 200_000) for number in range(4)])
    begun = threading.Barrier(2)
    hub.rules.append(on("/blobs/", lambda _, __: hub.ended.wait(0.05)))  # serves after a while
    results = []

    def pull():
        with opened_images(tmp_path / "root") as catalog:
            begun.wait()
            results.append(catalog.pull(f"{hub.address}/app:1").id)

    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert len(set(results)) == 1
    assert sorted(len(hub.asked(digest)) for digest in hub.layers()) == [1, 1, 1, 1]


def test_no_more_downloads_at_once_than_the_configuration_says(hub, images, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, pull={"parallel": 2}))
    hub.image(layers=[layer_of(f"file{number}") for number in range(6)])
    at_work, most = [], []
    layers = set(hub.layers())

    def slowly(request, handler):
        if request.path.rpartition("/")[2] not in layers:
            return False
        at_work.append(request)
        most.append(len(at_work))
        hub.ended.wait(0.03)
        at_work.remove(request)
        return hub.serve(request, handler)

    hub.rules.append(slowly)
    images.pull(f"{hub.address}/app:1")
    assert max(most) == 2


def test_a_layer_that_comes_twice_and_folders_that_a_layer_leaves_out(hub, images):
    low = tar(folder("etc", mode=0o700), entry("etc/a", data=b"1"))
    bare = tar(entry("etc/b", data=b"2"))
    hub.image(layers=[low, bare, layer_of("x"), bare])
    pulled = images.pull(f"{hub.address}/app:1")
    assert sorted(content(images, pulled.reference)) == ["dir/x", "etc/a", "etc/b"]


def test_progress_goes_from_the_first_to_the_last_byte_of_each_layer(hub, images):
    hub.image(layers=[layer_of("one", 400_000), layer_of("two", 10)])
    heard = []
    images.pull(f"{hub.address}/app:1", progress=lambda *facts: heard.append(facts))
    for digest in hub.layers():
        phases = [phase for layer, phase, _, _ in heard if layer == digest[7:19]]
        assert [phase for number, phase in enumerate(phases) if phase not in phases[:number]] == [
            "Pulling fs layer", "Waiting", "Downloading", "Download complete", "Extracting", "Pull complete",
        ]  # fmt: skip
        size = len(hub.blobs[digest])
        done = [done for layer, phase, done, total in heard if layer == digest[7:19] and phase == "Downloading"]
        assert done == sorted(done)
        assert done[-1] == size
    heard.clear()
    images.pull(f"{hub.address}/app:1", progress=lambda *facts: heard.append(facts))
    assert {phase for _, phase, _, _ in heard} == {"Already exists"}


# Where it looks


def test_mirrors_are_asked_in_their_order_before_the_registry(hub, other, images, tmp_path, monkeypatch):
    with running(type(hub)()) as empty:
        mirrors = {"docker.io": {"mirrors": ["http://127.0.0.1:9", empty.url, other.url]}}
        monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, registries=mirrors))
        other.image(repository="library/app", reference="latest")
        pulled = images.pull("app")
        assert pulled.reference == "docker.io/library/app:latest"
        assert images.find("app").id == pulled.id
        assert len(empty.asked("/manifests/latest")) == 1


def test_the_registry_is_asked_when_no_mirror_has_it_and_for_layers_that_a_mirror_lacks(
    hub, other, images, tmp_path, monkeypatch
):
    settings = {hub.address: {"insecure": True, "mirrors": [other.url]}}
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, registries=settings))
    hub.image(reference="only-there")
    images.pull(f"{hub.address}/app:only-there")
    layers = [layer_of("x"), layer_of("y", 5000)]
    for one in (hub, other):
        one.image(reference="2", layers=layers)
    del other.blobs[hub.layers("2")[1]]
    images.pull(f"{hub.address}/app:2")
    assert [len(other.asked(digest)) for digest in hub.layers("2")] == [1, 1]
    assert [len(hub.asked(digest)) for digest in hub.layers("2")] == [0, 1]


def test_a_substitute_is_fetched_under_the_name_that_was_asked_for(hub, images, tmp_path, monkeypatch):
    prefixes = {"docker.io/library": f"{hub.address}/mirror/hub", "quay.io": hub.address}
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, images=prefixes))
    hub.image(repository="mirror/hub/app", reference="3")
    hub.image(repository="team/tool", reference="1", layers=[layer_of("tool")])
    assert images.pull("app:3").reference == "docker.io/library/app:3"
    assert images.pull("quay.io/team/tool:1").reference == "quay.io/team/tool:1"
    assert list(content(images, "quay.io/team/tool:1")) == ["dir/tool"]


def test_a_registry_on_this_machine_may_do_without_tls(hub, images, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, pull={"connect_timeout": "1s"}))
    hub.image()
    assert images.pull(f"{hub.address}/app:1").changed


def test_a_pull_that_is_cancelled_ends_soon_and_leaves_what_came(hub, images):
    hub.image(layers=[layer_of("big", 600_000)])
    asked = threading.Event()

    def slowly(request, handler):
        if not request.path.endswith(hub.layers()[0]):
            return False
        data = hub.blobs[hub.layers()[0]]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:400_000])
        handler.wfile.flush()
        asked.set()
        hub.ended.wait(20)
        handler.close_connection = True
        return True

    hub.rules.append(slowly)
    with pytest.raises(ReconcilerError) as raised:
        images.pull(f"{hub.address}/app:1", cancelled=asked.is_set)
    assert raised.value.code == "interrupted"
    assert until(lambda: list(downloads(images).values())) >= [262_144]
    assert images.list() == ()
