"""A plan as JSON is what its published schema says, and gives away no secret."""

import json
import os

import jsonschema
import pytest
from hypothesis import given, settings
from planner_cases import names, planned
from random_stacks import drifts, edits, look_and_plan, machine_with

from reconciler.kits.errors import ReconcilerError
from reconciler.model import action
from reconciler.model.observed import Observed, ObservedContainer, ObservedImage
from reconciler.planner.document import document
from reconciler.planner.options import Options
from reconciler.planner.planning import plan
from reconciler.planner.text import render
from reconciler.runtimes.base import Capabilities
from reconciler.sources.files import FileTree
from reconciler.spec.resolve import load_stack

SCHEMA = os.path.join(os.path.dirname(__file__), "..", "..", "schemas", "plan.schema.json")


def documents():
    found = {}
    for name in names():
        try:
            found[name] = document(planned(name))
        except ReconcilerError:
            continue
    return found


DOCUMENTS = documents()


@pytest.fixture(scope="module")
def validator():
    with open(SCHEMA, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_case_is_as_the_schema_says(name, validator):
    assert [error.message for error in validator.iter_errors(DOCUMENTS[name])] == []
    assert json.loads(json.dumps(DOCUMENTS[name])) == DOCUMENTS[name]


def test_the_schema_has_the_verbs_and_kinds_that_there_are(validator):
    made = [kind for kind in vars(action).values() if isinstance(kind, type) and hasattr(kind, "verb")]
    assert {kind.verb for kind in made} == set(validator.schema["$defs"]["verb"]["enum"])
    assert {step["kind"] for made in DOCUMENTS.values() for step in made["steps"]} == set(
        validator.schema["$defs"]["kind"]["enum"]
    )


@settings(deadline=None, max_examples=50)
@given(edits(), drifts)
def test_any_plan_is_as_the_schema_says(validator, edit, ways):
    before, after = edit
    made = document(look_and_plan(machine_with(before, ways), after, wait=True))
    assert [error.message for error in validator.iter_errors(made)] == []


def test_a_replacement_is_spelled_out():
    made = DOCUMENTS["link-target-changes"]
    first, second = made["steps"][:2]
    assert first == {
        "number": 1,
        "verb": "stop",
        "kind": "container",
        "name": "web",
        "change": "follow",
        "reasons": [{"text": "follows db by link", "kind": "follows"}],
        "after": [],
        "gate": "",
        "undo": None,
        "downtime": True,
        "data": "",
    }
    assert second["reasons"] == [
        {
            "text": "environment.MYSQL_DATABASE changed",
            "kind": "spec",
            "field": "environment.MYSQL_DATABASE",
            "old": "shop",
            "new": "blog",
            "position": {"file": "specs/shop.yaml", "line": 4, "column": 66},
            "must": "what its process is given is fixed when a container is made",
        }
    ]
    assert made["summary"] == [
        {"change": "replace", "kind": "container", "count": 1},
        {"change": "follow", "kind": "container", "count": 1},
    ]


def test_a_first_start_says_what_would_take_it_back():
    creates = [
        step for step in DOCUMENTS["first-up"]["steps"] if (step["verb"], step["kind"]) == ("create", "container")
    ]
    assert [step["undo"] for step in creates] == [
        {"verb": "remove", "kind": "container", "name": "db"},
        {"verb": "remove", "kind": "container", "name": "web"},
    ]


def test_who_gets_a_volume_starts_once_who_gives_it_up_is_down():
    steps = DOCUMENTS["volumes-change-hands"]["steps"]
    numbers = {(step["verb"], step["name"]): step["number"] for step in steps}
    waits = {step["name"]: step["after"] for step in steps if step["verb"] == "start"}
    for name in ("writer", "reader"):
        others = {other: numbers["stop", f"old-{other}"] in waits[name] for other in ("writer", "reader")}
        assert others == {other: other == name for other in others}


def kinds_of(name):
    return {reason["kind"] for step in DOCUMENTS[name]["steps"] for reason in step["reasons"]}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("in-place", {"spec"}),
        ("network-lost", {"drift"}),
        ("limits-drift", {"spec", "drift"}),
        ("image-moved", {"image"}),
        ("link-target-changes", {"spec", "follows"}),
        ("taken-over", {"asked"}),
        ("replaced-by-option", {"asked", "follows"}),
    ],
)
def test_a_reason_says_whether_the_spec_or_the_machine_has_changed(name, kinds):
    assert kinds_of(name) == kinds


def test_a_value_is_followed_to_what_it_came_from(validator, tmp_path):
    (tmp_path / ".env").write_text("DB=shop\nTAG=2\n")
    (tmp_path / "db.env").write_text("# two of them\nA=1\nB=${DB}\n")
    spec = tmp_path / "w.yaml"
    spec.write_text(
        "apiVersion: reconciler/v1\nkind: Stack\nname: w\ncontainers:\n  web:\n    image: app:${TAG}\n"
        "    env_file: db.env\n    environment: {C: '${HERE}-${GONE:-x}'}\n"
    )
    stack = load_stack(FileTree(str(spec)), {"HERE": "h"}).stack
    here = f"{stack.source.removesuffix('w.yaml')}"
    seen = ObservedContainer(
        "1", "web", "running", stack="w", key="web", origin=stack.origin, settings={"image": "app:1", "user": "u"}
    )
    world = Observed((seen,), images={"app:2": ObservedImage("app:2", "sha256:2")})
    made = plan(stack, world, Options(), Capabilities("embedded"))
    assert [str(origin) for reason in made.steps[0].reasons for origin in reason.origins] == [
        f"${{TAG}} from {here}.env:2:1",
        f"env_file at {stack.source}:7:15",
        f"env_file at {stack.source}:7:15",
        f"${{DB}} from {here}.env:1:1",
        "${HERE} from the environment",
        "default of ${GONE}",
        "the image's counts",
    ]
    assert f"environment.A: (not set) -> 1  ({here}db.env:2:1, env_file at {stack.source}:7:15)" in render(made)
    assert list(validator.iter_errors(document(made))) == []


def test_no_secret_is_in_it():
    assert "hunter2" not in json.dumps(DOCUMENTS["secret-is-masked"])
    assert "password, " not in json.dumps(DOCUMENTS["secret-is-masked"])
