"""JSON values without the secrets in them: each is replaced by where it stands in what the values were made from.

For the resolved-spec cache only. Not encryption: what is hidden is simply not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.masking import looks_secret, masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.model.desired import Stack

_MARK = "$hidden"


class NowhereError(Exception):
    """A secret stands in no source literally (it is escaped there, or put together), so it can't be left out."""


class Sources:
    """Where values can stand: files by path and variables of the environment by name."""

    def __init__(self, files: Mapping[str, bytes], variables: Mapping[str, str]) -> None:
        self._files = files
        self._variables = variables

    def place_of(self, text: str) -> list[Any]:
        """The place of `text`: ["variable", name] or ["file", path, offset, length] in bytes. Raises NowhereError."""
        for name, value in self._variables.items():
            if value == text:
                return ["variable", name]
        data = text.encode("utf-8", "surrogatepass")
        for path, content in self._files.items():
            offset = content.find(data)
            if offset >= 0:
                return ["file", path, offset, len(data)]
        raise NowhereError

    def text_at(self, place: list[Any]) -> str:
        """The inverse of `place_of`. Raises KeyError or ValueError for a place that is not there."""
        if place[0] == "variable":
            return self._variables[place[1]]
        _, path, offset, length = place
        return self._files[path][offset : offset + length].decode()


def secrets_of(stack: Stack, variables: Mapping[str, str]) -> set[str]:
    """Values that must not be shown: by the name of the variable, setting or label, or with a password inside."""
    named = [*variables.items()]
    for container in stack.containers.values():
        named += [*container.environment.items(), *container.labels.items()]
    return {value for name, value in named if value and (looks_secret(name) or masked(name, value) != value)}


def hide(value: Any, secrets: Iterable[str], sources: Sources) -> Any:
    """The JSON value with every occurrence of a secret within its strings taken out. Names (keys) stay."""
    longest_first = sorted(secrets, key=lambda secret: (-len(secret), secret))
    return _hide(value, longest_first, sources) if longest_first else value


def _hide(value: Any, secrets: list[str], sources: Sources) -> Any:
    if isinstance(value, str):
        parts = _parts(value, secrets, sources)
        return value if parts == [value] else {_MARK: parts}
    if isinstance(value, list):
        return [_hide(item, secrets, sources) for item in value]
    if isinstance(value, dict):
        if _MARK in value:
            raise NowhereError
        return {key: _hide(item, secrets, sources) for key, item in value.items()}
    return value


def _parts(text: str, secrets: list[str], sources: Sources) -> list[Any]:
    """`text` as plain strings and places."""
    for secret in secrets:
        before, found, after = text.partition(secret)
        if found:
            around = [_parts(side, secrets, sources) if side else [] for side in (before, after)]
            return [*around[0], sources.place_of(secret), *around[1]]
    return [text]


def reveal(value: Any, sources: Sources) -> Any:
    """The inverse of `hide`."""
    if isinstance(value, dict):
        if _MARK in value:
            parts = value[_MARK]
            return "".join(part if isinstance(part, str) else sources.text_at(part) for part in parts)
        return {key: reveal(item, sources) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item, sources) for item in value]
    return value
