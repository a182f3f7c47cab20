"""A plan as JSON is what its published schema says, and gives away no secret."""

import json
import os

import jsonschema
import pytest
from planner_cases import names, planned

from reconciler.kits.errors import ReconcilerError
from reconciler.planner.document import document

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


def test_a_replacement_is_spelled_out():
    made = DOCUMENTS["link-target-changes"]
    first, second = made["steps"][:2]
    assert first == {
        "number": 1,
        "verb": "stop",
        "kind": "container",
        "name": "web",
        "change": "follow",
        "reasons": [{"text": "follows db by link"}],
        "after": [],
        "gate": "",
        "undo": None,
        "downtime": True,
        "data": "",
    }
    assert second["reasons"] == [
        {
            "text": "environment.MYSQL_DATABASE changed",
            "field": "environment.MYSQL_DATABASE",
            "old": "shop",
            "new": "blog",
            "position": {"file": "specs/shop.yaml", "line": 4, "column": 66},
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


def test_no_secret_is_in_it():
    assert "hunter2" not in json.dumps(DOCUMENTS["secret-is-masked"])
    assert "password, " not in json.dumps(DOCUMENTS["secret-is-masked"])
