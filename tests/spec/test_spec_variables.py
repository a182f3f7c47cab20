"""Variables: expressions are built as trees, spelled, and worked out again by an evaluator that never parses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specbench import HEAD, resolve

from reconciler.spec.variables import VariableError, Variables, substitute

SET = {"FULL": "full", "EMPTY": "", "DOLLAR": "${FULL} $$ }"}
NAMES = st.sampled_from([*SET, "GONE", "_X1"])
LITERALS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$}"), max_size=6)

PIECES = st.recursive(
    st.one_of(st.tuples(st.just("text"), LITERALS), st.just(("dollar",)), st.tuples(st.just("bare"), NAMES)),
    lambda inner: st.tuples(
        st.just("braces"), NAMES, st.sampled_from(["", ":-", "-", ":?", "?", ":+", "+"]), st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)


def spell(pieces):
    out = ""
    for kind, *rest in pieces:
        if kind == "text":
            out += rest[0]
        elif kind == "dollar":
            out += "$$"
        elif kind == "bare":
            out += f"${rest[0]}."  # the dot keeps the name apart from what follows
        else:
            name, operator, word = rest
            out += f"${{{name}{operator}{spell(word) if operator else ''}}}"
    return out


def evaluate(pieces):
    """The value; raises KeyError where a variable is missing."""
    out = ""
    for kind, *rest in pieces:
        if kind == "text":
            out += rest[0]
        elif kind == "dollar":
            out += "$"
        elif kind == "bare":
            out += SET[rest[0]] + "."
        else:
            out += braces(*rest)
    return out


def braces(name, operator, word):
    present = name in SET and (SET[name] != "" or not operator.startswith(":"))
    match operator[-1:]:
        case "+":
            return evaluate(word) if present else ""
        case "-" if not present:
            return evaluate(word)
        case _ if not present:
            raise KeyError(name)
    return SET[name]


@given(st.lists(PIECES, max_size=5))
def test_substitution_agrees_with_the_expression_it_was_spelled_from(pieces):
    text = spell(pieces)
    try:
        expected = evaluate(pieces)
    except KeyError:
        with pytest.raises(VariableError):
            substitute(text, Variables(SET, dict))
        return
    assert substitute(text, Variables(SET, dict))[0] == expected


@given(st.text(max_size=40))
def test_doubled_dollars_protect_any_text(text):
    assert substitute(text.replace("$", "$$"), Variables(SET, dict)) == (text, ())


def test_what_was_looked_up_is_remembered_with_its_value_outside_of_dotenv():
    spec = HEAD + "containers:\n  web: {image: '${A}', hostname: '${B}', user: '${C:-c}', environment: [D, E]}\n"
    resolved = resolve(spec, {"A": "a", "UNUSED": "u", "D": "d"}, **{".env": "B=b\nF=f\n"})
    used = resolved.inputs.variables
    assert {name for name, digest in used.items() if digest} == {"A", "D"}
    assert {name for name, digest in used.items() if digest is None} == {"B", "C", "E"}


def test_defaults_cannot_be_nested_without_end():
    with pytest.raises(VariableError, match="nested deeper"):
        substitute("${A:-" * 100 + "}" * 100, Variables({}, dict))
