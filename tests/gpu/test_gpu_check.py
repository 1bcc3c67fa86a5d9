"""``animevid doctor --gpu``: each section on the fake driver, its report of a faulty GPU, and its time limit.

Tests marked ``gpu`` run the same sections on a real GPU.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from animevid.backends.auto import driver_library_is_there
from animevid.cli import main
from animevid.gpu import kernels as launches
from animevid.gpu import slots as device_slots
from animevid.gpu.check import bandwidth, decoding, graphs, interop, kernels, rates, sanitizer, slots, training
from animevid.gpu.check.findings import CheckOptions, Finding, Skipped, distance
from animevid.gpu.check.frames import varied_frames
from animevid.gpu.check.runner import FINDINGS, REPORT, run_here, run_sections
from animevid.gpu.check.sections import SECTIONS, Section
from animevid.gpu.driver import load_driver
from gpu import fake_tensorrt
from gpu.fake_gpu import FakeGpu, in_child
from gpu.test_codecs import _install_nvdec
from pixels.frames import noise

_NO_GPU = not driver_library_is_there()  # WSL and Windows have no /dev/nvidiactl
SMALL = CheckOptions(size=(48, 64), frames=5, seconds=0.0)


def _start(fake_driver: Path, folder: Path, *, seed: int = 1) -> None:
    FakeGpu(fake_driver).seed(seed)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(folder)
    kernels.ODD_SIZES = ((2, 3), (9, 31))
    kernels.FILTERED_SIZES = ((9, 31),)
    kernels.NORM_SHAPES = ((2, 3, 5, 7),)
    bandwidth._TIMES = 1
    slots._BATCHES = (1, 4)
    graphs._FRAMES = interop._FRAMES = 4


def _verdicts(found: list[Finding]) -> list[bool]:
    return [finding.agrees for finding in found if finding.agrees is not None]


# ---- on a GPU ----


@pytest.mark.gpu
@pytest.mark.skipif(_NO_GPU, reason="there is no NVIDIA GPU here")
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_on_this_gpu(section, tmp_path):
    """In one process each, like ``doctor --gpu``, with fewer frames."""
    options = CheckOptions(frames=24, seconds=0.5)
    (result,) = run_sections(tmp_path, options, budget_seconds=section.limit_seconds, title="", sections=[section])
    if result.verdict == "skipped":
        pytest.skip(result.reason)
    assert result.verdict == "agrees", (tmp_path / REPORT).read_text()


# ---- on the fake driver ----


@in_child
def test_kernels_agree_through_the_driver_and_a_wrong_one_is_named(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    found = list(kernels.section(SMALL))
    assert len(found) == 2 * len(kernels.ALLOWED) == len(_verdicts(found))
    assert all(_verdicts(found)), found
    unpack = launches.unpack
    launches.unpack = lambda tensor, *args, **options: unpack(tensor + 2, *args, **options)
    wrong = [finding.text for finding in kernels.section(SMALL) if not finding.agrees]
    assert [text.partition(",")[0] for text in wrong] == ["unpack", "unpack"]
    assert "wrong: " in wrong[0]
    assert "31x9 nv12 8 bit" in wrong[0]


@in_child
def test_frames_in_slots_agree_and_a_missing_wait_is_seen(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    found = list(slots.section(SMALL))
    assert all(_verdicts(found)), found
    assert len(_verdicts(found)) == 2 + 1 + 1 + 1 + 5  # batches, full strength, deflicker, upsampled, other files
    assert any("torch: does not open" in finding.text for finding in found)
    assert not slots._is_expected("does not open: torch refuses the style 'aozora' (CUDA error: invalid argument)")
    upsample = launches.guided_upsample
    launches.guided_upsample = lambda *args, **options: upsample(*args, radius=4, **options)
    (wrong,) = (finding.text for finding in slots.section(SMALL) if finding.agrees is False)
    assert "guided upsampling" in wrong
    device_slots.Slot.wait = lambda self, device: None
    assert not all(_verdicts(list(slots.section(SMALL))))


def test_the_distance_of_frames_is_in_codes_of_8_bits():
    one = noise(4, 4, bit_depth=10)
    y = one.y.copy()
    y[0, 0] = y[0, 0] + 40 if y[0, 0] < 900 else y[0, 0] - 40
    y[1, 1] = y[1, 1] + 4 if y[1, 1] < 900 else y[1, 1] - 4
    apart = distance(one.with_planes(y, one.u, one.v), one)
    assert (apart.mean, apart.largest, apart.far_share) == (11 / 24, 10.0, 1 / 24)
    assert not apart.is_half_precision
    assert not distance(one, noise(4, 6, bit_depth=10)).is_half_precision


def test_no_two_varied_frames_could_stand_for_each_other():
    frames = list(varied_frames(20, (48, 64)))
    pairs = [(one, other) for index, one in enumerate(frames) for other in frames[:index]]
    assert not any(distance(one, other).is_half_precision for one, other in pairs)
    assert all(
        distance(one, other).largest == 0 for one, other in zip(frames, varied_frames(20, (48, 64)), strict=True)
    )


@in_child
def test_decoding_is_compared_code_for_code(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    with pytest.raises(Skipped, match="NVDEC does not decode this stream"):
        list(decoding.section(SMALL))
    decoding._FRAMES = 5
    _install_nvdec(10)
    clip = decoding._ten_bit_clip(tmp_path / "ten.mp4")
    assert _verdicts([found := decoding._compared("HEVC", clip)]) == [True], found
    assert "5 frames" in found.text
    on_host = decoding.on_host
    decoding.on_host = lambda planes: _one_code_off(on_host(planes))
    assert _verdicts([decoding._compared("HEVC", clip)]) == [False]


def _one_code_off(planes: Any) -> Any:
    y = planes.y.copy()
    y[0, 0] ^= 1
    return planes.with_planes(y, planes.u, planes.v)


@in_child
def test_frames_of_others_are_drawn_in_the_order_of_their_stream_and_a_missing_event_is_seen(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    found = list(interop.section(SMALL))
    assert _verdicts(found) == [True], found
    assert {finding.text.partition(":")[0] for finding in found if finding.agrees is None} >= {"torch", "CuPy"}
    device_slots.Slot.order_after = lambda self, device, stream: None
    wrong = 0
    for _ in range(4):  # allowed by the streams; not every order shows it
        wrong += not all(_verdicts(list(interop.section(SMALL))))
    assert wrong


@in_child
def test_graphs_draw_what_launches_draw_and_a_device_that_refuses_them_is_reported(fake_driver, tmp_path):
    gpu = FakeGpu(fake_driver)
    _start(fake_driver, tmp_path)
    assert _verdicts(list(graphs.section(SMALL))) == [True, True, True, True]
    graphs._captured_kernels = lambda gpu, frame: Finding("not asked")
    gpu.fail_captures(1000)
    assert _verdicts(list(graphs.section(SMALL))) == [True, True, False]


@in_child
def test_a_driver_of_cuda_12_0_has_every_function_that_is_called(fake_driver, tmp_path):
    """The bindings request each function of a CUDA version; the fake driver lacks all later ones."""
    FakeGpu(fake_driver).say_driver_version(12000)
    _start(fake_driver, tmp_path)
    for section in (graphs.section, bandwidth.section, slots.section):
        found = list(section(SMALL))
        assert _verdicts(found), found
        assert all(_verdicts(found)), found
    driver = load_driver()
    with pytest.raises(Exception, match="cuEventElapsedTime"):
        driver.cuEventElapsedTime(driver.cuEventCreate(0)[1], driver.cuEventCreate(0)[1])


def test_both_libraries_of_tensorrt_are_measured_where_both_are_installed(monkeypatch):
    for installed, measured in (
        ({"tensorrt_rtx"}, ("tensorrt", "torch")),
        ({"tensorrt_rtx", "tensorrt"}, ("tensorrt-rtx", "tensorrt-classic", "torch")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(
                rates.importlib.util, "find_spec", lambda name, there=installed: name if name in there else None
            )
            assert rates.backends() == measured


@in_child
def test_what_is_timed_is_compared_too(fake_driver, tmp_path):
    _start(fake_driver, tmp_path)
    found = list(bandwidth.section(SMALL))
    assert all(_verdicts(found)), found
    assert sum("ratio" in finding.text for finding in found) == 8
    found = list(rates.section(SMALL))
    assert _verdicts(found) == [True] * 6, found
    assert all("frames a second at 64x48" in finding.text and "slots" in finding.text for finding in found)
    launch = launches.unpack
    launches.unpack = lambda *args, **options: replace(launch(*args, **options), grid=(1, 1, 1))  # a part of the frame
    assert not any(_verdicts(list(rates.section(replace(SMALL, size=(96, 160))))))


# ---- without any driver ----


def _tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_sanitizers_verdicts_are_taken_and_one_that_hangs_is_ended(tmp_path, monkeypatch):
    _tool(tmp_path, '[ "$2" = memcheck ] || { echo "========= Race reported"; exit 9; }', monkeypatch)
    memcheck, racecheck = sanitizer.section(CheckOptions())
    assert memcheck.agrees is True
    assert racecheck.agrees is False
    assert "exit code 9" in racecheck.text
    _tool(tmp_path, "sleep 60", monkeypatch)
    found = list(sanitizer.section(CheckOptions(limit_seconds=0.4)))
    assert ["no end after" in finding.text for finding in found] == [True, True]


def test_a_sanitizer_that_does_not_support_the_device_is_no_fault_of_the_kernels(tmp_path, monkeypatch):
    said = (
        'echo "========= COMPUTE-SANITIZER"; echo "========= Error: Device not supported. Please refer to ..."; exit 1'
    )
    _tool(tmp_path, said, monkeypatch)
    with pytest.raises(Skipped, match=r"memcheck: .*Device not supported"):
        list(sanitizer.section(CheckOptions()))


def test_without_the_sanitizer_the_section_is_skipped(monkeypatch):
    monkeypatch.setattr(sanitizer.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Skipped, match="CUDA toolkit"):
        next(sanitizer.section(CheckOptions()))


_A_SECTION = """
import json, os, sys, time
name, path = sys.argv[1], sys.argv[2]
with open(path, "a") as file:
    def write(**said):
        file.write(json.dumps({"section": name, **said}) + "\\n"); file.flush()
    if name != "silent":
        write(text="a comparison", agrees=name != "differs")
    if name == "hangs":
        time.sleep(60)
    if name == "dies":
        sys.stderr.write("the GPU is gone\\n"); sys.stderr.flush(); os.abort()
    if name in ("skips", "refuses"):
        if name == "refuses":
            write(text="torch: does not open", agrees=False)
        write(skipped="nothing to try")
    else:
        write(ended=True)
"""


def _run(folder: Path, *names: str, budget: float = 60.0) -> list[Any]:
    folder.mkdir(exist_ok=True)
    script = folder / "section.py"
    script.write_text(_A_SECTION)
    sections = [Section(name, name.title(), 2.0 if name == "hangs" else 30.0) for name in names]
    return list(
        run_sections(
            folder / "out", CheckOptions(), budget_seconds=budget, title="A GPU", sections=sections,
            command=(sys.executable, str(script)),
        )
    )  # fmt: skip


def test_each_end_of_a_section_has_its_verdict_and_none_takes_another_along(tmp_path):
    results = _run(tmp_path, "good", "differs", "dies", "hangs", "silent", "skips", "refuses", "last")
    assert [result.verdict for result in results] == [
        "agrees", "differs", "failed", "failed", "failed", "skipped", "differs", "agrees",
    ]  # fmt: skip
    reasons = [result.reason for result in results]
    assert "ended with -6 (the GPU is gone)" in reasons[2]
    assert reasons[3] == "no end after 2 s"
    assert results[3].findings == (Finding("a comparison", agrees=True),)  # its findings up to then
    assert reasons[4] == "it compared nothing"
    report = (tmp_path / "out" / REPORT).read_text()
    assert "| Dies | failed |" in report
    assert "- a comparison: **DIFFERS**" in report
    lines = (tmp_path / "out" / FINDINGS).read_text().splitlines()
    assert [json.loads(line)["section"] for line in lines][:2] == ["good", "good"]


def test_a_budget_that_is_used_up_ends_the_rest_and_says_so(tmp_path):
    first, second = _run(tmp_path, "good", "last", budget=4.0)
    assert first.reason == second.reason == "the budget of 4 s is used up"
    assert "the budget of 4 s is used up" in (tmp_path / "out" / REPORT).read_text()


def test_a_section_that_the_budget_ends_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("animevid.gpu.check.runner._MIN_SECONDS", 0.5)
    (result,) = _run(tmp_path, "hangs", budget=1.5)  # its own limit is 2 s
    assert (result.verdict, result.is_good) == ("skipped", True)
    assert result.reason.startswith("the budget ended it")
    assert result.findings == (Finding("a comparison", agrees=True),)


def test_the_sections_together_take_less_than_nine_minutes_in_the_order_of_what_stands_on_what():
    assert sum(section.limit_seconds for section in SECTIONS) < 9 * 60
    assert [section.name for section in SECTIONS] == [
        "kernels", "slots", "decoding", "interop", "sanitizer", "graphs", "bandwidth", "rates", "training",
    ]  # fmt: skip
    assert all(callable(section.work) for section in SECTIONS)


def test_what_a_section_raises_is_its_closing_line(tmp_path, monkeypatch):
    def broken(options: CheckOptions) -> Any:
        yield Finding("one", agrees=True)
        raise RuntimeError("no such thing\nat line 3")

    monkeypatch.setattr(kernels, "section", broken)
    run_here(SECTIONS[0], tmp_path / "found", CheckOptions())
    first, last = map(json.loads, (tmp_path / "found").read_text().splitlines())
    assert first == {"section": "kernels", "text": "one", "agrees": True}
    assert last == {"section": "kernels", "failed": "no such thing"}


def test_a_student_learns_the_same_twice_and_another_start_is_told_apart(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    from animevid_trainer import cuda_check

    for name, value in (("_STEPS", 4), ("_TIMED_BATCH", 1), ("_TIMED_CROP_PX", 64), ("_CROP_PX", 64)):
        monkeypatch.setattr(cuda_check, name, value)
    monkeypatch.setattr(sys, "argv", ["cuda_check", "--device", "cpu", "--seconds", "0"])
    assert cuda_check.main() == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["agrees"] for line in said] == [None, True, True, None]
    train, starts = cuda_check.train, iter((1.0, 0.8, 0.8))

    def trained(*args: Any, **options: Any) -> Any:
        student, share = train(*args, **options), next(starts)
        with torch.no_grad():
            student.tail.weight.mul_(share)
            student.chroma.weight.mul_(share)
        return student

    monkeypatch.setattr(cuda_check, "train", trained)
    assert [line["agrees"] for line in cuda_check.findings("cpu", 0.0)][1:3] == [False, False]


@pytest.mark.skipif(not _NO_GPU, reason="there is a GPU here")
def test_without_a_gpu_training_is_skipped_with_the_reason():
    pytest.importorskip("torch")
    with pytest.raises(Skipped, match="finds no GPU"):
        list(training.section(CheckOptions()))


@pytest.mark.skipif(not _NO_GPU, reason="there is a GPU here")
def test_without_a_gpu_the_doctor_says_so_in_one_line_and_writes_nothing(tmp_path, capfd, monkeypatch):
    pytest.importorskip("cuda.bindings")
    from animevid.cli import doctor

    monkeypatch.setattr(doctor, "_backends", lambda: ())
    assert main(["doctor", "--gpu", "--out", str(tmp_path / "out")]) == 6
    (line,) = capfd.readouterr().err.splitlines()
    assert "there is no usable NVIDIA driver here" in line
    assert not (tmp_path / "out").exists()
    assert main(["doctor", "--budget", "9"]) == 2
    assert "add --gpu" in capfd.readouterr().err
