"""Each folder of tests/cases is a world and a wish; its plan.txt is what a user is shown."""

import pytest
from planner_cases import names, outcome, read


@pytest.mark.parametrize("name", names())
def test_case_gives_its_plan(name):
    assert outcome(name) == read(name, "plan.txt")
