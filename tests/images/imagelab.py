"""Builds image archives of every form in a few lines, and takes pictures of folders to compare."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import platform
import signal
import stat
import tarfile

try:
    from compression import zstd
except ImportError:
    from backports import zstd

from reconciler.engine.images.catalog import Images
from reconciler.engine.kernel import effects
from reconciler.engine.paths import Paths
from reconciler.engine.store import Store

OURS = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER = {"amd64": "s390x", "arm64": "s390x"}[OURS]


def entry(name, kind=tarfile.REGTYPE, data=b"", **facts):
    """A tar member: `facts` are TarInfo attributes (linkname, mode, uid, mtime, devmajor, pax_headers...)."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def folder(name, **facts):
    return entry(name, tarfile.DIRTYPE, **facts)


def link(name, target, **facts):
    return entry(name, tarfile.LNKTYPE, linkname=target, **facts)


def symlink(name, target, **facts):
    return entry(name, tarfile.SYMTYPE, linkname=target, **facts)


def tar(*members, form=tarfile.PAX_FORMAT):
    """The bytes of a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


PACKERS = {"plain": bytes, "gzip": lambda data: gzip.compress(data, 1), "zstd": zstd.compress, "xz": lzma.compress}


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_of(layers, **changes):
    return json.dumps(
        {
            "architecture": OURS,
            "os": "linux",
            "config": {"Cmd": ["/bin/app"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": [sha(layer) for layer in layers]},
            **changes,
        }
    ).encode()


def docker_files(layers, tags=("app:1",), pack=bytes, config=None):
    """name -> content of a docker-archive."""
    config = config or config_of(layers)
    name = sha(config)[7:] + ".json"
    names = [sha(layer)[7:] + "/layer.tar" for layer in layers]
    manifest = [{"Config": name, "RepoTags": list(tags) or None, "Layers": names}]
    return {
        name: config,
        **{name: pack(layer) for name, layer in zip(names, layers, strict=True)},
        "manifest.json": json.dumps(manifest).encode(),
    }


class Layout:
    """An OCI layout that is put together blob by blob."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        self.manifests = []

    def blob(self, data, **more):
        self.files["blobs/sha256/" + sha(data)[7:]] = data
        return {"digest": sha(data), "size": len(data), **more}

    def image(self, layers, pack=bytes, config=None):
        """Descriptor of a manifest."""
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(config or config_of(layers)),
            "layers": [self.blob(pack(layer)) for layer in layers],
        }
        return self.blob(json.dumps(manifest).encode(), mediaType="application/vnd.oci.image.manifest.v1+json")

    def index(self, *manifests):
        """Descriptor of a nested index."""
        data = json.dumps({"schemaVersion": 2, "manifests": list(manifests)}).encode()
        return self.blob(data, mediaType="application/vnd.oci.image.index.v1+json")

    def add(self, descriptor, name="", key="org.opencontainers.image.ref.name", **more):
        self.manifests.append({**descriptor, **more, **({"annotations": {key: name}} if name else {})})
        return self

    def done(self):
        index = json.dumps({"schemaVersion": 2, "manifests": self.manifests}).encode()
        return {**self.files, "index.json": index}


def write_folder(path, files):
    for name, data in files.items():
        target = os.path.join(path, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
    return str(path)


def write_tar(path, files, pack=bytes):
    with open(path, "wb") as file:
        file.write(pack(tar(*(entry(name, data=data) for name, data in files.items()))))
    return str(path)


def images_at(path, limits=None):
    paths = Paths.of(str(path), str(path) + "-run")
    return Images(Store(paths), paths, limits)


def load(path, archive, limits=None):
    """Load with a catalog of its own, closed afterwards."""
    catalog = images_at(path, limits)
    try:
        return catalog.load(archive)
    finally:
        catalog._store.close()


def remains(path):
    """What a root holds: folders of layers, configurations, staging, and the rows; all empty when nothing arrived."""
    catalog = images_at(path)
    held = {
        name: sorted(os.listdir(os.path.join(path, name))) if os.path.isdir(os.path.join(path, name)) else []
        for name in ("layers", "staging", "content/sha256")
    }
    with catalog._store.read() as rows:
        for table in ("layers", "images", "tags"):
            held[f"rows of {table}"] = [tuple(row) for row in rows.execute(f"SELECT * FROM {table}")]
    catalog._store.close()
    return held


NOTHING = {
    name: [] for name in ("layers", "staging", "content/sha256", "rows of layers", "rows of images", "rows of tags")
}


def picture(root, *, times=True):
    """path -> all that makes a file, for the whole tree; hard links by the first name of their inode."""
    seen, facts = {}, {}
    top = os.fsencode(root)
    for where, folders, names in os.walk(top):
        folders.sort()
        for name in [b".", *sorted(folders + names)] if where == top else sorted(folders + names):
            path = os.path.join(where, name)
            found = os.lstat(path)
            key = os.path.relpath(path, top)
            first = seen.setdefault(found.st_ino, key)
            is_folder = stat.S_ISDIR(found.st_mode)
            facts[key] = (
                oct(found.st_mode), found.st_uid, found.st_gid, found.st_rdev,
                0 if is_folder else found.st_size, found.st_mtime_ns if times else 0, first,
                _content(path, found.st_mode), _xattrs(path),
            )  # fmt: skip
    return facts


def _content(path, mode):
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return b""


def _xattrs(path):
    with contextlib.suppress(OSError):
        return {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
    return {}


class KillAt:
    """A watcher of effects that kills this process before or after the one of that number."""

    def __init__(self, number, *, after):
        self.left, self.after_it = number, after

    def before(self, _name, _arguments):
        self._count(at=not self.after_it)

    def after(self, _name, _arguments):
        self._count(at=self.after_it)

    def _count(self, *, at):
        if at:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def in_child(act, watcher=None):
    """Run it in a process of its own; its wait status."""
    child = os.fork()
    if not child:
        code = 1
        try:
            effects.watch(watcher)
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
