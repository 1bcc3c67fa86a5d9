"""What tests of engines share."""

from __future__ import annotations

import os

import numpy as np
import pytest
from animevid.errors import BackendError
from animevid.gpu.tensorrt.engine import Engine
from animevid.gpu.tensorrt.library import Library, find_library

TARGETS = ("sm86", "sm89", "sm120")


def rtx_or_skip() -> Library:
    """TensorRT for RTX, which is large: tests are skipped without it, unless ``ANIMEVID_REQUIRE_TENSORRT`` is set."""
    try:
        return find_library("tensorrt_rtx")
    except BackendError as error:
        if os.environ.get("ANIMEVID_REQUIRE_TENSORRT"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def assert_same_but_for_names(one: Engine, other: Engine) -> None:
    """Two builds of free shapes are equal but for the numbers in names that the builder makes up in several threads."""
    assert (one.input, one.output, len(one.plan)) == (other.input, other.output, len(other.plan))
    differing = np.count_nonzero(np.frombuffer(one.plan, np.uint8) != np.frombuffer(other.plan, np.uint8))
    assert differing < len(one.plan) // 1000
