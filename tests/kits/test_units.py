"""Sizes and durations: what people write is read, and what is written is Docker's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.units import binary_size, human_duration, human_size, parse_duration, parse_size

MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.99, "Less than a second"),
        (1.9, "1 second"),
        (2, "2 seconds"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (59 * MINUTE + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (89 * MINUTE, "About an hour"),
        (90 * MINUTE, "2 hours"),
        (47 * HOUR, "47 hours"),
        (48 * HOUR, "2 days"),
        (14 * DAY - 1, "2 weeks"),
        (13 * DAY, "13 days"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (729 * DAY, "24 months"),
        (730 * DAY, "2 years"),
    ],
)
def test_human_duration(seconds, text):
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1240, "1.24kB"),
        (72_800_000, "72.8MB"),
        (412_345_678, "412MB"),
        (1_500_000_000, "1.5GB"),
    ],
)
def test_human_size(count, text):
    assert human_size(count) == text


@given(st.integers(0, 10**15))
def test_a_size_is_written_within_half_a_percent(count):
    text = human_size(count)
    number, unit = text.rstrip("BkMGTP"), text.lstrip("0123456789.")
    factor = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}[unit]
    assert abs(float(number) * factor - count) <= count * 0.00501


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("65536", 65536), ("10m", 10 << 20), ("1.5 GiB", 3 << 29), ("64kb", 65536), ("2T", 2 << 40), ("7B", 7)],
)
def test_parse_size(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["9223372036854775808", "8388608t", "9" * 400, "9" * 400 + "g"])
def test_a_size_is_no_more_than_can_be_counted(text):
    assert parse_size("8388607t") == 8_388_607 << 40
    with pytest.raises(ReconcilerError) as refused:
        parse_size(text)
    assert refused.value.code == "bad-size"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10),
        ("90s", 90),
        ("1m30s", 90),
        ("1h0.5m", 3630),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("20us", 2e-5),
    ],
)
def test_parse_duration(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "-1m", "1 m m", "10q", "1e3", "٣m", "1..5m", "0x10"])
def test_neither_takes_what_is_none(text):
    for parse, code in ((parse_size, "bad-size"), (parse_duration, "bad-duration")):
        with pytest.raises(ReconcilerError) as refused:
            parse(text)
        assert refused.value.code == code


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (8 << 20, "8 MiB"),
        (1536 << 20, "1.5 GiB"),
        (3 << 40, "3 TiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_binary_sizes(count, text):
    assert binary_size(count) == text
