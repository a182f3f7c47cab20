"""`reconciler explain`: what it says of keys, and of what is none."""

from __future__ import annotations

import json

import pytest

from reconciler.spec.compiled import SHAPE
from reconciler.spec.explained import KEYS


def paths(shape, path=""):
    """The path of every key of a shape."""
    for choice in shape.get("choices", [shape]):
        for name, below in choice.get("keys", {}).items():
            inner = f"{path}.{name}" if path else name
            yield inner
            yield from paths(below, inner)
        for part in ("items", "values"):
            if isinstance(choice.get(part), dict):
                yield from paths(choice[part], path)


def test_every_key_of_a_spec_is_explained(call):
    assert set(paths(SHAPE)) == set(KEYS) - {""}
    for path in KEYS:
        assert KEYS[path]["text"] in call(None, "explain", path or ".").out


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("containers.restart", "containers.restart"),
        ("containers.web.healthcheck.interval", "containers.healthcheck.interval"),
        ("containers.ports[0].published", "containers.ports.published"),
        ("containers.ulimits.nofile.soft", "containers.ulimits.soft"),
        ("", ""),
    ],
)
def test_names_and_numbers_may_stand_between_keys(call, asked, key):
    assert json.loads(call(None, "explain", "--json", *([asked] if asked else [])).out)["path"] == key


def test_a_key_comes_with_type_default_examples_values_and_what_is_below(call):
    shown = call(None, "explain", "containers.depends_on.condition").out.split("\n")
    assert shown[0] == "containers.depends_on.condition: text"
    assert "  default   service_started" in shown
    assert "  values    service_started, service_healthy, service_completed_successfully" in shown
    assert (
        "    published  Port of the host, or a range; a free one if left out"
        in call(None, "explain", "containers.ports").out
    )
    assert '  examples  {"nofile": 4096}' in call(None, "explain", "containers.ulimits").out


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("containers.restrat", "did you mean containers.restart?"),
        ("mem_limit", "did you mean containers.mem_limit?"),
        ("containers.web", "reconciler explain containers shows what there is"),
        ("containers.restart.policy", 'containers.restart has no keys, so not "policy"'),
    ],
)
def test_what_is_no_key_gets_the_nearest(call, asked, meant):
    ran = call(None, "explain", asked)
    assert ran.code == 1
    assert meant in ran.err
