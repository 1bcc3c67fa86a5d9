"""The fatbin that the package ships: made of the sources as they are, for every GPU that is promised."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from animevid.errors import BackendError
from animevid.gpu.fatbin import VARIABLE, load_fatbin

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manifest():
    spec = importlib.util.spec_from_file_location("manifest", _ROOT / "plugins" / "cuda" / "manifest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_fatbin_is_made_of_the_sources_as_they_are(manifest):
    assert manifest.disagreements() == []


def test_a_changed_source_a_foreign_fatbin_and_missing_code_are_each_said(manifest, tmp_path, monkeypatch):
    fatbin, listed = tmp_path / "k.fatbin", tmp_path / "k.json"
    shutil.copy(manifest.FATBIN, fatbin)
    monkeypatch.setattr(manifest, "FATBIN", fatbin)
    monkeypatch.setattr(manifest, "MANIFEST", listed)
    assert "missing" in manifest.disagreements()[0]
    shutil.copy(_ROOT / "engine/animevid/gpu/animevid_kernels.json", listed)
    assert manifest.disagreements() == []
    monkeypatch.setattr(manifest, "sources", lambda: {"plugins/cuda/kernels.cu": "0" * 64})
    assert any("kernels.cuh has changed" in line for line in manifest.disagreements())
    monkeypatch.undo()
    monkeypatch.setattr(manifest, "FATBIN", fatbin)
    monkeypatch.setattr(manifest, "ARCHITECTURES", (75, 130))
    assert any("not for" in line for line in manifest.disagreements())
    monkeypatch.undo()
    monkeypatch.setattr(manifest, "FATBIN", fatbin)
    content = bytearray(fatbin.read_bytes())
    content[-1] ^= 1
    fatbin.write_bytes(content)
    assert any("not the one" in line for line in manifest.disagreements())
    fatbin.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="cut off"):
        manifest.disagreements()


@pytest.mark.slow
def test_nvcc_makes_the_same_fatbin_again(manifest, tmp_path):
    if manifest.nvcc_version() != json.loads(manifest.MANIFEST.read_text())["nvcc"]:
        pytest.skip(f"another nvcc, or none: {manifest.nvcc_version()}")
    listed = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in manifest.ARCHITECTURES]
    listed += [f"-gencode=arch=compute_{one},code=compute_{one}" for one in manifest.PTX]
    out = tmp_path / "again.fatbin"
    subprocess.run(
        ["nvcc", "-std=c++17", "-O3", "--fmad=false", "--compress-mode=size", "--threads=0", "-fatbin", *listed,
         "-o", str(out), str(_ROOT / "plugins/cuda/kernels.cu")],
        check=True, capture_output=True,
    )  # fmt: skip
    assert out.read_bytes() == manifest.FATBIN.read_bytes()


def test_the_package_has_kernels_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load_fatbin()[:4] == b"\x50\xed\x55\xba"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(BackendError, match="make kernels"):
        load_fatbin()


def test_a_driver_of_an_older_cuda_is_not_given_the_packaged_machine_code(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load_fatbin(driver_version="13.0") == load_fatbin()
    with pytest.raises(BackendError, match=r"built by nvcc 13.*CUDA 12.8; update the driver") as caught:
        load_fatbin(driver_version="12.8")
    assert "\n" not in str(caught.value)
    own = tmp_path / "own.fatbin"
    own.write_bytes(b"built with the driver's nvcc")
    monkeypatch.setenv(VARIABLE, str(own))
    assert load_fatbin(driver_version="12.8") == b"built with the driver's nvcc"
