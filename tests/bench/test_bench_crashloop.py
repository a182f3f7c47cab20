"""What a crash loop may take, as its measurement judges it."""

from __future__ import annotations

import pytest

SEEN = {"used": 18.6, "seconds": 100.0, "counts": [1, 2, 2], "resident": (2, 15 << 10)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"used": 51.0}, "51% of a processor"),
        ({"counts": [300, 301, 302]}, "9.0 restarts a second"),
        ({"counts": [0, 1, 1]}, "one was never restarted"),
        ({"counts": [1, 4, 2]}, "one was restarted 4 times and another 1"),
        ({"resident": (13, 1000)}, "13 processes"),
        ({"resident": (2, 70_000)}, "70000 KiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_crash_loop_that_takes_too_much_fails_the_soak(script, change, words):
    crashloop = script("crashloop")
    assert crashloop.faults(**SEEN) == []
    (told,) = crashloop.faults(**{**SEEN, **change})
    assert words in told
