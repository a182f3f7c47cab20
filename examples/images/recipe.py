"""What an image is made from: its folder's image.toml, and a digest that changes with anything that goes into it."""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
CONTENT = (
    "archive.py",
    "busybox.py",
    "debian.py",
    "layers.py",
    "recipe.py",
    "unpack",
)  # what decides on an image's bytes


@dataclass(frozen=True)
class Recipe:
    """One folder beside this file: image.toml, optionally customize.sh and rootfs/."""

    name: str
    kind: str  # "busybox", or "debian": packages on the base, or the base itself
    tags: list[str]
    config: dict[str, Any]  # as in the OCI image configuration's "config"
    packages: list[str]
    base: str | None  # another recipe's name

    @property
    def folder(self) -> str:
        return os.path.join(HERE, self.name)

    @property
    def created_by(self) -> str:
        """The line that `history` shows for the image's own layer."""
        return f"examples/images/{self.name}: {' '.join(self.packages) or self.kind}"

    def digest(self, epoch: int) -> str:
        """Of the recipe's files and the builder's; a base counts through its layer's digest, not here."""
        files = [os.path.join(HERE, name) for name in CONTENT]
        for folder, _, names in os.walk(self.folder):
            files += [os.path.join(folder, name) for name in names]
        total = hashlib.sha256(str(epoch).encode())
        for path in sorted(files):
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"\n{os.path.relpath(path, HERE)} {executable(path)} {content}".encode())
        return total.hexdigest()


def executable(path: str) -> bool:
    return bool(os.stat(path).st_mode & 0o100)


def load() -> dict[str, Recipe]:
    """All recipes by name, a base before what stands on it."""
    found = {}
    for name in sorted(os.listdir(HERE)):
        path = os.path.join(HERE, name, "image.toml")
        if os.path.exists(path):
            with open(path, "rb") as file:
                data = tomllib.load(file)
            found[name] = Recipe(
                name=name,
                kind=data["kind"],
                tags=data["tags"],
                config=data["config"],
                packages=data.get("packages", []),
                base=data.get("base"),
            )
    return dict(sorted(found.items(), key=lambda item: (item[1].base is not None, item[0])))
