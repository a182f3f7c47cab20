"""libyaml's parser as PyYAML binds it, loaded without the rest of PyYAML: 2 ms of every first apply instead of 11.

Half of what `import yaml` takes goes into one regular expression of a reader that is written in Python and that libyaml
has no use for; most of the rest makes objects of YAML and YAML of objects. The binding needs PyYAML's modules of errors,
tokens, events and nodes; of others it only picks up the names of exceptions that parsing a text never raises. For the
loader only.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEVER_RAISED = {
    "reader": "ReaderError",
    "constructor": "ConstructorError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
}


def events(text: str) -> Iterator[Any]:
    """The parser's events, one by one; raises `YAMLError` where the text is not YAML."""
    source = Parser(text)
    try:
        while source.check_event():
            yield source.get_event()
    finally:
        source.dispose()


def _parser() -> Any:
    try:
        if "yaml" not in sys.modules:
            _begin_package()
        return importlib.import_module("yaml._yaml").CParser
    except (ImportError, AttributeError):  # PyYAML without libyaml, or one that is made differently
        return importlib.import_module("yaml").SafeLoader


def _begin_package() -> None:
    """Have a package `yaml` that runs its own `__init__` only when something is asked for that it does not have yet.

    Its modules are the real ones, so what is loaded now and what may be loaded later fit together.
    """
    spec = importlib.util.find_spec("yaml")
    if spec is None or spec.loader is None:
        raise ImportError("PyYAML is not installed")
    loader, package = spec.loader, importlib.util.module_from_spec(spec)

    lock = threading.RLock()
    running: list[str] = []

    def complete(name: str) -> Any:
        with lock:  # others wait until all is there; whoever runs it meets only itself
            if not running and "__getattr__" in package.__dict__:
                running.append(name)
                try:
                    loader.exec_module(package)
                    del package.__dict__["__getattr__"]
                finally:
                    running.clear()
        try:
            return package.__dict__[name]
        except KeyError:
            raise AttributeError(f"module 'yaml' has no attribute {name!r}") from None

    package.__dict__["__getattr__"] = complete
    sys.modules["yaml"] = package
    for name in ("parser", "composer"):  # with what they import, all that the binding uses
        importlib.import_module(f"yaml.{name}")
    for name, exception in _NEVER_RAISED.items():
        setattr(package, name, types.SimpleNamespace(**{exception: type(exception, (package.error.YAMLError,), {})}))


Parser = _parser()
"""libyaml's parser; where PyYAML was built without it, the slower one in Python."""

_errors = importlib.import_module("yaml.error")
YAMLError, MarkedYAMLError = _errors.YAMLError, _errors.MarkedYAMLError
