"""The mutation scripts find all their code snippets, and a mutation makes tests fail."""

from __future__ import annotations

import ast
import builtins

import mutations_gpu
import pytest
from mutations_engine import MUTATIONS, PACKAGE, gone, main


def test_the_places_that_are_broken_are_still_there() -> None:
    """Code that only moved to another module is found; whoever changes a snippet changes its mutation too."""
    assert len(MUTATIONS) > 100
    assert [mutation.what for mutation in gone()] == []
    assert [mutation.what for mutation in mutations_gpu.MUTATOR.gone(mutations_gpu.MUTATIONS)] == []


def test_a_mutation_is_code_without_unknown_names() -> None:
    """Any test would detect a ``NameError``, so such a mutation would say nothing about the tests."""
    for mutation in (*MUTATIONS, *mutations_gpu.MUTATIONS):
        source = (PACKAGE / mutation.file).read_text(encoding="utf-8")
        known, _ = _names(source)
        loaded, stored = _names(source.replace(mutation.old, mutation.new))
        assert loaded <= known | stored | set(dir(builtins)), mutation.what


def _names(source: str) -> tuple[set[str], set[str]]:
    """The names that ``source`` loads, and those that it sets."""
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    loaded = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    return loaded, {name.id for name in names if not isinstance(name.ctx, ast.Load)}


@pytest.mark.parametrize("what", ["held for hours", "a peak of 400 nits"])
def test_what_a_user_would_feel_is_noticed(what: str) -> None:
    assert main(["--only", what]) == 0
