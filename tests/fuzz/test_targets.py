"""Every place that takes strangers' bytes, with right input damaged and with anything at all."""

from __future__ import annotations

import pytest
import targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

WORDS = st.sampled_from([
    b"\0", b"..", b"/", b"../../", b"sha256:", b"-1", b"99999999999999999999", b"\xff\xfe", b"null", b"{}", b"[]", b"1e999",
    b"ustar", b"\n", b":", b"0" * 5000, b"${A", b"&a [*a]", b"!!x ", "é".encode(), b"\xd9\xa1", b"\x1b[2J",
])  # fmt: skip


@st.composite
def damaged(draw, seeds):
    """A right input with pieces put in, taken out, doubled or overwritten."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(len(data), at + 600)))
        piece = draw(st.one_of(st.binary(max_size=12), WORDS, st.just(data[at:to] * 2)))
        data = data[:at] + piece + data[draw(st.sampled_from([at, to, min(len(data), at + len(piece))])) :]
    return data


@pytest.mark.parametrize("name", targets.TARGETS)
def test_bytes_of_strangers_end_in_a_result_or_in_an_error_for_a_person(name):
    target, seeds = targets.TARGETS[name]

    @settings(max_examples=60 if name == "archive" else 300, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(seeds), damaged(seeds), st.binary(max_size=300)))
    def hold(data):
        target(data)

    for seed in seeds:
        target(seed)
    hold()
