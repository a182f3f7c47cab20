"""This machine's configuration: /etc/reconciler/config.yaml, or the file that RECONCILER_CONFIG names.

Read when something first asks for it, so a verb that needs none of it pays nothing. Strict as specs are: an unknown key,
a value of the wrong kind, or a file that was named and is not there are errors with a place. Every section is one class
here and one function that reads it. Documented in docs/configuration.md. Anyone may import it.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reconciler.kits import references, units
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, field, replace
from reconciler.kits.source import Position
from reconciler.kits.text import nearest, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_FILE = "/etc/reconciler/config.yaml"
_MOST_BYTES = 1 << 20
_MOST_PARALLEL = 64


class RegistryConfig(Frozen):
    """How one registry is reached: `mirrors` are base URLs, tried in order before it; `insecure` is plain HTTP."""

    mirrors: tuple[str, ...] = ()
    insecure: bool = False


class PullConfig(Frozen):
    """Downloads at once, and seconds: to connect, without a byte, for the whole of a pull."""

    parallel: int = 3
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    time_limit: float = 3600.0


class Configuration(Frozen):
    """All that the file can say. `certificates` is a folder in the layout of Docker's certs.d."""

    registries: dict[str, RegistryConfig] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    certificates: str = "/etc/docker/certs.d"
    pull: PullConfig = PullConfig()

    def registry(self, host: str) -> RegistryConfig:
        """What is said of a registry, by host[:port]; the defaults where nothing is."""
        return self.registries.get(host, RegistryConfig())

    def substitute(self, reference: references.Reference) -> references.Reference:
        """What is fetched instead of a name: the longest prefix under `images` that it begins with is exchanged."""
        name = reference.name
        for prefix in sorted(self.images, key=len, reverse=True):
            if name == prefix or name.startswith(prefix + "/"):
                found = references.parse(self.images[prefix] + name.removeprefix(prefix))
                return replace(reference, registry=found.registry, repository=found.repository)
        return reference


def load() -> Configuration:
    """The configuration; defaults where there is no file. Raises `ReconcilerError` with code "configuration"."""
    named = os.environ.get("RECONCILER_CONFIG", "")
    path = named or DEFAULT_FILE
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        if named:
            raise ReconcilerError(
                f"RECONCILER_CONFIG names {quote(named, 200)}, which is not there", code="configuration"
            ) from None
        return Configuration()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)


@lru_cache(maxsize=4)
def _read(path: str, _modified: int, _size: int, _inode: int) -> Configuration:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > _MOST_BYTES:
        raise ReconcilerError(f"{path} is longer than a configuration can sensibly be", code="configuration")
    return parse(data, path)


def _unreadable(path: str, error: OSError) -> ReconcilerError:
    return ReconcilerError(f"{path} can't be read: {error.strerror}", code="configuration")


def parse(data: bytes, path: str) -> Configuration:
    """The configuration of a file's content; `path` names it in errors."""
    import yaml  # noqa: PLC0415 - only where there is a file

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReconcilerError(f"{path} is not UTF-8 (byte {error.start})", code="configuration") from None
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _Place(path, text, mark.line, mark.column) if mark else _Place(path, text, 0, 0)
        raise place.error(f"not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ReconcilerError(f"{path} is not YAML: {error}", code="configuration") from None
    return Configuration() if root is None else _configuration(_Value(root, path, text))


def _configuration(root: _Value) -> Configuration:
    given: dict[str, Any] = {}
    for key, value in root.items("registries", "images", "certificates", "pull"):
        if key == "registries":
            given[key] = {_host(name): _registry(inner) for name, inner in value.pairs()}
        elif key == "images":
            given[key] = {_prefix(name): _prefix(inner) for name, inner in value.pairs()}
        elif key == "certificates":
            given[key] = value.text()
            if not os.path.isabs(given[key]):
                raise value.error(f"{quote(given[key])} is not an absolute path")
        else:
            given[key] = _pull(value)
    return Configuration(**given)


def _registry(section: _Value) -> RegistryConfig:
    given: dict[str, Any] = {}
    for key, value in section.items("mirrors", "insecure"):
        given[key] = value.truth() if key == "insecure" else tuple(_mirror(item) for item in value.list())
    return RegistryConfig(**given)


def _pull(section: _Value) -> PullConfig:
    given: dict[str, Any] = {}
    for key, value in section.items("parallel", "connect_timeout", "idle_timeout", "time_limit"):
        given[key] = value.number(1, _MOST_PARALLEL) if key == "parallel" else value.duration()
    return PullConfig(**given)


def _host(value: _Value) -> str:
    """A registry's host[:port] as references have it."""
    text = value.text()
    parsed = value.mapped(lambda: references.parse(f"{text}/image"))
    if parsed.repository.removeprefix("library/") != "image" or "/" in text:
        hint = "like docker.io, registry.example.com or 10.0.0.5:5000: without a scheme, without a path"
        raise value.error(f"{quote(text)} is not a registry's host name", hint)
    return parsed.registry


def _prefix(value: _Value) -> str:
    """Where names begin: a registry, or a registry and a path."""
    text = value.text().rstrip("/")
    parsed = value.mapped(lambda: references.parse(f"{text}/image"))
    name = f"{parsed.registry}/{parsed.repository}".removesuffix("/image")
    if not text or not (text == name or text == name.removesuffix("/library")):
        hint = "like docker.io/library or registry.example.com/team"
        raise value.error(f"{quote(text)} does not begin with a registry's host name", hint)
    return text


def _mirror(value: _Value) -> str:
    """A base URL without a slash at its end; https where no scheme is given."""
    text = value.text().rstrip("/")
    scheme, has_scheme, rest = text.partition("://")
    if not has_scheme:
        scheme, rest = "https", text
    if scheme not in ("http", "https") or "@" in rest or "?" in rest or "#" in rest:
        raise value.error(f"{quote(text)} is not a mirror's address", "like https://mirror.example.com:5000")
    value.mapped(lambda: references.parse(f"{rest if '.' in rest or ':' in rest else 'localhost/' + rest}/image"))
    return f"{scheme}://{rest}"


class _Place:
    """Where something stands in the file."""

    def __init__(self, path: str, text: str, line: int, column: int) -> None:
        self._path, self._text, self._line, self._column = path, text, line, column

    def error(self, message: str, hint: str = "") -> ReconcilerError:
        lines = self._text.splitlines()
        return ReconcilerError(
            message,
            code="configuration",
            position=Position(self._path, self._line + 1, self._column + 1),
            excerpt=lines[self._line] if self._line < len(lines) else "",
            hint=hint,
        )


class _Value:
    """A value of the file, read as what it has to be; anything else is an error at its place."""

    def __init__(self, node: Any, path: str, text: str) -> None:
        self._node, self._path, self._text = node, path, text

    def error(self, message: str, hint: str = "") -> ReconcilerError:
        mark = self._node.start_mark
        return _Place(self._path, self._text, mark.line, mark.column).error(message, hint)

    def mapped(self, make: Callable[[], references.Reference]) -> references.Reference:
        """What `make` returns; its error becomes one at this place."""
        try:
            return make()
        except ReconcilerError as error:
            raise self.error(error.message, error.hint) from None

    def _empty(self) -> bool:
        return self._node.id == "scalar" and not self._node.style and self._node.value in ("", "~", "null")

    def pairs(self) -> Iterator[tuple[_Value, _Value]]:
        """Keys and values of a mapping; a key that comes twice is an error."""
        if self._empty():
            return
        if self._node.id != "mapping":
            raise self.error("a mapping was expected here")
        seen: set[str] = set()
        for key_node, value_node in self._node.value:
            key = _Value(key_node, self._path, self._text)
            name = key.text()
            if name in seen:
                raise key.error(f"{quote(name)} is here twice")
            seen.add(name)
            yield key, _Value(value_node, self._path, self._text)

    def items(self, *known: str) -> Iterator[tuple[str, _Value]]:
        """As `pairs`, of a section with fixed keys."""
        for key, value in self.pairs():
            name = key.text()
            if name not in known:
                meant = nearest(name, known)
                hint = f"did you mean {meant}?" if meant else "there are " + ", ".join(known)
                raise key.error(f"there is no key {quote(name)} here", hint)
            yield name, value

    def list(self) -> list[_Value]:
        if self._node.id != "sequence":
            raise self.error("a list was expected here")
        return [_Value(node, self._path, self._text) for node in self._node.value]

    def text(self) -> str:
        if self._node.id != "scalar" or (not self._node.style and not self._node.value):
            raise self.error("a text was expected here")
        return str(self._node.value)

    def truth(self) -> bool:
        text = self.text()
        if text not in ("true", "false"):
            raise self.error(f"{quote(text)} is neither true nor false")
        return text == "true"

    def number(self, least: int, most: int) -> int:
        text = self.text()
        if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
            raise self.error(f"{quote(text)} is not a number from {least} to {most}")
        return int(text)

    def duration(self) -> float:
        """Seconds, more than none."""
        try:
            seconds = units.parse_duration(self.text().strip())
        except ReconcilerError as error:
            raise self.error(error.message, error.hint) from None
        if seconds <= 0:
            raise self.error("it must be more than nothing")
        return seconds
