"""The mutation scripts find all their code snippets, and a mutation makes tests fail."""

from __future__ import annotations

import mutations_gpu
import pytest
from mutations_engine import MUTATIONS, gone, main


def test_the_places_that_are_broken_are_still_there() -> None:
    """Code that moved to another module is found; a few changed snippets are tolerated until somebody rewrites them."""
    assert len(MUTATIONS) > 100
    assert len(gone()) <= len(MUTATIONS) // 10, [mutation.what for mutation in gone()]
    assert not mutations_gpu.MUTATOR.gone(mutations_gpu.MUTATIONS)


@pytest.mark.parametrize("what", ["held for hours", "a peak of 400 nits"])
def test_what_a_user_would_feel_is_noticed(what: str) -> None:
    assert main(["--only", what]) == 0
