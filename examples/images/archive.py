"""Writes one image as a tar that is an OCI layout and a docker-archive at once, as newer `docker save` does.

Layers are plain: two images with one base share its digest, and nothing has to be decompressed to load them.
For the image recipes beside it only. Sources: OCI image-spec (image-layout.md, config.md), Docker image spec v1.2.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from typing import Any

ARCHITECTURES = {"armhf": "arm", "i386": "386", "ppc64el": "ppc64le"}  # Debian's name: OCI's, where they differ


@dataclass(frozen=True)
class Layer:
    """A plain tar: its content's digest, size in bytes, and where the bytes are (a range of a file)."""

    digest: str
    size: int
    path: str
    offset: int = 0
    created_by: str = ""


def platform() -> str:
    name = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
    return ARCHITECTURES.get(name, name)


def write_archive(target: str, *, tags: list[str], config: dict[str, Any], layers: list[Layer], epoch: int) -> None:
    created = dt.datetime.fromtimestamp(epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    image = _json(
        {
            "architecture": platform(),
            "os": "linux",
            "created": created,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created": created, "created_by": layer.created_by} for layer in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", image),
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        }
    )
    index = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
                | {
                    "annotations": {
                        "io.containerd.image.name": full_name(tag),
                        "org.opencontainers.image.ref.name": tag,
                    }
                }
                for tag in tags
            ],
        }
    )
    docker = _json(
        [{"Config": _blob(_digest(image)), "RepoTags": tags, "Layers": [_blob(layer.digest) for layer in layers]}]
    )
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT, copybufsize=1 << 20) as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}), epoch)
        _add(tar, "index.json", index, epoch)
        _add(tar, "manifest.json", docker, epoch)
        _add(tar, _blob(_digest(manifest)), manifest, epoch)
        _add(tar, _blob(_digest(image)), image, epoch)
        for layer in layers:
            with open(layer.path, "rb") as content:
                content.seek(layer.offset)
                tar.addfile(_entry(_blob(layer.digest), layer.size, epoch), content)


def find_layer(archive: str, digest: str, created_by: str) -> Layer:
    """The layer of that digest inside an archive that `write_archive` made."""
    with tarfile.open(archive) as tar:
        member = tar.getmember(_blob(digest))
        return Layer(digest, member.size, archive, member.offset_data, created_by)


def full_name(tag: str) -> str:
    return f"docker.io/library/{tag}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _entry(name: str, size: int, epoch: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, epoch
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes, epoch: int) -> None:
    tar.addfile(_entry(name, len(content), epoch), io.BytesIO(content))
