"""Makes of spec/models.py what others use: compiled.py for the run time, schemas/stack.schema.json for editors.

And for people explained.py, which `explain` prints from, and docs/spec.md.

    python -m reconciler.spec.generate            # write all
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
_PROJECT = os.path.dirname(os.path.dirname(_HERE))
COMPILED = os.path.join(_HERE, "compiled.py")
EXPLAINED = os.path.join(_HERE, "explained.py")
JSON_SCHEMA = os.path.join(_PROJECT, "schemas", "stack.schema.json")
REFERENCE = os.path.join(_PROJECT, "docs", "spec.md")

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


_HEAD = """\
# The spec, key by key

Generated from `reconciler/spec/models.py`: do not edit. `reconciler explain KEY.PATH` shows the same.

A key that Compose has for a service is spelled and shaped as in Compose. *Text* is any scalar, taken as it is written:
1.10 stays 1.10. Sizes are bytes or `64k`, `512m`, `2g`; durations `500ms`, `1m30s`. Unknown keys are errors, but keys
that begin with `x-` are free everywhere.
"""


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


def explained() -> str:
    """The text of explained.py: each key by its path, without the names that a user chooses, and what goes with it."""
    doc = '"""What each key of a spec means. Generated from models.py by reconciler.spec.generate: do not edit."""'
    return f"{doc}\n\nfrom typing import Any\n\nKEYS: dict[str, dict[str, Any]] = {_literal(_keys(), 0)}\n"


def _keys() -> dict[str, dict[str, Any]]:
    schema = TypeAdapter(Stack).json_schema(schema_generator=_Dialect)
    found: dict[str, dict[str, Any]] = {"": {"text": schema["description"], "type": "map"}}
    _explain("", schema, schema["$defs"], found)
    return found


def _explain(path: str, schema: dict[str, Any], types: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    """Add the keys below a value, in the order of the models."""
    for each in _alternatives(schema, types):
        if each.get("type") == "array":
            _explain(path, each["items"], types, found)
        elif isinstance(each.get("additionalProperties"), dict):
            _explain(path, each["additionalProperties"], types, found)
        for name, value in each.get("properties", {}).items():
            below = f"{path}.{name}" if path else name
            found[below] = _explanation(value, types, required=name in each.get("required", ()))
            _explain(below, value, types, found)


def _explanation(schema: dict[str, Any], types: dict[str, Any], *, required: bool) -> dict[str, Any]:
    values = [word for each in _alternatives(schema, types) for word in each.get("enum", [each.get("const")]) if word]
    about = {
        "text": schema["description"],
        "type": _in_words(schema, types),
        "since": schema["since"],
        "required": required,
        "values": values,
        "examples": schema.get("examples"),
        "default": schema.get("default"),
    }
    unsaid = {"required": False, "values": []}
    return {name: value for name, value in about.items() if value is not None and value != unsaid.get(name)}


def _alternatives(schema: dict[str, Any], types: dict[str, Any]) -> list[dict[str, Any]]:
    """What a value may be, references followed."""
    if "$ref" in schema:
        return _alternatives(types[schema["$ref"].rpartition("/")[2]], types)
    if "anyOf" in schema:
        return [each for choice in schema["anyOf"] for each in _alternatives(choice, types)]
    return [schema]


def _in_words(schema: dict[str, Any], types: dict[str, Any]) -> str:
    """The type as a person says it: "text or list of texts", "map of NAME to text"."""
    words = []
    for each in _alternatives(schema, types):
        kind = each.get("type")
        if kind == "array":
            words.append(f"list of {_several(_in_words(each['items'], types))}")
        elif isinstance(each.get("additionalProperties"), dict):
            words.append(f"map of NAME to {_several(_in_words(each['additionalProperties'], types))}")
        elif kind == "boolean" and "text" not in words:
            words.append("true or false")
        elif kind != "boolean":
            words.append({"object": "map", "null": "nothing"}.get(str(kind), "text"))
    return " or ".join(dict.fromkeys(words))


def _several(words: str) -> str:
    """The type of each item."""
    return f"({words})" if " or " in words else f"{words}s"


def reference() -> str:
    """The text of docs/spec.md: every key in a table, a table for each map that has some."""
    keys = _keys()
    parts = [_HEAD]
    for path in keys:
        below = {name: about for name, about in keys.items() if name.rpartition(".")[0] == path and name}
        if below:
            parts.append(_table(path, keys[path], below))
    return "".join(parts)


def _example(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(path: str, about: dict[str, Any], below: dict[str, dict[str, Any]]) -> str:
    named = "map of NAME" in about["type"]
    title = f"{path}.NAME" if named else path or "A stack"
    rows = [f"\n## {title}\n", f"{about['text']}.\n" if path else f"{about['text']}\n", "| key | type | meaning |"]
    rows.append("| --- | --- | --- |")
    for name, each in below.items():
        meaning = [each["text"] + (" (required)" if each.get("required") else "")]
        if each.get("values"):
            meaning.append("one of " + ", ".join(f"`{value}`" for value in each["values"]))
        if each.get("default") is not None:
            meaning.append(f"default `{json.dumps(each['default']).strip(chr(34))}`")
        if each.get("examples"):
            meaning.append("for example " + ", ".join(f"`{_example(one)}`" for one in each["examples"]))
        text = "; ".join(meaning).replace("|", "\\|")
        rows.append(f"| `{name.rpartition('.')[2]}` | {each['type']} | {text} |")
    return "\n".join(rows) + "\n"


GENERATED = {COMPILED: compiled, EXPLAINED: explained, JSON_SCHEMA: json_schema, REFERENCE: reference}
"""Each file, and what makes its text."""


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them; the exit code."""
    stale = 0
    for path, make in GENERATED.items():
        text = make()
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
