"""What ``animevid doctor`` says of this machine is true, in plain lines, with the way out."""

from __future__ import annotations

import os

import pytest
from animevid.backends import available_backends
from animevid.cli import doctor, main


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_the_doctor_says_what_opens_here_and_why_not_the_rest(capfd):
    assert main(["doctor"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""  # nothing that a library prints while it is tried
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


def test_two_wheels_of_onnxruntime_that_share_a_folder_are_said(monkeypatch):
    there = {"onnxruntime": "1.23", "onnxruntime-gpu": "1.23"}
    monkeypatch.setattr(doctor, "_version", there.get)
    said = doctor.onnxruntime_clash()
    assert said is not None
    assert "pip uninstall onnxruntime onnxruntime-gpu" in said
    del there["onnxruntime"]
    assert doctor.onnxruntime_clash() is None
