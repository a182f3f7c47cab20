"""Frozen classes hold what dataclasses promise: equality, defaults, no changes, and what a wrong call is told."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kits.frozen import Frozen, as_document, field, fields, replace


def shout(text):
    return text.upper()


class Point(Frozen):
    x: int
    y: int = 0
    names: dict[str, int] = field(default_factory=dict)
    say: object = shout

    kind = "point"

    @property
    def sum(self):
        return self.x + self.y


class Tagged(Point):
    tag: str = ""


@dataclasses.dataclass(frozen=True)
class Model:
    x: int
    y: int = 0
    names: dict[str, int] = dataclasses.field(default_factory=dict)


values = st.fixed_dictionaries(
    {"x": st.integers()}, optional={"y": st.integers(), "names": st.dictionaries(st.text(), st.integers())}
)


@given(values, values)
def test_equal_where_dataclasses_are(one, other):
    assert (Point(**one) == Point(**other)) == (Model(**one) == Model(**other))
    assert (Point(**one) != Point(**other)) == (Model(**one) != Model(**other))
    if "names" not in one:
        assert repr(Point(**one)).startswith(repr(Model(**one)).replace("Model", "Point")[:-1])


def test_defaults_are_each_ones_own_and_functions_stay_functions():
    one, other = Point(1), Point(1)
    one.names["a"] = 1
    assert other.names == {}
    assert one.say("x") == "X"
    assert (one.kind, one.sum) == ("point", 1)


def test_a_subclass_adds_fields_and_equals_no_other_class():
    assert fields(Tagged) == ("x", "y", "names", "say", "tag")
    assert Tagged(1, tag="a") == Tagged(1, 0, {}, shout, "a")
    assert Tagged(1) != Point(1)
    assert Point(1).__eq__("1") is NotImplemented


def test_nothing_can_be_set_or_deleted():
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen: x can't be set"):
        point.x = 2
    with pytest.raises(AttributeError, match="frozen: x can't be deleted"):
        del point.x
    assert replace(point, y=5) == Point(1, 5)
    assert point == Point(1)


@pytest.mark.parametrize(
    ("arguments", "named", "words"),
    [
        ((), {}, "missing or unknown: x"),
        ((), {"x": 1, "z": 2}, "missing or unknown: z"),
        ((1,), {"x": 2}, "x is given twice"),
        ((1, 2, {}, shout, 5), {}, "has 4 fields, not 5"),
    ],
)
def test_a_wrong_call_is_told(arguments, named, words):
    with pytest.raises(TypeError, match=words):
        Point(*arguments, **named)


def test_hashed_by_value_where_the_fields_can_be():
    class Pair(Frozen):
        a: int
        b: tuple[int, ...] = ()

    assert len({Pair(1), Pair(1, ()), Pair(1, (2,))}) == 2
    with pytest.raises(TypeError):
        hash(Point(1))


def test_a_document_is_what_json_can_hold():
    class Line(Frozen):
        points: tuple[Point, ...]
        by: dict[str, Point]

    line = Line((Point(1, say=0),), {"a": Point(2, names={"n": 1}, say=0)})
    assert as_document(line) == {
        "points": [{"x": 1, "y": 0, "names": {}, "say": 0}],
        "by": {"a": {"x": 2, "y": 0, "names": {"n": 1}, "say": 0}},
    }
