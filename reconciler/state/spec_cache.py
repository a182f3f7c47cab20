"""Resolved specs, kept so that an apply with nothing to do reads no YAML: ROOT/state/specs/HASH.json, one a spec.

A cached stack holds while everything that went into it is unchanged: files, variables, the program's version (see
`spec.inputs`). It is only ever a short cut: one that is missing, damaged or can't be written changes nothing else.

No secret gets into the cache. A value that looks like one is replaced by the place in the spec's own inputs where it
stands (which file or variable, where in it, how long) and taken from there again; a stack with such a value that
stands nowhere literally is not cached. Digests are salted with a random key of this root, as a bare hash of a file
with a weak password gives the password away. For `loop`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files, locks
from reconciler.kits.digests import sha256
from reconciler.model import codec
from reconciler.spec.inputs import Inputs, unchanged
from reconciler.state import hiding, places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.desired import Stack
    from reconciler.sources.tree import Tree

MOST = 64
"""Cached specs; beyond that the one that was written first goes."""

_KEY_SIZE = 32


class SpecCache:
    """The cache of this root. `key` is its salt, b"" while there is none."""

    def __init__(self) -> None:
        self._folder = places.specs_folder()
        self.key = _read(os.path.join(self._folder, "key")) or b""

    def load(self, tree: Tree, environment: Mapping[str, str]) -> Stack | None:
        """The stack of the tree's spec, None if it has to be read."""
        data = _read(self._path(tree)) if self.key else None
        if data is None:
            return None
        try:
            document = json.loads(data)
            if not unchanged(Inputs.decode(document["inputs"]), tree, environment, salt=self.key):
                return None
            return codec.decode(hiding.reveal(document["stack"], _sources(tree, environment)))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None

    def prepare(self) -> None:
        """Make the folder and the key, for a `store` to come."""
        if self.key:
            return
        files.make_folders(self._folder)
        with locks.held(os.path.join(self._folder, "lock")):
            path = os.path.join(self._folder, "key")
            self.key = _read(path) or b""
            if not self.key:
                self.key = os.urandom(_KEY_SIZE)
                files.replace_file(path, self.key, durable=False)

    def store(self, stack: Stack, inputs: Inputs, tree: Tree, environment: Mapping[str, str]) -> None:
        """Keep a stack that was just read from `tree`; `inputs` are salted with `key`."""
        used = {name: environment[name] for name, digest in inputs.variables.items() if digest is not None}
        try:
            hidden = hiding.hide(codec.encode(stack), hiding.secrets_of(stack, used), _sources(tree, used))
        except hiding.NowhereError:
            return
        document = json.dumps({"inputs": inputs.encode(), "stack": hidden}, separators=(",", ":"))
        lock = locks.try_hold(os.path.join(self._folder, "lock"))
        if lock is None:
            return  # somebody writes just now; theirs is as good
        try:
            files.replace_file(self._path(tree), document.encode(), durable=False)
            self._tidy()
        finally:
            os.close(lock)

    def _tidy(self) -> None:
        names = [name for name in os.listdir(self._folder) if name.endswith(".json")]
        if len(names) > MOST:
            paths = [os.path.join(self._folder, name) for name in names]
            for path in sorted(paths, key=os.path.getmtime)[:-MOST]:
                files.remove_file(path)

    def _path(self, tree: Tree) -> str:

        place = f"{tree.origin}\0{tree.base}"  # one file may be read through links in several folders
        name = sha256(self.key + place.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return os.path.join(self._folder, f"{name}.json")


def _sources(tree: Tree, variables: Mapping[str, str]) -> hiding.Sources:
    return hiding.Sources({path: data for path, data in tree.reads.items() if data is not None}, variables)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
