"""Specs in cases/ and what they come to: expected.txt is the whole error text, expected.json the stack with positions.

Run with WRITE_EXPECTED=1 to write the files anew, and read the difference as a user would.
"""

from __future__ import annotations

import os

import pytest
from specbench import outcome

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")


@pytest.mark.parametrize("name", sorted(os.listdir(CASES)))
def test_case(name, monkeypatch):
    folder = os.path.join(CASES, name)
    monkeypatch.chdir(folder)
    golden, text = outcome(folder)
    assert golden == ("expected.txt" if name.startswith("bad-") else "expected.json"), text
    if os.environ.get("WRITE_EXPECTED"):
        with open(golden, "w", encoding="utf-8") as file:
            file.write(text)
    with open(golden, encoding="utf-8") as file:
        assert text == file.read()
