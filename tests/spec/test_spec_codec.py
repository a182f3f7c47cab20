"""A stack survives the trip through JSON, whatever is in it."""

from __future__ import annotations

import json
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specbench import HEAD, resolve

from reconciler.kits.frozen import Frozen, fields
from reconciler.kits.source import Origin, Position
from reconciler.model import codec, desired

TEXT = st.text(max_size=8)
st.register_type_strategy(float, st.floats(allow_nan=False))
st.register_type_strategy(str, TEXT)
PATHS = st.lists(st.one_of(TEXT, st.integers(0, 99)), max_size=4).map(tuple)
POSITIONS = st.builds(Position, TEXT, st.integers(1), st.integers(1))
ORIGINS = st.builds(Origin, TEXT, TEXT, st.none() | POSITIONS)


def any_of(kind):
    """Every field drawn by its type, frozen classes inside as well."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: st.from_type(hints[name]) for name in fields(kind)})


for one in (desired.Link, desired.Dependency, desired.Mount, desired.VolumesFrom, desired.Port, desired.Restart):
    st.register_type_strategy(one, any_of(one))
for one in (desired.Healthcheck, desired.Logging, desired.Ulimit, desired.Device, desired.Tmpfs):
    st.register_type_strategy(one, any_of(one))


def keyed(kind):
    return st.lists(any_of(kind), max_size=3).map(lambda items: {each.key: each for each in items})


STACKS = st.builds(
    desired.Stack,
    name=TEXT,
    source=TEXT,
    origin=TEXT,
    containers=keyed(desired.Container),
    volumes=keyed(desired.Volume),
    positions=st.dictionaries(PATHS, POSITIONS, max_size=4),
    moved=st.lists(any_of(desired.Move), max_size=2).map(tuple),
    adopt=st.lists(any_of(desired.Adoption), max_size=2).map(tuple),
    origins=st.dictionaries(PATHS, st.lists(ORIGINS, max_size=2).map(tuple), max_size=4),
)


@given(STACKS)
def test_round_trip(stack):
    assert codec.decode(json.loads(json.dumps(codec.encode(stack)))) == stack


def test_every_field_that_is_no_json_value_is_known_to_the_codec():
    """A field of Container that is made of frozen classes must be named in the codec, or it would come back as a map."""
    hints = get_type_hints(desired.Container)
    structured = {
        name
        for name in fields(desired.Container)
        if any(isinstance(one, type) and issubclass(one, Frozen) for one in (hints[name], *get_args(hints[name])))
    }
    assert structured == {*codec._LISTS, *codec._OBJECTS}


def test_another_version_is_refused():
    document = codec.encode(resolve(HEAD + "containers: {a: {image: x}}").stack)
    with pytest.raises(ValueError, match="another release"):
        codec.decode(document | {"version": 0})
