"""Which backend is opened, and what is said where it cannot be."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from animevid.backends import available_backends, backend_names, open_backend
from animevid.backends.onnxruntime import OnnxRuntimeBackend
from animevid.backends.threads import default_threads
from animevid.errors import BackendError, DeviceError, UsageError
from animevid.styles.card import StyleCard
from small_networks import rgb_network

CARD = StyleCard(name="rgb", size_multiple=2)


def test_auto_opens_onnx_runtime_which_is_always_installed():
    with open_backend(rgb_network(), CARD) as backend:
        assert backend.name == "onnxruntime"


def test_auto_passes_over_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(OnnxRuntimeBackend, "unavailable_reason", classmethod(lambda cls: "not here"))
    usable = [status.name for status in available_backends() if status.available]
    if usable:
        with open_backend(rgb_network(), CARD) as backend:
            assert backend.name == usable[0]
    else:
        with pytest.raises(BackendError, match="pip install"):
            open_backend(rgb_network(), CARD)


def test_a_backend_asked_for_by_name_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in backend_names():
        with pytest.raises(BackendError, match="pip install"):
            open_backend(rgb_network(), CARD, backend=name)


def test_an_unknown_backend_names_those_that_there_are():
    with pytest.raises(UsageError) as caught:
        open_backend(rgb_network(), CARD, backend="tensorflow")
    assert all(name in str(caught.value) for name in ("auto", *backend_names()))


def test_negative_threads_are_refused():
    with pytest.raises(UsageError, match="threads = -1"):
        open_backend(rgb_network(), CARD, threads=-1)


def test_cuda_where_there_is_none_is_an_error_of_the_device():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        open_backend(rgb_network(), CARD, backend="onnxruntime", device="cuda:0")


def test_a_batch_that_does_not_divide_a_fixed_batch_is_filled_up():
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 3, 16, 16)).astype(np.float32)
    with open_backend(rgb_network(), CARD) as free, open_backend(rgb_network(n=2), CARD) as pairs:
        np.testing.assert_allclose(pairs.run(batch), free.run(batch), atol=1e-5)


def test_zero_threads_means_no_more_than_the_cores_that_the_process_may_use():
    import os

    assert 1 <= default_threads() <= (os.cpu_count() or 1)
