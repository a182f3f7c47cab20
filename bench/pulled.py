"""The image that pulls are measured with, in a registry: 200 MB in several layers, the same bytes every time.

Files as an application's image has them: many small ones and some large, most of which compress well. Every peer gets a
registry of its own in its sandbox; they all read one folder, which is filled once.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import random
import sys
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox import Sandbox

ADDRESS = "127.0.0.1:5000"
IMAGE = f"{ADDRESS}/bench/layers:1"

LAYERS = 5
LAYER_BYTES = 40_000_000
FILES = 1_200
"""A layer."""


def fill(folder: str) -> None:
    """Have the image in a registry's folder."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests"))
    from support.registry import Pusher, docker_registry, sha  # noqa: PLC0415

    with docker_registry(folder) as address:
        plain = list(layers())
        config = configuration([sha(layer) for layer in plain])
        Pusher(address).image("bench/layers", "1", config, [pack(layer) for layer in plain])


def serve(sandbox: Sandbox, folder: str) -> None:
    """Start a registry in a sandbox."""
    document = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": os.path.join(folder, "data")},
            "maintenance": {"readonly": {"enabled": True}},
        },
        "http": {"addr": ADDRESS},
    }
    path = os.path.join(sandbox.data, "registry.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    sandbox.start(["docker-registry", "serve", path], ADDRESS)


def layers() -> Iterator[bytes]:
    """The plain tars, lowest first."""
    for number in range(LAYERS):
        yield _layer(random.Random(number), number)


def configuration(diff_ids: list[str]) -> bytes:
    """The image's configuration."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/app/run"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    return json.dumps(document, sort_keys=True).encode()


def pack(layer: bytes) -> bytes:
    """As `docker push` does."""
    return gzip.compress(layer, 6, mtime=0)


def _layer(chance: random.Random, number: int) -> bytes:
    words = [bytes(chance.randrange(97, 123) for _ in range(chance.randrange(2, 12))) + b" " for _ in range(4000)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        folders: set[str] = set()
        for file, size in enumerate(_sizes(chance)):
            folder = f"usr/lib/part{number}/{file // 40}"
            for depth in range(1, folder.count("/") + 2):
                path = "/".join(folder.split("/")[:depth])
                if path not in folders:
                    folders.add(path)
                    entry = tarfile.TarInfo(path)
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
            entry = tarfile.TarInfo(f"{folder}/file{file}.so")
            entry.size, entry.mode, entry.mtime = size, 0o644, 1_700_000_000 + file
            archive.addfile(entry, io.BytesIO(_content(chance, words, size)))
    return buffer.getvalue()


def _sizes(chance: random.Random) -> list[int]:
    """Most files are small, most bytes are in large ones."""
    shares = [chance.paretovariate(1.1) for _ in range(FILES)]
    return [int(share / sum(shares) * LAYER_BYTES) for share in shares]


def _content(chance: random.Random, words: list[bytes], size: int) -> bytes:
    """Text for the most part, the rest does not compress."""
    text = b"".join(chance.choices(words, k=size // 7 + 1))[: size - size // 8]
    noise = chance.randbytes(size - len(text)) if size < 1 << 16 else hashlib.shake_128(text).digest(size - len(text))
    return text + noise
