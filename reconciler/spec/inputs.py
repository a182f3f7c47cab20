"""What went into a resolved spec, as digests, so that a cache can tell whether it still holds.

Imports neither YAML nor pydantic-core: asking must cost next to nothing. Plain values never get in here; digests are
salted by the caller, because a bare hash of a weak password is the password. `state` and the spec room import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler import __version__
from reconciler.kits.digests import sha256
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.sources.tree import Tree


class Inputs(Frozen):
    """Everything that a resolved spec depends on.

    `files` maps a path in the tree to its bytes' digest, None when it was looked for and not there; `variables` maps
    a name to its value's digest in the environment, None when it was not set. `source` and `origin` are the spec's
    names, which positions and relative mounts hold.
    """

    version: str
    source: str
    origin: str
    files: dict[str, str | None]
    variables: dict[str, str | None]

    def encode(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in fields(self)}

    @classmethod
    def decode(cls, document: dict[str, Any]) -> Inputs:
        """The inverse of `encode`; KeyError for a document that is none."""
        return cls(**{name: document[name] for name in fields(cls)})


def inputs_of(tree: Tree, variables: Mapping[str, str | None], salt: bytes) -> Inputs:
    """The inputs of a spec that has just been read from `tree`, using these variables of the environment."""
    return Inputs(
        version=__version__,
        source=tree.display(tree.spec),
        origin=tree.origin,
        files={path: _digest(data, salt) for path, data in sorted(tree.reads.items())},
        variables={name: _text_digest(value, salt) for name, value in sorted(variables.items())},
    )


def unchanged(inputs: Inputs, tree: Tree, environment: Mapping[str, str], *, salt: bytes = b"") -> bool:
    """Whether resolving the tree's spec now would give the same stack. A file that cannot be read has changed."""
    if (inputs.version, inputs.source, inputs.origin) != (__version__, tree.display(tree.spec), tree.origin):
        return False
    if any(_text_digest(environment.get(name), salt) != known for name, known in inputs.variables.items()):
        return False
    return all(_digest(_read(tree, path), salt) == known for path, known in inputs.files.items())


def _read(tree: Tree, path: str) -> bytes | None:
    if not tree.exists(path):
        return None
    try:
        return tree.read(path)
    except ReconcilerError:
        return None


def _text_digest(text: str | None, salt: bytes) -> str | None:
    return _digest(None if text is None else text.encode("utf-8", "surrogateescape"), salt)


def _digest(data: bytes | None, salt: bytes) -> str | None:
    if data is None:
        return None
    return sha256(salt + sha256(salt + data).digest()).hexdigest()
