"""What README, docs and `explain` show as YAML is taken as it stands, by us and by the JSON Schema that editors use."""

from __future__ import annotations

import glob
import json
import os
import re
import textwrap

import jsonschema
import pytest
import yaml

from reconciler.spec import generate, shape
from reconciler.spec.explained import KEYS
from reconciler.spec.findings import Findings
from reconciler.spec.loader import decode, load

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = {"apiVersion": "reconciler/v1", "kind": "Stack", "name": "shown"}
CONFIGURATION = {"registries", "images", "certificates", "pull"}
"""Keys of the machine's configuration, which has tests of its own."""
_OTHER_PARTS = {"volumes", "moved", "adopt"}


def shown():
    """The specs in documents; one that shows only some containers, or only other parts, gets what is lacking."""
    for path in (f"{REPOSITORY}/README.md", *sorted(glob.glob(f"{REPOSITORY}/docs/*.md"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for found in re.finditer(r"^```ya?ml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            document = yaml.load(textwrap.dedent(found[1]), Loader=yaml.CSafeLoader)
            if CONFIGURATION.isdisjoint(document):
                name = f"{os.path.basename(path)}:{text.count(chr(10), 0, found.start()) + 1}"
                yield pytest.param(document if "kind" in document else _stack(document), id=name)


def _stack(part):
    if not _OTHER_PARTS.isdisjoint(part):
        part.setdefault("containers", {"web": {}})
    containers = part.pop("containers", None) or part
    rest = part if containers is not part else {}
    return {**HEAD, "containers": {name: {"image": "x", **one} for name, one in containers.items()}, **rest}


def explained():
    """Every example of `explain`, in a spec where its key is."""
    for path, about in KEYS.items():
        for number, example in enumerate(about.get("examples", ())):
            steps = path.split(".")
            if len(steps) <= 2:
                value = {"image": "x", steps[-1]: example} if len(steps) == 2 else example
                document = {**HEAD, "containers": {"web": {"image": "x"}}}
                document[steps[0]] = {"web": value} if len(steps) == 2 else value
                yield pytest.param(document, id=f"{path}-{number}")


def refused(document):
    """What the JSON Schema and we find wrong with a document."""
    with open(generate.JSON_SCHEMA, encoding="utf-8") as file:
        schema = json.load(file)
    findings = Findings()
    shape.check(load(decode("shown", yaml.safe_dump(document).encode()), findings), findings)
    return [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(document)], list(
        findings._found.values()
    )


@pytest.mark.parametrize("document", [*shown(), *explained()])
def test_what_documents_show_is_taken(document):
    assert refused(document) == ([], [])


def test_what_is_shown_is_found():
    assert len(list(shown())) >= 3
    assert len(list(explained())) >= 10
    wrong = {**HEAD, "containers": {"web": {"image": "x", "restrat": "no"}}}
    assert all(refused(wrong))
