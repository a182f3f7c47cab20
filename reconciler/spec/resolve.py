"""A spec to the stack it describes: the one way into this room.

Opens no file but through its tree, and knows no runtime. Callers above import `load_stack`; the resolved-spec cache
imports only inputs.py, which costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import quote
from reconciler.model.desired import Container, Stack, Volume
from reconciler.sources.files import FileTree
from reconciler.spec import loader, shape, values
from reconciler.spec.checks import Checks
from reconciler.spec.containers import Reader
from reconciler.spec.findings import Findings
from reconciler.spec.inputs import Inputs, inputs_of
from reconciler.spec.nodes import Mapping, Node, Scalar, origins_of
from reconciler.spec.variables import Variables, resolve_variables

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf

    from reconciler.kits.source import Origin
    from reconciler.model.desired import Path
    from reconciler.sources.tree import Tree
    from reconciler.spec.env_files import Assignment

DOTENV = ".env"


class Resolved(Frozen):
    """A stack, and everything that went into it (see `inputs.unchanged`)."""

    stack: Stack
    inputs: Inputs


def load_stack(tree_or_path: Tree | str, environment: MappingOf[str, str], *, salt: bytes = b"") -> Resolved:
    """Read the spec of a tree (or at a path, "-" for standard input) and resolve its variables.

    `salt` goes into the digests of `inputs`. Raises `ReconcilerError`; several mistakes come as `Problems`, each with
    its position.
    """
    tree: Tree = FileTree(tree_or_path) if isinstance(tree_or_path, str) else tree_or_path
    findings = Findings()
    root = loader.load(loader.decode(tree.display(tree.spec), tree.read(tree.spec)), findings)
    variables = Variables(environment, lambda: _dotenv(tree, variables, findings))
    resolve_variables(root, variables, findings)
    cut = shape.check(root, findings)
    stack = _Assembly(tree, variables, findings).stack(root, volumes_known=("volumes",) not in cut)
    findings.check()
    return Resolved(stack, inputs_of(tree, variables.used, salt))


def _dotenv(tree: Tree, variables: Variables, findings: Findings) -> dict[str, Assignment]:
    """The variables of `.env` beside the spec, {} when there is none."""
    if not tree.exists(DOTENV):
        return {}
    from reconciler.spec import env_files  # noqa: PLC0415 - few specs have one

    try:
        data = tree.read(DOTENV)
    except ReconcilerError as error:
        findings.take(error)
        return {}
    return env_files.read(tree, DOTENV, data, variables, findings)


class _Assembly:
    """Puts a stack together from a tree of the right shape."""

    def __init__(self, tree: Tree, variables: Variables, findings: Findings) -> None:
        self._tree = tree
        self._findings = findings
        self._reader = Reader(tree, variables, findings)

    def stack(self, root: Mapping, *, volumes_known: bool) -> Stack:
        """The stack; `volumes_known` is False when what the spec says of its volumes could not be read."""
        name = self._name(root)
        containers = self._containers(root)
        volumes = self._volumes(name, root)
        Checks(containers, self._reader.nodes, self._findings).run(volumes, volumes if volumes_known else None)
        return Stack(
            name=name,
            source=self._tree.display(self._tree.spec),
            origin=self._tree.origin,
            containers=containers,
            volumes=volumes,
            **self._identity(name, root, containers, volumes),
            positions={path: node.position for path, node in self._reader.nodes.items()},
            origins=self._origins(),
        )

    def _identity(
        self, name: str, root: Mapping, containers: dict[str, Container], volumes: dict[str, Volume]
    ) -> dict[str, Any]:
        if "moved" not in root.entries and "adopt" not in root.entries:
            return {}
        from reconciler.spec.moves import Moves  # noqa: PLC0415 - few specs have some

        moves = Moves(self._reader, self._findings, name, containers, volumes)
        return {"moved": moves.moved(root.get("moved")), "adopt": moves.adopted(root.get("adopt"))}

    def _origins(self) -> dict[Path, tuple[Origin, ...]]:
        """What values came from beside the text that they stand in; most do not."""
        found = {path: origins for path, node in self._reader.nodes.items() if (origins := origins_of(node))}
        return found | {path: found for path, found in self._reader.origins.items() if path in self._reader.nodes}

    def _name(self, root: Mapping) -> str:
        at = root.get("name")
        if not isinstance(at, Scalar):
            return ""
        self._reader.nodes["name",] = at
        return self._reader.attempt(at, values.stack_name, at.text) or ""

    def _containers(self, root: Mapping) -> dict[str, Container]:
        node = root.get("containers")
        if not isinstance(node, Mapping):
            return {}
        if not node.entries:
            self._findings.add("there are no containers", root.key("containers"), hint="a stack has at least one")
        return {
            key: self._reader.container(key, at, value)
            for key, (at, value) in node.entries.items()
            if isinstance(value, Mapping)
        }

    def _volumes(self, stack: str, root: Mapping) -> dict[str, Volume]:
        node = root.get("volumes")
        entries = node.entries if isinstance(node, Mapping) else {}
        return {key: self._volume(stack, key, at, value) for key, (at, value) in entries.items()}

    def _volume(self, stack: str, key: str, at: Node, value: Node) -> Volume:
        """A named volume; its name is STACK_KEY, or the key alone when it is external."""
        path = ("volumes", key)
        self._reader.nodes[path] = at
        self._reader.attempt(at, values.name, key, "a volume")
        if not isinstance(value, Mapping):
            return Volume(key, f"{stack}_{key}")
        flag, given = value.get("external"), value.get("name")
        external = isinstance(flag, Scalar) and flag.truth
        name = key if external else f"{stack}_{key}"
        if isinstance(given, Scalar):
            self._reader.nodes[(*path, "name")] = given
            name = self._reader.attempt(given, values.name, given.text, "a volume") or name
        labels = self._reader.labels(path, value)
        at_protect = value.get("protect")
        protect = isinstance(at_protect, Scalar) and at_protect.truth
        if isinstance(at_protect, Scalar):
            self._reader.nodes[(*path, "protect")] = at_protect
        for what, is_set in (("labels", labels), ("protect", protect)) if external else ():
            if is_set:
                message = f"the volume {quote(key)} is external, so {what} {'are' if what == 'labels' else 'is'} not ours to set"
                self._findings.add(message, value.key(what), hint=f"leave out {what}, or external")
        return Volume(key, name, external, labels, protect)
