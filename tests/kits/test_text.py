"""Text from outside: nothing in it drives a terminal."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.kits.text import double_quote, ellipsis, listed, nearest, plural, printable, printable_log, quote

ANY = st.text(st.characters(exclude_categories=()))


@given(ANY)
@example("\x1b]0;title\x07\u202e\u2028\udc80\x9b31m")
def test_printable_leaves_nothing_that_controls_or_hides(text):
    for shown in (printable(text), quote(text), double_quote(text)):
        assert [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")] == []


@given(st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" ")))
def test_printable_leaves_plain_text_alone(text):
    assert printable(text) == text


@given(ANY)
def test_a_log_line_keeps_only_colours(text):
    shown = printable_log("\x1b[1;31m" + text + "\x1b[0m")
    assert shown.startswith("\x1b[1;31m")
    rest = shown.split("\x1b")[1:]
    assert all(
        part.startswith("[") and part[1:].partition("m")[0].replace(";", "").replace(":", "").isascii() for part in rest
    )
    assert all(part[1:].partition("m")[0].strip("0123456789;:") == "" for part in rest)
    assert [c for c in shown if c not in {"\x1b", "\t"} and unicodedata.category(c) == "Cc"] == []


def test_words():
    assert quote("a\nb") == r"'a\nb'"
    assert quote("x" * 100) == "'" + "x" * 57 + "...'"
    assert double_quote('sh -c "a\\b"\n') == r'"sh -c \"a\\b\"\n"'
    assert (ellipsis("docker-entrypoint.sh", 20), ellipsis("x" * 21, 20)) == ("docker-entrypoint.sh", "x" * 19 + "…")
    assert (plural(1, "step"), plural(0, "step")) == ("1 step", "0 steps")
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert (nearest("aply", ["apply", "plan"]), nearest("zzz", ["apply", "plan"])) == ("apply", "")
