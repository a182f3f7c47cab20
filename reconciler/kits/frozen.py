"""Frozen data classes whose methods are written once, here, and not compiled anew at every start.

To a reader and a type checker (PEP 681) a subclass of `Frozen` is `@dataclass(frozen=True)`. A dataclass generates and compiles its
methods when its module is imported: with some eighty of them, and what `dataclasses` itself loads, that was a third of
the time of a command that finds nothing to do (measured: 25 of 66 ms). For all data classes of this project.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Fresh:
    """Stands for a default that each instance gets its own of."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """A default that is made anew for each instance, for what can be changed: `field(default_factory=dict)`."""
    return _Fresh(default_factory)  # type: ignore[return-value]


def _itself(value: T) -> T:
    return value


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Frozen:
    """Fields are the annotated names of the class, in order; a class attribute is the field's default.

    Equal are instances of one class with equal fields. One with a field that can't be hashed can't be hashed.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _required: ClassVar[frozenset[str]] = frozenset()
    _fresh: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        names = (*cls._fields, *cls.__dict__.get("__annotations__", ()))  # noqa: RUF063 - inspect takes longer than all of this
        cls._fields = tuple(dict.fromkeys(names))
        cls._required = frozenset(name for name in cls._fields if not hasattr(cls, name))
        defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}
        cls._fresh = {name: value.make for name, value in defaults.items() if isinstance(value, _Fresh)}
        # A function that is found in the class would be bound as a method.
        functions = {name: value for name, value in defaults.items() if callable(value)}
        cls._fresh |= {name: partial(_itself, value) for name, value in functions.items()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """What each field is when it is not given, in order; a required one is None."""
        fresh = cls._fresh
        return {name: fresh[name]() if name in fresh else getattr(cls, name, None) for name in cls._fields}

    def __init__(self, *values: Any, **named: Any) -> None:
        if values:
            if len(values) > len(self._fields):
                raise TypeError(f"{type(self).__name__} has {len(self._fields)} fields, not {len(values)}")
            for name, value in zip(self._fields, values, strict=False):
                if name in named:
                    raise TypeError(f"{type(self).__name__}: {name} is given twice")
                named[name] = value
        own = self.__dict__
        own.update(named)
        for name, make in self._fresh.items():
            if name not in own:
                own[name] = make()
        if not self._required <= own.keys() or not own.keys() <= set(self._fields):
            wrong = sorted(self._required - own.keys()) or sorted(own.keys() - set(self._fields))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} can't be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} can't be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self._fields)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__qualname__}({inside})"


R = TypeVar("R", bound=Frozen)


def fields(frozen: Frozen | type[Frozen]) -> tuple[str, ...]:
    """The names of the fields, in order."""
    return frozen._fields


def replace(frozen: R, **changes: Any) -> R:
    """An instance like this one with some fields changed."""
    return type(frozen)(**{**frozen.__dict__, **changes})


def as_document(value: Any) -> Any:
    """Frozen ones as dicts, tuples as lists, all the way down: what JSON can hold."""
    if isinstance(value, Frozen):
        return {name: as_document(getattr(value, name)) for name in fields(value)}
    if isinstance(value, tuple | list):
        return [as_document(item) for item in value]
    if isinstance(value, dict):
        return {key: as_document(item) for key, item in value.items()}
    return value
