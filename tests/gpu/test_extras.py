"""What the extras for GPUs install on each kind of machine; docs/gpu.md lists where it was run."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

_EXTRAS = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
_MACHINES = {
    "linux": {"platform_machine": "x86_64", "sys_platform": "linux"},
    "windows": {"platform_machine": "AMD64", "sys_platform": "win32"},
    "mac": {"platform_machine": "arm64", "sys_platform": "darwin"},
}


def _names(extra: str, machine: str) -> set[str]:
    wanted = map(Requirement, _EXTRAS[extra])
    return {one.name for one in wanted if one.marker is None or one.marker.evaluate(_MACHINES[machine])}


@pytest.mark.parametrize(
    ("extra", "library"),
    [
        ("tensorrt-rtx", "tensorrt-rtx-cu13"),
        ("tensorrt-rtx-cu12", "tensorrt-rtx-cu12"),
        ("tensorrt", "tensorrt-cu13"),
        ("tensorrt-cu12", "tensorrt-cu12"),
    ],
)
def test_each_library_has_an_extra_of_its_own_wherever_there_is_a_wheel(extra, library):
    for machine in ("linux", "windows"):
        assert {name for name in _names(extra, machine) if name.startswith("tensorrt")} == {library}
    assert _names(extra, "mac") == {"animevid"}


def test_the_extra_gpu_brings_no_runtime_that_cannot_run_on_an_h100():
    assert _names("gpu", "linux") == {"cuda-bindings", "cuda-core", "onnx"}
    assert "torch" in _names("torch", "windows")


def test_a_mac_can_install_every_extra_though_nvidia_has_no_wheels_for_it():
    asked = {
        extra: {name for name in _names(extra, "mac") if name.startswith(("cuda", "tensorrt"))} for extra in _EXTRAS
    }
    assert {extra for extra, names in asked.items() if names} == set()
