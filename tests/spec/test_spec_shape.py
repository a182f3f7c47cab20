"""The generated files are what the models say, and the walk over nodes judges as pydantic does."""

from __future__ import annotations

import glob
import json
import os
import re

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from specbench import resolve

from reconciler.kits.errors import ReconcilerError
from reconciler.spec import generate, models, sections, shape
from reconciler.spec.compiled import SHAPE
from reconciler.spec.containers import SECTION_KEYS
from reconciler.spec.findings import Findings
from reconciler.spec.loader import decode, load

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODELS = TypeAdapter(models.Stack)
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.just(1.5), st.just("text"), st.just([]), st.just({}),
    st.just(["a"]), st.just([["a"]]), st.just([{"path": "x"}]), st.just({"a": "b"}), st.just({"a": {}}),
)  # fmt: skip


with open(generate.JSON_SCHEMA, encoding="utf-8") as file:
    EDITOR = jsonschema.Draft202012Validator(json.load(file))


def of_shape(described):
    """Values that a shape takes, with something else here and there."""
    kind = described["is"]
    if kind == "keys":
        needed = {name: of_shape(described["keys"][name]) for name in described["required"]}
        free = {name: of_shape(each) for name, each in described["keys"].items() if name not in needed}
        fitting = st.fixed_dictionaries(needed, optional=free)
    elif kind == "map":
        fitting = st.dictionaries(st.sampled_from(["a", "b"]), of_shape(described["values"]), max_size=2)
    elif kind == "list":
        fitting = st.lists(of_shape(described["items"]), max_size=2)
    elif kind == "choice":
        fitting = st.one_of(*(of_shape(each) for each in described["choices"]))
    else:
        fitting = {
            "literal": st.sampled_from(described.get("values", [None])),
            "bool": st.booleans(),
            "null": st.none(),
            "str": st.just("text"),
            "text": st.sampled_from(["text", 1, 1.5, True]),
        }[kind]
    return st.integers(0, 60).flatmap(lambda dice: ANYTHING if dice == 0 else fitting)


@given(of_shape(SHAPE).filter(lambda value: isinstance(value, dict) and value))
def test_the_walk_pydantic_and_the_json_schema_agree(value):
    findings = Findings()
    root = load(decode("x", json.dumps(value).encode()), findings)
    wrong = shape.check(root, findings)
    assert bool(wrong) == refused_by_pydantic(value) == (not EDITOR.is_valid(value))
    left: list[tuple] = []
    shape._walk(SHAPE, root, (), left)
    assert {kind for _, kind, _ in left} <= {"missing"}, "what was wrong has been cut out"


def refused_by_pydantic(value):
    try:
        MODELS.validate_python(value)
    except ValidationError:
        return True
    return False


def test_generated_files_are_up_to_date():
    for path, make in generate.GENERATED.items():
        with open(path, encoding="utf-8") as file:
            assert file.read() == make(), "run python -m reconciler.spec.generate"


def schema():
    with open(generate.JSON_SCHEMA, encoding="utf-8") as file:
        return json.load(file)


def test_the_json_schema_is_one_and_every_key_is_described():
    jsonschema.Draft202012Validator.check_schema(schema())
    for name, each in [("Stack", schema()), *schema()["$defs"].items()]:
        for key, value in each["properties"].items():
            assert value.get("description"), (name, key)
            assert value.get("since"), (name, key)


GOOD = sorted(glob.glob(f"{REPOSITORY}/specs/*.yaml") + glob.glob(f"{REPOSITORY}/tests/spec/cases/good-*/spec.yaml"))


@pytest.mark.parametrize("path", [pytest.param(each, id=os.path.relpath(each, REPOSITORY)) for each in GOOD])
def test_editors_find_nothing_wrong_with_good_specs(path):
    with open(path, encoding="utf-8") as file:
        document = yaml.load(file, Loader=yaml.CSafeLoader)
    errors = [e.message for e in jsonschema.Draft202012Validator(schema()).iter_errors(document)]
    if "good-variables" in path:  # an editor cannot know what a variable holds
        errors = [message for message in errors if "${EXTERNAL}" not in message]
    assert errors == []


@pytest.mark.parametrize(
    "path",
    [path for top in ("specs", "examples") for path in glob.glob(f"{REPOSITORY}/{top}/**/*.y*ml", recursive=True)],
)
def test_specs_that_are_shipped_resolve_and_name_their_schema_for_editors(path):
    with open(path, "rb") as file:
        text = file.read()
    assert resolve(text).stack.containers
    schema_line = re.match(rb"# yaml-language-server: \$schema=(\S+)\n", text)
    assert schema_line, "editors find the schema by its first line"
    named = os.path.join(os.path.dirname(path), schema_line[1].decode())
    assert os.path.samefile(named, generate.JSON_SCHEMA)


def test_editors_and_we_refuse_the_same_shapes():
    with open(f"{REPOSITORY}/tests/spec/cases/bad-types/spec.yaml", "rb") as file:
        text = file.read()
    paths = {
        tuple(e.absolute_path)[:3] for e in jsonschema.Draft202012Validator(schema()).iter_errors(yaml.safe_load(text))
    }
    findings = Findings()
    ours = {path[:3] for path in shape.check(load(decode("x", text), findings), findings)}
    with pytest.raises(ReconcilerError):
        findings.check()
    assert paths == ours


class Asked:
    """Stands for the fields of a map, of which none is set, and remembers for which it was asked."""

    def __init__(self):
        self.keys = set()

    def __getattr__(self, name):
        empty = {"text": None, "flag": False, "texts": (), "items": (), "entries": (), "pairs": (), "maps": ()}

        def ask(key, *_arguments):
            self.keys.add(key)
            return empty[name]

        return ask if name in empty else lambda *_arguments: None


def test_sections_are_loaded_for_each_key_that_they_read():
    """Where a container has none of these keys, nobody asks `sections`."""
    asked = Asked()
    sections.every(asked, None)
    assert asked.keys - {"volumes"} == SECTION_KEYS
