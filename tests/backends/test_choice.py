"""Which backend is opened, and the message if none can be."""

from __future__ import annotations

import importlib.util
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
from animevid import backends
from animevid.backends import auto, available_backends, backend_class, backend_names, open_backend
from animevid.backends.onnxruntime import OnnxRuntimeBackend
from animevid.backends.threads import default_threads
from animevid.errors import BackendError, DeviceError, UsageError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard
from small_networks import rgb_network

CARD = StyleCard(name="rgb", size_multiple=2)


def test_auto_opens_onnx_runtime_which_is_always_installed():
    with open_backend(rgb_network(), CARD) as backend:
        assert backend.name == "onnxruntime"


@pytest.fixture
def fresh_notices(monkeypatch):
    monkeypatch.setattr(auto, "_said", set())


class _Gpu(OnnxRuntimeBackend):
    """A GPU backend for ``auto``: it opens, but may fail in use."""

    broken = False

    @classmethod
    def open(cls, model, card, options=None):
        return super().open(model, card, replace(options or RuntimeOptions(), device="cpu"))

    def run(self, batch):
        if _Gpu.broken:
            raise DeviceError("the GPU stopped working")
        return super().run(batch)

    @property
    def device_name(self):
        return "GPU"


@pytest.fixture
def gpu_that_opens(monkeypatch, fresh_notices):
    """A stand-in driver and one GPU backend; uses no GPU."""
    monkeypatch.setattr(auto, "driver_library_is_there", lambda: True)
    monkeypatch.setattr("animevid.gpu.driver.load_driver", lambda: None)
    monkeypatch.setattr(backends, "_AUTO_GPU_ORDER", ("gpu",))
    monkeypatch.setitem(backends._REGISTRY, "gpu", (__name__, "_Gpu"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[_Gpu.__module__])
    monkeypatch.setattr(_Gpu, "broken", False)


def test_auto_says_once_why_it_does_not_take_the_gpu_that_is_in_the_machine(caplog, monkeypatch, fresh_notices):
    monkeypatch.setattr(auto, "driver_library_is_there", lambda: False)
    monkeypatch.setattr(auto, "_nvidia_card_is_there", lambda: True)
    with caplog.at_level(logging.INFO, logger="animevid"):
        for _ in range(2):
            with open_backend(rgb_network(), CARD) as backend:
                assert backend.device_name == "CPU"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("--backend auto takes onnxruntime")
    assert "no NVIDIA driver" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_auto_is_silent_about_gpus_where_there_is_none(caplog, monkeypatch, fresh_notices):
    monkeypatch.setattr(auto, "driver_library_is_there", lambda: False)
    monkeypatch.setattr(auto, "_nvidia_card_is_there", lambda: False)
    with caplog.at_level(logging.INFO, logger="animevid"):
        open_backend(rgb_network(), CARD).close()
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_an_nvidia_card_is_told_from_other_devices_by_its_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(auto, "_PCI_DEVICES", tmp_path)
    for name, vendor, kind in (("audio", "0x10de", "0x040300"), ("display", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    (tmp_path / "odd").mkdir()
    assert not auto._nvidia_card_is_there()
    (tmp_path / "display" / "vendor").write_text("0x10de\n")
    assert auto._nvidia_card_is_there()


def test_auto_takes_the_gpu_that_opens(gpu_that_opens, caplog):
    with open_backend(rgb_network(), CARD) as backend:
        assert backend.device_name == "GPU"
        assert backend.run(np.zeros((1, 3, 16, 16), np.float32)).shape == (1, 3, 16, 16)
    assert not caplog.records


def test_auto_with_the_cpu_asked_for_looks_for_no_gpu(gpu_that_opens, caplog):
    with open_backend(rgb_network(), CARD, RuntimeOptions(device="cpu")) as backend:
        assert backend.device_name == "CPU"
    assert not caplog.records


@pytest.mark.parametrize("reason", ["TensorRT is not installed; pip install it", "the engine is of another GPU"])
def test_auto_says_why_a_gpu_backend_cannot_be_used(gpu_that_opens, caplog, monkeypatch, reason):
    monkeypatch.setattr(_Gpu, "unavailable_reason", classmethod(lambda cls: reason))
    with open_backend(rgb_network(), CARD) as backend:
        assert backend.device_name == "CPU"
    (record,) = caplog.records
    assert reason in record.getMessage()


def test_a_gpu_that_fails_in_the_middle_is_replaced_and_the_frame_is_not_lost(gpu_that_opens, caplog, monkeypatch):
    batch = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    with open_backend(rgb_network(), CARD) as backend:
        expected = backend.run(batch)
        monkeypatch.setattr(_Gpu, "broken", True)
        for _ in range(2):
            np.testing.assert_array_equal(backend.run(batch), expected)
        assert backend.device_name == "CPU"
    (record,) = caplog.records
    assert "continues with onnxruntime" in record.getMessage()
    assert "stopped working" in record.getMessage()


def test_a_gpu_that_was_asked_for_by_name_is_not_replaced(gpu_that_opens, monkeypatch):
    with open_backend(rgb_network(), CARD, RuntimeOptions(device="cuda:0")) as backend:
        monkeypatch.setattr(_Gpu, "broken", True)
        with pytest.raises(DeviceError, match="stopped working"):
            backend.run(np.zeros((1, 3, 16, 16), np.float32))


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
            open_backend(rgb_network(), CARD, RuntimeOptions(backend=name))


def test_an_unknown_backend_names_those_that_there_are():
    with pytest.raises(UsageError) as caught:
        open_backend(rgb_network(), CARD, RuntimeOptions(backend="tensorflow"))
    assert all(name in str(caught.value) for name in ("auto", *backend_names()))


def test_negative_threads_are_refused():
    with pytest.raises(UsageError, match="threads = -1"):
        open_backend(rgb_network(), CARD, RuntimeOptions(threads=-1))


def test_cuda_where_there_is_none_is_an_error_of_the_device():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        open_backend(rgb_network(), CARD, RuntimeOptions(backend="onnxruntime", device="cuda:0"))


def test_cuda_and_cudnn_of_wheels_are_loaded_before_a_session_asks_for_them(monkeypatch, capsys):
    import onnxruntime

    order = []

    def preload() -> None:
        print("Failed to load libcudnn.so.9")  # as it does
        order.append("preload")

    def session(*_, **options):
        order.append(options["providers"][0][0])
        raise RuntimeError("there is no GPU")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(BackendError, match="there is no GPU"):
        open_backend(rgb_network(), CARD, RuntimeOptions(backend="onnxruntime", device="cuda:0"))
    assert order == ["preload", "CUDAExecutionProvider"]
    assert capsys.readouterr().out == ""
    with pytest.raises(BackendError):
        open_backend(rgb_network(), CARD, RuntimeOptions(backend="onnxruntime", device="cpu"))
    assert order.count("preload") == 1


@pytest.mark.parametrize(
    ("backend", "way_out"),
    [("tensorrt", "tensorrt-rtx"), ("tensorrt-rtx", "tensorrt-rtx"), ("tensorrt-classic", "tensorrt")],
)
def test_each_library_of_tensorrt_is_a_choice_that_names_its_extra(monkeypatch, backend, way_out):
    home = backend_class(backend)
    asked = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: asked.append(name))
    reason = home.unavailable_reason()
    assert reason is not None
    assert f'pip install "animevid[{way_out}]"' in reason
    assert set(asked) == ({"tensorrt_rtx", "tensorrt"} if backend == "tensorrt" else {home.library_name})


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_a_batch_that_does_not_divide_a_fixed_batch_is_filled_up(backend):
    if backend_class(backend).unavailable_reason() is not None:
        pytest.skip(f"{backend} is not installed")
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 3, 16, 16)).astype(np.float32)
    options = RuntimeOptions(backend=backend)
    with open_backend(rgb_network(), CARD) as free, open_backend(rgb_network(n=2), CARD, options) as pairs:
        np.testing.assert_allclose(pairs.run(batch), free.run(batch), atol=1e-5)


def test_zero_threads_means_no_more_than_the_cores_that_the_process_may_use():
    import os

    assert 1 <= default_threads() <= (os.cpu_count() or 1)


def test_a_backend_may_come_from_another_package(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text(
        "from animevid.backends.onnxruntime import OnnxRuntimeBackend\n\n\n"
        "class Elsewhere(OnnxRuntimeBackend):\n    name = 'elsewhere'\n"
    )
    information = tmp_path / "elsewhere-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[animevid.backends]\nelsewhere = elsewhere:Elsewhere\nbroken = elsewhere:Nothing\nnumber = math:pi\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {"elsewhere", "onnxruntime"} <= set(backend_names())
    with open_backend(rgb_network(), CARD, RuntimeOptions(backend="elsewhere")) as backend:
        assert backend.name == "elsewhere"
    with pytest.raises(BackendError, match="cannot be imported"):
        open_backend(rgb_network(), CARD, RuntimeOptions(backend="broken"))
    with pytest.raises(BackendError, match="not a subclass"):
        open_backend(rgb_network(), CARD, RuntimeOptions(backend="number"))
    reasons = {status.name: status.unavailable_reason for status in available_backends()}
    assert reasons["elsewhere"] is None
    assert "cannot be imported" in reasons["broken"]
