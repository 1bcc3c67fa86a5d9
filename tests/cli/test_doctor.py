"""``animevid doctor`` reports this machine correctly, in plain lines, with remedies."""

from __future__ import annotations

import os

import pytest
from animevid.backends import BackendStatus, auto, available_backends
from animevid.cli import doctor, main
from animevid.io import encoders
from animevid.pixels import native


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_the_doctor_says_what_opens_here_and_why_not_the_rest(capfd):
    assert main(["doctor"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""  # no output of the tested libraries
    assert any(line.startswith("without --backend: opens: ") for line in lines)
    said = dict(line.split(": ", 1) for line in lines if line.startswith("backend "))
    assert said["backend onnxruntime"].startswith("opens: onnxruntime ")
    for status in available_backends():
        if status.name.startswith("tensorrt"):
            assert any(status.name in line and "an NVIDIA GPU and its driver" in line for line in lines)
        elif status.unavailable_reason is not None:
            assert said[f"backend {status.name}"] == f"no: {status.unavailable_reason}"
    assert any(line.startswith("NVIDIA driver: none; ") for line in lines)
    assert any(line.startswith("hardware encoders of H.264: ") for line in lines)


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_on_a_machine_with_a_driver_the_doctor_says_what_keeps_its_parts_from_the_gpu(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    assert not any(line.startswith("NVENC: ") for line in doctor._encoders())
    monkeypatch.setattr(auto, "driver_library_is_there", lambda: True)
    needed = "The minimum required Nvidia driver for nvenc is 570.0 or newer"
    monkeypatch.setattr(encoders, "ffmpegs_words", lambda plan, frame_format: needed)
    (line,) = (line for line in doctor._encoders() if line.startswith("NVENC: "))
    assert needed in line
    monkeypatch.setattr("animevid.backends.available_backends", lambda: [BackendStatus("torch", None)])
    monkeypatch.setattr(doctor, "_tried", lambda opening, name: f"opens: {name}")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert next(iter(doctor._backends())) == f"backend torch: opens: torch{doctor._NO_CUDA_IN_TORCH}"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert next(iter(doctor._backends())) == "backend torch: opens: torch"
    file = tmp_path / "version"
    monkeypatch.setattr(doctor, "_DRIVER_FILE", file)
    assert doctor._driver_number() == ""
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27\nGCC version:  gcc 12.3.0\n")
    assert doctor._driver_number() == " 580.65.06"


@pytest.mark.parametrize("forced", ["1", ""])
def test_why_the_compiled_kernels_are_not_used_is_reported(monkeypatch, forced):
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setenv("ANIMEVID_NO_NATIVE", forced)
    monkeypatch.setattr(native, "import_module", missing)
    kernels, why_not = native._load()
    monkeypatch.setattr(native, "kernels", kernels)
    monkeypatch.setattr(native, "why_not", why_not)
    (line,) = (line for line in doctor._installation() if line.startswith("compiled kernels"))
    assert line.endswith("ANIMEVID_NO_NATIVE is set" if forced else "with a C++ compiler, or take a wheel")


def test_two_wheels_of_onnxruntime_that_share_a_folder_are_reported(monkeypatch):
    there = {"onnxruntime": "1.23", "onnxruntime-gpu": "1.23"}
    monkeypatch.setattr(doctor, "_version", there.get)
    said = doctor.onnxruntime_clash()
    assert said is not None
    assert "pip uninstall onnxruntime onnxruntime-gpu" in said
    del there["onnxruntime"]
    assert doctor.onnxruntime_clash() is None
