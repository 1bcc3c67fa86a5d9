"""``benchmarks/gpu_check.py``, as far as it runs on the fake driver: the comparison of kernels, and the report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from animevid.backends import available_backends, open_backend
from animevid.backends.cuda.driver import open_device
from animevid.errors import BackendError
from animevid.styles.card import StyleCard
from gpu.fake_gpu import FakeGpu, in_child
from small_networks import rgb_network

_ROOT = Path(__file__).resolve().parents[2]


@in_child
def test_the_kernels_agree_with_their_twins_through_the_driver(fake_driver):
    FakeGpu(fake_driver)
    sys.path.insert(0, str(_ROOT / "benchmarks"))
    import gpu_check

    with open_device() as device:
        compared = gpu_check.compare_kernels(gpu_check.Gpu(device, b"a fatbin would be here"))
        assert {row[0] for row in compared} == {"pack", "unpack", "lift"}
        for kernel, name, difference in compared:
            assert difference <= (1e-5 if kernel == "pack" else 4 if "10 bit" in name else 1), (kernel, name)
        text = gpu_check.report(
            device, compared, [("pack 720p", 20.0, 10.0)], [("s", "torch", "1e-3")], [("s", "torch", "4K", 9)]
        )
    assert "| pack 720p | 20.0 | 10.0 | 2.00 |" in text


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_one_line_and_writes_nothing(tmp_path):
    pytest.importorskip("cuda.bindings")
    out = tmp_path / "GPU.md"
    done = subprocess.run(
        [sys.executable, str(_ROOT / "benchmarks" / "gpu_check.py"), "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert len(done.stderr.splitlines()) == 1
    assert "driver" in done.stderr
    assert not out.exists()


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_tensorrt_without_a_gpu_is_refused_in_one_line_with_the_way_out():
    (reason,) = (status.unavailable_reason for status in available_backends() if status.name == "tensorrt")
    assert reason is not None
    assert "\n" not in reason
    assert "pip install" in reason or "--backend onnxruntime" in reason
    with pytest.raises(BackendError) as caught:
        open_backend(rgb_network(), StyleCard(name="rgb", size_multiple=2), backend="tensorrt")
    assert str(caught.value) == reason
