"""What the spec tests share: a tree in memory, and a case folder's outcome as text."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import as_document
from reconciler.spec.resolve import Resolved, load_stack

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = "apiVersion: reconciler/v1\nkind: Stack\nname: shop\n"


class MemoryTree:
    """Files that are in no file system. `files` may be changed between reads."""

    spec = "spec.yaml"
    origin = "/specs/spec.yaml"
    base = "/specs"

    def __init__(self, spec: str | bytes, **files: str) -> None:
        self.files = {self.spec: spec if isinstance(spec, bytes) else spec.encode("utf-8", "surrogatepass")}
        self.files |= {name: text.encode() for name, text in files.items()}
        self.reads: dict[str, bytes | None] = {}

    def again(self) -> MemoryTree:
        """The same files, nothing read yet."""
        tree = MemoryTree(b"")
        tree.files = dict(self.files)
        return tree

    def read(self, path: str) -> bytes:
        if path not in self.files:
            self.reads[path] = None
            raise ReconcilerError(f"there is no file {path!r}", code="not-found")
        self.reads[path] = self.files[path]
        return self.files[path]

    def exists(self, path: str) -> bool:
        if path not in self.files:
            self.reads[path] = None
        return path in self.files

    def display(self, path: str) -> str:
        return path


def resolve(spec: str | bytes, environment: Mapping[str, str] | None = None, **files: str) -> Resolved:
    return load_stack(MemoryTree(spec, **files), environment or {})


def outcome(folder: str) -> tuple[str, str]:
    """What the spec in a case folder comes to: the name of the golden file and its text.

    The folder is the working directory; `environment.json` holds the environment.
    """
    environment = {}
    if os.path.exists("environment.json"):
        with open("environment.json", encoding="utf-8") as file:
            environment = json.load(file)
    try:
        stack = load_stack("spec.yaml", environment).stack
    except ReconcilerError as error:
        return "expected.txt", str(error).rstrip() + "\n"
    positions = {".".join(map(str, path)): f"{at.file}:{at.line}:{at.column}" for path, at in stack.positions.items()}
    document = {
        "name": stack.name,
        "containers": {key: {"name": each.name} | each.settings() for key, each in stack.containers.items()},
        "volumes": {key: as_document(each) for key, each in stack.volumes.items()},
        **({"moved": as_document(stack.moved)} if stack.moved else {}),
        **({"adopt": as_document(stack.adopt)} if stack.adopt else {}),
        "positions": positions,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    parent = os.path.dirname(folder)
    return "expected.json", text.replace(folder, "/CASE").replace(parent, "/CASES") + "\n"
