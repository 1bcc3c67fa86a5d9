"""``benchmarks/gpu_check.py``, as far as it runs on the fake driver: the comparison of kernels, and the report."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from animevid.backends import available_backends, open_backend
from animevid.errors import BackendError
from animevid.gpu.driver import open_device
from animevid.gpu.tensorrt import backend as tensorrt
from animevid.styles import load_style
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from gpu import fake_tensorrt
from gpu.fake_gpu import IMAGE, FakeGpu, in_child
from small_networks import packed_network, rgb_network

_ROOT = Path(__file__).resolve().parents[2]


@in_child
def test_the_kernels_agree_with_their_twins_through_the_driver(fake_driver):
    FakeGpu(fake_driver)
    gpu_check = _import()
    with open_device() as device:
        compared = gpu_check.compare_kernels(gpu_check.GpuQueue(device, IMAGE))
    assert {row.kernel for row in compared} == set(gpu_check._ALLOWED)
    for row in compared:
        assert row.agrees, row
    lines = gpu_check.compared_lines([*compared, replace(compared[0], difference=0.5)])
    assert lines[2].startswith("| pack | 25 | 0.5 | WRONG: ")


def _import():
    sys.path.insert(0, str(_ROOT / "benchmarks"))
    import gpu_check

    return gpu_check


@in_child
def test_every_section_of_the_report_runs_as_far_as_a_machine_without_a_gpu_can_run_it(fake_driver, tmp_path):
    """On the fake driver, with ONNX Runtime in place of TensorRT: the figures mean nothing, but each has been taken."""
    gpu = FakeGpu(fake_driver)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)
    gpu_check = _import()
    gpu_check.find_library = tensorrt.find_library
    styles = []
    for name, model, card in (
        (
            "packed",
            packed_network(),
            StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8),
        ),
        ("rgb", rgb_network(), StyleCard(name="rgb", size_multiple=2)),
    ):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(write_card(model, card))
        styles.append((name, load_style(path)))
    with open_device() as device:
        queue = gpu_check.GpuQueue(device, IMAGE)
        report = gpu_check.Report(gpu_check.title_of(device))
        work = gpu_check.sections(
            device, queue, styles=styles[:1], reference=lambda: styles[1], sizes={"small": (48, 64)}, seconds=0.2,
            times=1, matrix={"channels": 32, "side": 8, "layers": 2},
        )  # fmt: skip
        for title, lines_of in work.items():
            report.section(title, lines_of)
    text = str(report)
    assert "| packed | torch | small | runs on the CPU here" in text
    assert report.failed == [], text
    assert text.count("agrees") == len(gpu_check._ALLOWED)
    assert "DIFFERS" not in text
    for said in (
        "| packed | tensorrt | small |", "| rgb | tensorrt | small |", "slots |", "TFLOP/s here", "| rgb small |",
        "| packed small |", "| pack small |", "frames, ", "NVDEC does not",
    ):  # fmt: skip
        assert said in text, said
    assert gpu.launched > 0


def test_without_the_trainer_the_styles_are_measured_all_the_same(monkeypatch):
    gpu_check = _import()
    monkeypatch.setattr(gpu_check, "compare_backends", lambda styles, pictures: [(name, "", "") for name, _ in styles])
    monkeypatch.setattr(
        gpu_check.gpu_speed, "time_style", lambda style, name, *_, **__: gpu_check.Rate(name, "", "", 1)
    )

    def missing() -> None:
        raise BackendError("AnimeGANv2 needs the trainer")

    work = gpu_check.sections(None, None, styles=[("ours", None)], reference=missing)
    for title in ("Backends against ONNX Runtime", "Pictures a second"):
        lines = work[title]()
        assert any(line.startswith("| ours |") for line in lines), title
        assert lines[-1] == "Without the reference: AnimeGANv2 needs the trainer"


_A_SECTION = """
import json, os, pathlib, sys
title, out = sys.argv[2], pathlib.Path(sys.argv[6])
if title == "good":
    out.write_text(json.dumps((["a line"], False)))
elif title == "wrong":
    out.write_text(json.dumps((["WRONG"], True)))
else:
    sys.stderr.write("the GPU is gone\\n")
    os.abort()
"""


def test_a_section_that_takes_its_process_down_leaves_the_others_and_says_how_it_ended(tmp_path):
    gpu_check = _import()
    script = tmp_path / "section.py"
    script.write_text(_A_SECTION)
    report = gpu_check.Report([])
    for title in ("dies", "wrong", "good"):
        report.section(title, partial(gpu_check.in_a_process, title, seconds=1.0, script=script))
    assert report.failed == ["dies", "wrong"]
    text = str(report)
    assert "Did not run: its process ended with -6 (the GPU is gone)" in text
    assert "WRONG" in text
    assert "a line" in text


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_a_section_without_a_gpu_is_a_section_that_says_why():
    gpu_check = _import()
    lines, failed = gpu_check.run_section(gpu_check.TITLES[0], seconds=0.1)
    assert failed
    assert len(lines) == 1
    assert lines[0].startswith("Did not run: ")


def test_the_sanitizers_verdicts_are_all_taken_and_one_that_finds_something_fails(tmp_path, monkeypatch):
    gpu_check = _import()
    tool = tmp_path / "compute-sanitizer"
    tool.write_text('#!/bin/sh\n[ "$2" != racecheck ]\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(gpu_check.Wrong) as caught:
        gpu_check.sanitize()
    verdicts = ["memcheck finds nothing", "racecheck FAILED (exit code 1)", "synccheck finds nothing"]
    assert caught.value.lines == [f"- {verdict}" for verdict in [*verdicts, "initcheck finds nothing"]]


def test_the_verdicts_follow_the_figures():
    gpu_check = _import()
    speed = gpu_check.gpu_speed
    slow = gpu_check.kernel_lines([speed.KernelTime("pack 4K", 20.0, 10.0), speed.KernelTime("blend 4K", 11.0, 10.0)])
    assert "| pack 4K | 20.0 | 10.0 | 2.00 |" in slow
    assert slow[-1] == "Above the target of 1.3: pack 4K."
    overlap = speed.Overlap("x", 10.0, 30.0, 10.0, 60.0, 40.0)
    assert (overlap.ratio, overlap.bound_us) == (1.25, 30.0)
    (row,) = gpu_check.rate_lines([speed.Rate("s", "torch", "4K", trouble="no CUDA here")])[2:]
    assert row == "| s | torch | 4K | no CUDA here |"


def test_the_floating_point_operations_of_convolutions_are_counted():
    gpu_check = _import()
    card = StyleCard(name="rgb", size_multiple=2)
    model = gpu_check.gpu_speed._matrix_products(16, 2)
    per_pixel = 2 * (3 * 16 + 16 * 16 * 2 + 16 * 3)
    assert gpu_check.gpu_speed.convolution_flop(model, card, (40, 30)) == pytest.approx(per_pixel * 1200)


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
