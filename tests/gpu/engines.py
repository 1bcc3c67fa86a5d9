"""Helpers for tests of engines."""

from __future__ import annotations

import os

import numpy as np
import pytest
from animevid.errors import BackendError
from animevid.gpu.tensorrt.engine import Engine
from animevid.gpu.tensorrt.library import Library, find_library

TARGETS = ("sm86", "sm89", "sm120")


def rtx_or_skip() -> Library:
    """TensorRT for RTX, a large package; without it, tests are skipped unless ``ANIMEVID_REQUIRE_TENSORRT`` is set."""
    try:
        return find_library("tensorrt_rtx")
    except BackendError as error:
        if os.environ.get("ANIMEVID_REQUIRE_TENSORRT"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def assert_same_but_for_names(one: Engine, other: Engine) -> None:
    """Two builds with dynamic shapes are equal except for generated numbers in names, which depend on thread order."""
    assert (one.input, one.output, len(one.plan)) == (other.input, other.output, len(other.plan))
    differing = np.count_nonzero(np.frombuffer(one.plan, np.uint8) != np.frombuffer(other.plan, np.uint8))
    assert differing < len(one.plan) // 1000
