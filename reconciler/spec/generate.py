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

_SCALARS = {"bool": "true or false", "str": "text"}
_TEXT = {"str", "int", "float", "bool"}
_NODES = {
    "text": "scalar",
    "str": "scalar",
    "bool": "scalar",
    "literal": "scalar",
    "list": "list",
    "keys": "map",
    "map": "map",
}


def compiled() -> str:
    """The text of compiled.py: the shape as a literal, without classes, in the few kinds that shape.py knows."""
    shape = _shape(TypeAdapter(Stack).core_schema)
    doc = '"""The shape of a spec. Generated from models.py by reconciler.spec.generate: do not edit."""'
    return f"{doc}\n\nfrom typing import Any\n\nSHAPE: dict[str, Any] = {_literal(shape, 0)}\n"


def _shape(schema: Any) -> dict[str, Any]:
    """Pydantic's schema of a type as a shape (the kinds are described in shape.py)."""
    kind = schema["type"]
    if kind == "typed-dict":
        fields = schema["fields"]
        required = [name for name, field in fields.items() if field["required"]]
        keys = {name: _shape(field["schema"]) for name, field in fields.items()}
        return {"is": "keys", "expected": "a map", "required": required, "keys": keys}
    if kind == "dict":
        return {"is": "map", "expected": "a map", "values": _shape(schema["values_schema"])}
    if kind == "list":
        items = _shape(schema["items_schema"])
        expected = "a list of texts" if items["is"] in ("str", "text") else "a list"
        return {"is": "list", "expected": expected, "items": items}
    if kind == "literal":
        return {"is": "literal", "expected": " or ".join(map(repr, schema["expected"])), "values": schema["expected"]}
    if kind == "nullable":
        inner = _shape(schema["schema"])
        choices = inner["choices"] if inner["is"] == "choice" else [inner]
        return {"is": "choice", "choices": [*choices, {"is": "null", "expected": "nothing"}]}
    if kind == "union":
        return _choice(schema["choices"])
    if kind not in _SCALARS:
        raise TypeError(f"models.py uses {kind!r}, which shape.py does not know")
    return {"is": kind, "expected": _SCALARS[kind]}


def _choice(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """A union. The four scalar types together are text; what is left must be told apart by the kind of a YAML node."""
    kinds = {choice["type"] for choice in choices}
    shapes = [{"is": "text", "expected": "text"}] if kinds >= _TEXT else []
    shapes += [_shape(choice) for choice in choices if not (kinds >= _TEXT and choice["type"] in _TEXT)]
    nodes = [_NODES[shape["is"]] for shape in shapes]
    if len(set(nodes)) < len(nodes):
        raise TypeError(f"a union in models.py has two choices that are {max(nodes, key=nodes.count)}s")
    return shapes[0] if len(shapes) == 1 else {"is": "choice", "choices": shapes}


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
