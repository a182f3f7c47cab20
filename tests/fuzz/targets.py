"""What takes bytes that strangers wrote, as functions of bytes: each ends well or with a `ReconcilerError`, and changes nothing else.

Used by test_targets.py (Hypothesis, a few seconds, in `make test`) and by fuzz.py (atheris, as long as you like).
`SEEDS` are inputs that are right, to begin with.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile

from reconciler.engine.containers import users
from reconciler.engine.images import configuration, streams
from reconciler.engine.images.catalog import Images
from reconciler.engine.images.unpack import unpack
from reconciler.engine.kernel.rooted import open_root
from reconciler.engine.paths import Paths
from reconciler.engine.store import Store
from reconciler.kits import references
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
}
