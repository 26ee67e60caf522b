"""Every function that a rule proves is made to lie, and a rule must notice."""

import pytest
from support.lies import FUNCTIONS, NEVER_SUCCEEDS, NOTHING_TO_SEE, check_lies

HALVES = 2
"""One for each processor."""


@pytest.mark.parametrize("half", range(HALVES))
def test_every_lie_is_noticed(half: int) -> None:
    """Those of all functions."""
    found = check_lies(FUNCTIONS[half::HALVES])
    assert len(found) > 800


def test_the_lists_of_what_nobody_sees_name_functions_of_rules() -> None:
    """Each once, with one reason."""
    listed = [name for reasons in (NOTHING_TO_SEE, NEVER_SUCCEEDS) for names in reasons.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(FUNCTIONS)
