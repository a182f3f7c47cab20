"""Makes of spec/models.py what others use: compiled.py for the run time, schemas/stack.schema.json for editors.

    python -m reconciler.spec.generate            # write both
    python -m reconciler.spec.generate --check    # exit 1 if a file is not what it would be

For developers; nothing imports it but tests.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from reconciler.spec.models import Stack

_HERE = os.path.dirname(os.path.abspath(__file__))
COMPILED = os.path.join(_HERE, "compiled.py")
JSON_SCHEMA = os.path.join(os.path.dirname(os.path.dirname(_HERE)), "schemas", "stack.schema.json")

_KEPT = {
    "choices",
    "expected",
    "extra_behavior",
    "fields",
    "items_schema",
    "keys_schema",
    "required",
    "schema",
    "strict",
    "type",
    "values_schema",
}
_TYPES = {
    "bool",
    "dict",
    "float",
    "int",
    "list",
    "literal",
    "nullable",
    "str",
    "typed-dict",
    "typed-dict-field",
    "union",
}
_PHRASES = {"bool": "true or false", "dict": "a map", "float": "a number", "int": "a whole number", "str": "a string"}
_TEXT = ["str", "int", "float", "bool"]
_MARK = "\0"
"""Begins the names of a union's choices in error locations: no key of a spec can begin so."""


def compiled() -> str:
    """The text of compiled.py: pydantic-core's schema as a literal, without classes and functions."""
    schema = _clean(TypeAdapter(Stack).core_schema)
    doc = '"""The shape of a spec, for pydantic-core. Generated from models.py by reconciler.spec.generate: do not edit."""'
    return f"{doc}\n\nfrom typing import Any\n\nSCHEMA: dict[str, Any] = {_literal(schema, 0)}\n"


def _literal(value: Any, level: int) -> str:
    """A value as Python, over several lines where one would be long."""
    flat = repr(value)
    if len(flat) + level < 110 or not isinstance(value, dict | list | tuple):
        return flat
    inside, outside = " " * (level + 1), " " * level
    if isinstance(value, dict):
        rows = [f"{inside}{key!r}: {_literal(item, level + 1)},\n" for key, item in value.items()]
    else:
        rows = [f"{inside}{_literal(item, level + 1)},\n" for item in value]
    first, last = {dict: ("{", "}"), list: ("[", "]"), tuple: ("(", ")")}[type(value)]
    return f"{first}\n{''.join(rows)}{outside}{last}"


def _clean(schema: Any) -> Any:
    """A schema with what checking needs and nothing else; a union's choices get the words of a message as names."""
    if isinstance(schema, list):
        return [_clean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema["type"]
    if kind not in _TYPES:
        raise TypeError(f"models.py uses {kind!r}, which has no place in compiled.py yet")
    out = {key: value for key, value in schema.items() if key in _KEPT}
    if kind == "typed-dict":
        out["fields"] = {name: _clean(field) for name, field in schema["fields"].items()}
    elif kind == "union":
        out["choices"] = [(_clean(choice), _MARK + _phrase(choice, schema)) for choice in schema["choices"]]
    else:
        out |= {
            key: _clean(out[key]) for key in ("schema", "items_schema", "keys_schema", "values_schema") if key in out
        }
    return out


def _phrase(choice: dict[str, Any], union: dict[str, Any]) -> str:
    """What a message calls one choice of a union; the four scalar types together are "text"."""
    kind = choice["type"]
    if kind in _TEXT and _is_text(union):
        return "text"
    if kind == "list":
        items = choice["items_schema"]
        return "a list of strings" if items["type"] == "str" or _is_text(items) else "a list"
    return "a map" if kind == "typed-dict" else _PHRASES[kind]


def _is_text(union: dict[str, Any]) -> bool:
    kinds = [choice["type"] for choice in union.get("choices", ())]
    return all(kind in kinds for kind in _TEXT)


class _Dialect(GenerateJsonSchema):
    """JSON Schema as editors show it best: no titles made of key names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def json_schema() -> str:
    """The text of stack.schema.json (JSON Schema 2020-12)."""
    schema = TypeAdapter(Stack).json_schema(schema_generator=_Dialect)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "stack.schema.json",
        "title": "Stack, reconciler/v1",
    }
    return json.dumps(head | {key: value for key, value in schema.items() if key != "title"}, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write both files, or with --check compare them; the exit code."""
    stale = 0
    for path, text in ((COMPILED, compiled()), (JSON_SCHEMA, json_schema())):
        if "--check" not in arguments:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            continue
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                sys.stderr.write(f"{path} is not what models.py says: run python -m reconciler.spec.generate\n")
                stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
