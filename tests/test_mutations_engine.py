"""The script that breaks the engine: its places are still there, and what it breaks is noticed."""

from __future__ import annotations

import pytest
from mutations_engine import MUTATIONS, check, main


def test_every_place_that_is_broken_is_still_there_once() -> None:
    check()
    assert len(MUTATIONS) > 100


@pytest.mark.parametrize("what", ["held for hours", "a peak of 400 nits"])
def test_what_a_user_would_feel_is_noticed(what: str) -> None:
    assert main(["--only", what]) == 0
