"""Reading the fields of one map of a spec, one by one: a wrong value is reported and takes its default.

For the spec room only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.spec import values
from reconciler.spec.findings import BadValueError
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.model.desired import Path
    from reconciler.spec.containers import Reader

T = TypeVar("T")

_MOST_VALUES = 3 * 65535
"""Of one list: there are no more ports, and a few words would stand for any number of them."""


class Fields:
    """The fields of one map, read one by one."""

    def __init__(self, reader: Reader, path: Path, node: Mapping) -> None:
        self._reader = reader
        self._path = path
        self._node = node

    def node(self, key: str, function: Callable[[Node], T], default: T) -> T:
        """What `function` makes of the value, `default` when the key is not there or its value is wrong."""
        at = self._node.get(key)
        if at is None:
            return default
        self._reader.mark((*self._path, key), self._node, key)
        value = self._reader.attempt(at, function, at)
        return default if value is None else value

    def text(self, key: str, function: Callable[[str], T], default: T) -> T:
        """The same for a scalar's source text."""
        return self.node(key, lambda at: function(at.text if isinstance(at, Scalar) else ""), default)

    def words(self, key: str) -> tuple[str, ...] | None:
        """A command: a string that is split, or a list; None when it is not set or null."""
        at = self._node.get(key)
        if isinstance(at, Scalar) and at.is_null:
            return None
        return self.node(key, words_of, None)

    def flag(self, key: str) -> bool:
        """A switch, off when it is not set."""
        return self.node(key, lambda at: isinstance(at, Scalar) and at.truth, default=False)

    def texts(self, key: str, function: Callable[[str], str]) -> tuple[str, ...]:
        """What the items of a list mean, or the only one where it is written without a list; each once, "" for none."""
        at = self._node.get(key)
        found = (
            [self.text(key, function, "")] if isinstance(at, Scalar) else self.items(key, lambda text: [function(text)])
        )
        return tuple(dict.fromkeys(text for text in found if text))

    def entries(self, key: str, function: Callable[[str, Node], T]) -> Iterator[tuple[str, T]]:
        """What the entries of a map mean, by name; each stands where its value does."""
        at = self._node.get(key)
        if not isinstance(at, Mapping):
            return
        path = (*self._path, key)
        self._reader.mark(path, self._node, key)
        for name, (place, value) in at.entries.items():
            self._reader.nodes[(*path, name)] = value if isinstance(value, Scalar) else place
            meant = self._reader.attempt(place, function, name, value)
            if meant is not None:
                yield name, meant

    def pairs(self, key: str) -> Iterator[tuple[str, str | None, Node]]:
        """Name, value and place of a map's entries or of a list's NAME=value."""
        at = self._node.get(key)
        if at is not None:
            self._reader.mark((*self._path, key), self._node, key)
            yield from self._reader.pairs((*self._path, key), at)

    def attempt(self, at: Node, function: Callable[..., T], *arguments: Any) -> T | None:
        """What the function makes of its arguments; None, and a finding at `at`, when they are wrong."""
        return self._reader.attempt(at, function, *arguments)

    def stands(self, key: str, index: int, at: Node) -> None:
        """Say where the value at `index` of a list stands that is not written as one."""
        self._reader.nodes[(*self._path, key, index)] = at

    def same_place(self, field: str, key: str) -> None:
        """Say that a field that no key of the spec is for stands where `key` does, if that is there."""
        if place := self._reader.nodes.get((*self._path, key)):
            self._reader.nodes[(*self._path, field)] = place

    def maps(self, key: str) -> Iterator[Mapping]:
        """The items of a list that are maps."""
        at = self._node.get(key)
        if isinstance(at, Sequence):
            yield from (item for item in at.items if isinstance(item, Mapping) and not _has_failed(item))

    def items(
        self, key: str, short: Callable[[str], list[T]], long: Callable[[Mapping], list[T]] | None = None
    ) -> list[T]:
        """What the items of a list mean: `short` reads text, `long` a map; one item may mean several values."""
        out: list[T] = []
        at = self._node.get(key)
        if not isinstance(at, Sequence):
            return out
        self._reader.mark((*self._path, key), self._node, key)
        for item in at.items:
            if isinstance(item, Scalar):
                found = self._reader.attempt(item, short, item.text)
            elif isinstance(item, Mapping) and long and not _has_failed(item):
                found = self._reader.attempt(item, long, item)
            else:
                continue
            if len(out) + len(found or ()) > _MOST_VALUES:
                self._reader.attempt(item, _refuse, f"{key} stands for more than {_MOST_VALUES:,} values")
                break
            for value in found or ():
                self._reader.nodes[(*self._path, key, len(out))] = item
                out.append(value)
        return out


def _refuse(message: str) -> None:
    raise BadValueError(message, "see whether ranges in it overlap")


def _has_failed(item: Mapping) -> bool:
    return any(isinstance(value, Scalar) and value.failed for _, value in item.items())


def text_of(item: Mapping, key: str) -> str:
    value = item.get(key)
    return value.text if isinstance(value, Scalar) else ""


def words_of(node: Node) -> tuple[str, ...]:
    if isinstance(node, Sequence):
        return tuple(item.text for item in node.items if isinstance(item, Scalar))
    return values.words(node.text) if isinstance(node, Scalar) else ()
