"""Runs a test on every instruction set of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from animevid.pixels import native

INSTRUCTION_SETS = native.kernels.instruction_sets() if native.is_native() else [None]


@pytest.fixture(params=INSTRUCTION_SETS, scope="module")
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set in turn; skips if the kernels are not compiled."""
    if request.param is None:
        pytest.skip("no compiled kernels: plugins/cpu/build_inplace.sh builds them")
    native.kernels.use_instruction_set(request.param)
    yield request.param
    native.kernels.use_instruction_set("")
