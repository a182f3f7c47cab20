"""What takes bytes that strangers wrote, as functions of bytes: each ends well or with a `ReconcilerError`, and changes nothing else.

Used by test_targets.py (Hypothesis, a few seconds, in `make test`) and by fuzz.py (atheris, as long as you like).
`SEEDS` are inputs that are right, to begin with.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from types import SimpleNamespace

from reconciler.engine.containers import users
from reconciler.engine.images import configuration, platforms, streams
from reconciler.engine.images.catalog import Images
from reconciler.engine.images.registry import credentials, manifests
from reconciler.engine.images.registry.client import Document, Endpoint, Repository
from reconciler.engine.images.registry.wire import Wire, _Connection
from reconciler.engine.images.unpack import unpack
from reconciler.engine.kernel.rooted import open_root
from reconciler.engine.paths import Paths
from reconciler.engine.store import Store
from reconciler.kits import references
from reconciler.kits.configuration import Configuration
from reconciler.kits.errors import ReconcilerError
from reconciler.sources.files import FileTree
from reconciler.spec.resolve import load_stack

LIMITS = streams.Limits(entries=1000, bytes=1 << 20, ratio_floor=1 << 16)
BLOCK = 512


@contextlib.contextmanager
def playground():
    """A folder to write to, in one whose other content must stay as it is."""
    top = tempfile.mkdtemp(prefix="fuzz-")
    try:
        os.makedirs(os.path.join(top, "in"))
        with open(os.path.join(top, "canary"), "w", encoding="ascii") as file:
            file.write("alive")
        yield os.path.join(top, "in")
        assert sorted(os.listdir(top)) == ["canary", "in"], os.listdir(top)
        with open(os.path.join(top, "canary"), encoding="ascii") as file:
            assert file.read() == "alive"
    finally:
        shutil.rmtree(top)


def mended(data):
    """Blocks that look like tar headers with their checksum repaired, or nothing would get past it."""
    out = bytearray(data)
    for start in range(0, len(out) - BLOCK + 1, BLOCK):
        header = out[start : start + BLOCK]
        if header[257:262] == b"ustar":
            total = sum(header) - sum(header[148:156]) + 8 * 32
            out[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(out)


def layer(data):
    """A layer's tar into a folder."""
    with playground() as folder, tempfile.TemporaryFile() as file:
        file.write(mended(data))
        file.flush()
        with contextlib.suppress(ReconcilerError), open_root(folder) as root:
            unpack(streams.Span.whole(file.fileno()), root, LIMITS, "layer")


def archive(data):
    """A docker-archive or OCI layout as `load` takes it, with a root of its own."""
    with playground() as folder:
        path = os.path.join(folder, "archive.tar")
        with open(path, "wb") as file:
            file.write(mended(data))
        paths = Paths.of(os.path.join(folder, "root"), os.path.join(folder, "run"))
        os.makedirs(paths.root, 0o700)
        images = Images(Store(paths), paths, LIMITS)
        try:
            with contextlib.suppress(ReconcilerError):
                images.load(path)
        finally:
            images._store.close()


def stream(data):
    """Compressed content, by its first bytes."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as plain:
        file.write(data)
        file.flush()
        span = streams.Span.whole(file.fileno())
        if kind := streams.compression(span):
            with contextlib.suppress(ReconcilerError):
                streams.expand(span, kind, plain.fileno(), LIMITS, "stream")
        assert os.fstat(plain.fileno()).st_size <= LIMITS.bytes + (2 << 20)


def image_configuration(data):
    """An image's configuration; what was understood survives being stored."""
    with contextlib.suppress(ReconcilerError):
        found = configuration.parse(data, "configuration").image("sha256:" + 64 * "0", (), 0)
        json.dumps(found.environment)


def passwd(data):
    """User, passwd and group files, apart by NUL."""
    user, accounts, groups, *_ = [*data.decode("utf-8", "replace").split("\0"), "", ""]
    with contextlib.suppress(ReconcilerError):
        found = users.resolve(user, accounts, groups)
        numbers = (found.uid, found.gid, *found.groups)
        assert all(0 <= number < 1 << 32 for number in numbers), found
        assert "\0" not in found.home


def reference(data):
    """An image's name; one that is taken means the same when it is written out."""
    with contextlib.suppress(ReconcilerError):
        found = references.parse(data.decode("utf-8", "replace"))
        assert references.parse(str(found)) == found


def spec(data):
    """A spec, as it may come from somebody else's repository."""
    with playground() as folder:
        path = os.path.join(folder, "spec.yaml")
        with open(path, "wb") as file:
            file.write(data)
        with contextlib.suppress(ReconcilerError):
            load_stack(FileTree(path), {})


def copied(data):
    """A tar that `cp` unpacks into a folder in use."""
    with playground() as folder, tempfile.TemporaryFile() as file:
        os.makedirs(os.path.join(folder, "d", "inner"))
        for name in ("f", "d/g", "h"):
            with open(os.path.join(folder, name), "w", encoding="ascii") as made:
                made.write("there")
        os.symlink("../canary", os.path.join(folder, "d", "f"))
        os.symlink("..", os.path.join(folder, "up"))
        file.write(mended(data))
        file.flush()
        with contextlib.suppress(ReconcilerError), open_root(folder) as root:
            unpack(streams.Span.whole(file.fileno()), root, LIMITS, "archive", live=True)


def manifest(data):
    """What a registry says of an image, apart by NUL: index, manifest, configuration, each behind a line with its type.

    Digests are not compared here, or nothing that is damaged would be read.
    """
    parts = iter([*data.split(b"\0"), *[b""] * 9])

    def document(*_):
        kind, _, text = next(parts).partition(b"\n")
        return Document(text, "sha256:" + 64 * "0", kind.decode("latin-1"))

    repository = SimpleNamespace(manifest=document, document=lambda *_: document().data)
    with contextlib.suppress(ReconcilerError):
        found = manifests.find(repository, "1", platforms.wanted("linux/amd64"), LIMITS, "app:1")
        assert len(found.layers) == len(found.parsed.diff_ids)
        assert all(0 <= layer.size <= LIMITS.bytes for layer in found.layers)
        assert all(
            configuration.is_digest(blob) for blob in (found.config_digest, *(one.digest for one in found.layers))
        )


class _Canned(Wire):
    """No network: each request is answered by the next of several answers, byte for byte."""

    def __init__(self, answers):
        super().__init__(Configuration(), SimpleNamespace(check=int, sleep=id, left=9.0, release=id))
        self._answers = iter([*answers, *[b""] * 99])

    def _take(self, site, proxy):
        made = _Connection(self, site, proxy)
        answer = next(self._answers)
        made.connect = lambda: setattr(
            made, "sock", SimpleNamespace(makefile=lambda _: io.BytesIO(answer), sendall=len, close=int)
        )
        return made, False


def challenge(data):
    """Raw answers of a registry and a token server, apart by NUL: who asks for what, the token, then what it is for."""
    endpoint = Endpoint("https://registry.example.com", "registry.example.com")
    given = credentials.Credentials("ann", "secret")
    wire = _Canned(data.split(b"\0"))
    with contextlib.suppress(ReconcilerError):
        found = Repository(wire, endpoint, "app", "app:1", given).manifest("1")
        assert found.digest == "sha256:" + hashlib.sha256(found.data).hexdigest()


def docker_configuration(data):
    """Docker's config.json; what is found in it can be sent."""
    with playground() as folder, _environment("DOCKER_CONFIG", folder), _environment("PATH", folder):
        with open(os.path.join(folder, "config.json"), "wb") as file:
            file.write(data)
        for registry in ("docker.io", "registry.example.com"):
            with contextlib.suppress(ReconcilerError):
                found = credentials.find(registry)
                wire = _Canned([CHALLENGED])
                Repository(wire, Endpoint(f"https://{registry}", registry), "app", "app:1", found).manifest("1")


@contextlib.contextmanager
def _environment(name, value):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _tar(*names):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content, link in names:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), link
            member.pax_headers = {"SCHILY.xattr.user.x": "y"} if kind == tarfile.DIRTYPE else {}
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


LAYER = _tar(
    ("d", tarfile.DIRTYPE, b"", ""), ("d/f", tarfile.REGTYPE, b"content" * 99, ""), ("l", tarfile.SYMTYPE, b"", "../canary"),
    ("l/x", tarfile.REGTYPE, b"x", ""), ("h", tarfile.LNKTYPE, b"", "d/f"), (".wh.gone", tarfile.REGTYPE, b"", ""),
    ("c", tarfile.CHRTYPE, b"", ""), ("p" * 120, tarfile.REGTYPE, b"long", ""),
)  # fmt: skip
CONFIGURATION = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": ["/bin/app"], "Env": ["A=b"], "User": "1:2", "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 30_000_000_000, "Retries": 3}, "Labels": {"a": "b"},
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + 64 * "1"]},
    }
).encode()  # fmt: skip
_MANIFEST = json.dumps([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"]}]).encode()
ARCHIVE = _tar(
    ("c.json", tarfile.REGTYPE, CONFIGURATION, ""),
    ("l.tar", tarfile.REGTYPE, LAYER, ""),
    ("manifest.json", tarfile.REGTYPE, _MANIFEST, ""),
)
_DIGEST = {"digest": "sha256:" + 64 * "2", "size": 100}
_OCI = "application/vnd.oci.image.{}.v1+json"
MANIFEST = json.dumps({
    "schemaVersion": 2, "mediaType": _OCI.format("manifest"), "config": {**_DIGEST, "mediaType": _OCI.format("config")},
    "layers": [{**_DIGEST, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}],
}).encode()  # fmt: skip
INDEX = json.dumps({
    "schemaVersion": 2, "mediaType": _OCI.format("index"), "manifests": [
        {**_DIGEST, "platform": {"os": "linux", "architecture": "amd64", "variant": "v1"}},
        {**_DIGEST, "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
    ],
}).encode()  # fmt: skip


def _said(kind, text):
    return _OCI.format(kind).encode() + b"\n" + text


CHALLENGED = (
    b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n"
    b'WWW-Authenticate: Basic realm="a", Bearer realm="https://auth.example.com/token?a=b",service="hub",scope="a:b:pull"\r\n\r\n'
)
_GIVEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
_TOKEN = b'{"token": "abc", "access_token": "abc", "expires_in": 300}'
_BUSY = (
    b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nConnection: close\r\n\r\n" + b'{"errors": [{"code": "A", "message": "b"}]}'
)
AUTHS = {
    "https://index.docker.io/v1/": {"auth": "YW5uOnNlY3JldA=="},
    "registry.example.com": {"username": "ann", "password": "secret", "identitytoken": "", "registrytoken": ""},
}
SPEC = b"""apiVersion: reconciler/v1
kind: Stack
name: shop
containers:
  db: &db {image: mariadb:10.11, environment: [A=b], volumes: ["data:/data:ro"], ports: ["127.0.0.1:80-81:80-81/udp"]}
  web: {<<: *db, links: ["db:mysql"], restart: on-failure:3, healthcheck: {test: [CMD, x], interval: 1m30s}, cpus: ${N:-1.5}}
volumes: {data: {}}
"""

TARGETS = {
    "layer": (layer, (LAYER,)),
    "archive": (archive, (ARCHIVE,)),
    "stream": (stream, (gzip.compress(LAYER), b"\x28\xb5\x2f\xfd\x04\x58\x09\x00\x00abc", b"BZh9" + 20 * b"x")),
    "image_configuration": (image_configuration, (CONFIGURATION,)),
    "passwd": (passwd, (b"app:g\0app:x:1:2:n:/home:/bin/sh\n\0g:x:7:app,b\n", b"5:6\0\0")),
    "reference": (reference, (b"localhost:5000/a/b:tag@sha256:" + 64 * b"0", b"mariadb")),
    "spec": (spec, (SPEC,)),
    "copied": (copied, (LAYER,)),
    "manifest": (
        manifest,
        (
            b"\0".join([_said("index", INDEX), _said("manifest", MANIFEST), _said("config", CONFIGURATION)]),
            b"\0".join([_said("manifest", MANIFEST), _said("config", CONFIGURATION)]),
        ),
    ),
    "challenge": (
        challenge,
        (
            b"\0".join([CHALLENGED, _GIVEN + _TOKEN, _GIVEN + MANIFEST]),
            b"\0".join([CHALLENGED, _GIVEN + _TOKEN.replace(b"300", b"9" * 400), _GIVEN]),
            b"\0".join([_BUSY, CHALLENGED.replace(b"Basic", b"Other"), _GIVEN + b'{"details": "no"}', _GIVEN]),
        ),
    ),
    "docker_configuration": (
        docker_configuration,
        (
            json.dumps({"auths": AUTHS}).encode(),
            json.dumps({"auths": AUTHS, "credsStore": "nosuch", "credHelpers": {"registry.example.com": "x"}}).encode(),
            json.dumps({"credsStore": "a\0b", "auths": AUTHS}).encode(),
            json.dumps({"auths": {"registry.example.com": {"username": "\ud800", "password": "a"}}}).encode(),
            json.dumps({"auths": {"registry.example.com": {"registrytoken": "a\nb"}}}).encode(),
            json.dumps({"auths": {"registry.example.com": {"identitytoken": "\ud800"}}}).encode(),
        ),
    ),
}
