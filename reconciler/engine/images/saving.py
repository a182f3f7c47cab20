"""Images written as an archive, to a file or a pipe: docker-archive or OCI layout in a tar, layers byte for byte as they came.

An archive depends on nothing but the images: the same ones give the same bytes. Layers are plain tars, whatever they
came as; so a manifest is given back as it came only where its layers came plain, and else is a new one. Sources: OCI
image-spec (image-layout.md, manifest.md), docker save's manifest.json. Only `catalog.Images` calls it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

from reconciler.engine.images import configuration
from reconciler.engine.images.layers import keys_by_position
from reconciler.engine.images.tarsplit import Record
from reconciler.engine.kernel import files, rooted
from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.engine.images.layers import Layer
    from reconciler.engine.paths import Paths

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_PIECE = 256 << 10


class Chosen(Frozen):
    """An image to save: its id, the tags to save it under (canonical), its configuration and manifest as they came.

    `manifest` is b"" where none did.
    """

    id: str
    tags: tuple[str, ...]
    configuration: bytes
    manifest: bytes = b""


def save(paths: Paths, layers: Mapping[str, Layer], chosen: Iterable[Chosen], target: str, form: str) -> None:
    """Write the images to the file `target` ("-": standard output). A file is complete, or not there.

    `layers` are all that are here, by key. Raises `ReconcilerError` (code "damaged" for a layer that is not as it came) or
    OSError.
    """
    with _opened(target) as fd:
        archive = _Archive(fd)
        writer = _Writer(paths, layers, archive)
        if form == "oci":
            writer.oci(tuple(chosen))
        else:
            writer.docker(tuple(chosen))
        archive.finish()


@contextlib.contextmanager
def _opened(target: str) -> Iterator[int]:
    """A descriptor to write to: of standard output, of something that is no file, or of a file that is renamed at the end."""
    if target == "-":
        yield 1
        return
    if os.path.isdir(target):
        raise ReconcilerError(f"{printable(target)} is a folder", code="system", hint="name a file in it")
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        fd = files.open_for_writing(target)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    folder, name = os.path.split(os.path.realpath(target))
    aside = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}")
    try:
        fd = files.create(aside)
    except FileNotFoundError:
        raise ReconcilerError(f"no such folder: {printable(folder)}", code="not-found") from None
    try:
        yield fd
        files.rename(aside, os.path.join(folder, name))
    except BaseException:
        files.remove_file(aside)
        raise
    finally:
        os.close(fd)


class _Archive:
    """A tar that is written member by member."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._written = 0

    def add(self, name: str, data: bytes) -> None:
        self.add_pieces(name, len(data), (data,))

    def add_pieces(self, name: str, size: int, pieces: Iterable[bytes | memoryview]) -> str:
        """A file of exactly `size` bytes; returns its digest."""
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o644
        self._write(member.tobuf(tarfile.PAX_FORMAT))
        hasher = hashlib.sha256()
        pending: list[bytes] = []
        filled = 0
        for piece in pieces:
            hasher.update(piece)
            if len(piece) >= _PIECE:
                self._write(b"".join(pending))
                self._write(piece)
                pending, filled = [], 0
                continue
            pending.append(bytes(piece))
            filled += len(piece)
            if filled >= _PIECE:
                self._write(b"".join(pending))
                pending, filled = [], 0
        self._write(b"".join(pending) + bytes(-size % tarfile.BLOCKSIZE))
        return "sha256:" + hasher.hexdigest()

    def finish(self) -> None:
        """Two blocks of zeros, and what fills the last record up."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self._written % tarfile.RECORDSIZE))

    def _write(self, data: bytes | memoryview) -> None:
        if data:
            files.write_all(self._fd, data)
            self._written += len(data)


class _Writer:
    def __init__(self, paths: Paths, layers: Mapping[str, Layer], archive: _Archive) -> None:
        self._paths = paths
        self._layers = layers
        self._archive = archive
        self._sizes: dict[str, int] = {}

    def docker(self, chosen: tuple[Chosen, ...]) -> None:
        """What `docker save` wrote until it wrote OCI layouts: layers, configurations, manifest.json."""
        manifest = []
        for image in chosen:
            diff_ids = self._write_layers(image, "{}.tar")
            manifest.append({
                "Config": f"{_hex(image.id)}.json",
                "RepoTags": [references.parse(tag).familiar for tag in image.tags] or None,
                "Layers": [f"{_hex(diff_id)}.tar" for diff_id in diff_ids],
            })  # fmt: skip
        for image in chosen:
            self._archive.add(f"{_hex(image.id)}.json", image.configuration)
        self._archive.add("manifest.json", _json(manifest))

    def oci(self, chosen: tuple[Chosen, ...]) -> None:
        """An OCI layout; each name is an entry of the index."""
        self._archive.add("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        entries = []
        for image in chosen:
            diff_ids = self._write_layers(image, "blobs/sha256/{}")
            data = self._manifest_of(image, diff_ids)
            digest = configuration.digest_of(data)
            self._archive.add(f"blobs/sha256/{_hex(image.id)}", image.configuration)
            self._archive.add(f"blobs/sha256/{_hex(digest)}", data)
            kind = json.loads(data).get("mediaType", _MANIFEST)
            descriptor = {"mediaType": kind, "digest": digest, "size": len(data)}
            entries += [{**descriptor, "annotations": _annotations(tag)} for tag in image.tags] or [descriptor]
        self._archive.add("index.json", _json({"schemaVersion": 2, "manifests": entries}))

    def _manifest_of(self, image: Chosen, diff_ids: tuple[str, ...]) -> bytes:
        """The manifest as it came if it speaks of plain layers, else a new one that does."""
        if image.manifest:
            came = configuration.read_json(image.manifest, f"{image.id}: manifest")
            if [layer.get("digest") for layer in came.get("layers", [])] == list(diff_ids):
                return image.manifest
        config = {"mediaType": _CONFIG, "digest": image.id, "size": len(image.configuration)}
        layers = [{"mediaType": _LAYER, "digest": diff_id, "size": self._sizes[diff_id]} for diff_id in diff_ids]
        return _json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers})

    def _write_layers(self, image: Chosen, name: str) -> tuple[str, ...]:
        """Those layers of an image that are not in the archive yet; returns the digests of all."""
        diff_ids = configuration.parse(image.configuration, f"{image.id}: configuration").diff_ids
        # One that comes twice lies at its upper place.
        for diff_id, key in dict(zip(diff_ids, keys_by_position(diff_ids), strict=True)).items():
            if diff_id in self._sizes:
                continue
            layer = self._layers.get(diff_id) or self._layers.get(key)
            if layer is None:
                raise _damaged(image, diff_id, "it is not here any more")
            try:
                self._write_layer(layer, diff_id, name.format(_hex(diff_id)))
            except ReconcilerError as error:
                if error.code != "damaged":
                    raise
                raise _damaged(image, diff_id, error.message) from None
        return diff_ids

    def _write_layer(self, layer: Layer, diff_id: str, name: str) -> None:
        with (
            Record(os.path.join(self._paths.tarsplit, layer.short)) as record,
            rooted.open_root(os.path.join(self._paths.layers, layer.short)) as root,
        ):
            got = self._archive.add_pieces(name, record.size, record.pieces(root))
            self._sizes[diff_id] = record.size
        if got != diff_id:
            raise ReconcilerError("its content has been changed on the disk", code="damaged")


def _annotations(tag: str) -> dict[str, str]:
    """As containerd and buildkit write them: the whole name, and for tools that know only that one the short one."""
    return {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": references.parse(tag).familiar}


def _damaged(image: Chosen, diff_id: str, why: str) -> ReconcilerError:
    name = references.parse(image.tags[0]).familiar if image.tags else image.id
    return ReconcilerError(
        f"layer {diff_id} of {printable(name)} can't be written as it came: {why}",
        code="damaged",
        hint="remove the images that have it, and load or pull them again",
    )


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
