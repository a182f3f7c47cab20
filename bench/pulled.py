"""The image that pulls are measured with: 200 MB in several layers, the same bytes every time.

Files as an application's image has them: many small ones and some large, that compress to a third or not at all.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import random
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYERS = 5
LAYER_BYTES = 40_000_000
FILES = 1_200
"""A layer."""


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
