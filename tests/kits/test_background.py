"""Work in the background hands over its result, or what it raised, to whoever asks."""

from __future__ import annotations

import threading

import pytest

from reconciler.kits.background import Background


def test_it_goes_on_meanwhile_and_hands_over_its_result():
    go = threading.Event()
    work = Background("work", lambda: go.wait(10) and threading.current_thread().name)
    go.set()
    assert work.result() == "work"
    assert work.result() == "work"


def test_what_it_raises_is_raised_by_result_and_not_by_join():
    work = Background("work", lambda: {}["missing"])
    work.join()
    with pytest.raises(KeyError, match="missing"):
        work.result()
