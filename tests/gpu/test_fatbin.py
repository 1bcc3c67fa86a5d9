"""The shipped fatbin: compiled from the current sources, for every supported GPU."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import struct
from pathlib import Path

import pytest
from animevid.errors import BackendError, DeviceError
from animevid.gpu import fatbin
from animevid.gpu.driver import open_device
from animevid.gpu.fatbin import VARIABLE, load_fatbin
from gpu.fake_gpu import FakeGpu, in_child

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manifest():
    return _load("manifest")


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, _ROOT / "plugins" / "cuda" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_fatbin_is_made_of_the_sources_as_they_are(manifest):
    assert manifest.disagreements() == []


def test_a_changed_source_a_foreign_fatbin_and_missing_code_are_each_reported(manifest, tmp_path, monkeypatch):
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
def test_nvrtc_makes_the_same_code_again(manifest):
    build = _load("build_fatbin")
    try:
        nvrtc = build.Nvrtc()
    except SystemExit as reason:
        pytest.skip(str(reason))
    listed = json.loads(manifest.MANIFEST.read_text())
    assert listed["compiler"] == f"NVRTC {nvrtc.version}"
    assert listed["code"]["ptx75"] == hashlib.sha256(nvrtc.compile(75, ptx=True)).hexdigest()


def test_the_shipped_fatbin_is_packed_as_drivers_for_cuda_12_unpack_it(manifest):
    fatbin = manifest.FATBIN.read_bytes()
    assert not manifest.drivers_before_550_refuse(fatbin)
    (entry,) = struct.unpack_from("<H", fatbin, 6)
    (flags,) = struct.unpack_from("<Q", fatbin, entry + 40)
    packed_otherwise = bytearray(fatbin)
    struct.pack_into("<Q", packed_otherwise, entry + 40, flags | 0x8000)
    assert manifest.drivers_before_550_refuse(bytes(packed_otherwise))


@pytest.mark.parametrize(
    ("driver", "capability"),
    [(12000, (7, 5)), (12000, (8, 0)), (12000, (8, 6)), (12000, (8, 9)), (12000, (9, 0)), (12080, (12, 0))],
)
@in_child
def test_the_oldest_driver_that_knows_a_gpu_takes_its_machine_code(fake_driver, driver, capability):
    gpu = FakeGpu(fake_driver)
    gpu.say_driver_version(driver)
    gpu.say_compute_capability(*capability)
    with open_device() as device:
        fatbin = load_fatbin(driver_version=device.driver_version)
        assert device.call("cuModuleLoadData", fatbin) is not None
        place = struct.unpack_from("<H", fatbin, 6)[0]
        newer = bytearray(fatbin)  # as CUDA 13 packs it
        struct.pack_into("<Q", newer, place + 40, struct.unpack_from("<Q", fatbin, place + 40)[0] | 0x8000)
        if driver < 12040:
            with pytest.raises(DeviceError):
                device.call("cuModuleLoadData", bytes(newer))


def test_the_package_has_kernels_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load_fatbin()[:4] == b"\x50\xed\x55\xba"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(BackendError, match="make kernels"):
        load_fatbin()


def test_a_driver_of_an_older_cuda_is_not_given_the_packaged_machine_code(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load_fatbin(driver_version="13.0") == load_fatbin(driver_version="12.0") == load_fatbin()
    with pytest.raises(BackendError, match=r"built by NVRTC 12.8.*CUDA 11.8; update the driver") as caught:
        load_fatbin(driver_version="11.8")
    assert "\n" not in str(caught.value)
    own = tmp_path / "own.fatbin"
    own.write_bytes(b"built with the driver's nvcc")
    own.chmod(0o644)
    monkeypatch.setenv(VARIABLE, str(own))
    assert load_fatbin(driver_version="11.8") == b"built with the driver's nvcc"
    own.chmod(0o664)
    with pytest.raises(BackendError, match="written by others"):
        load_fatbin()


def test_the_packaged_fatbin_is_taken_where_the_group_may_write_the_package(tmp_path, monkeypatch):
    """As in a checkout or an installation with umask 002, where the group may also write the Python modules."""
    monkeypatch.delenv(VARIABLE, raising=False)
    packaged = tmp_path / "animevid_kernels.fatbin"
    shutil.copy(fatbin._PACKAGED, packaged)
    shutil.copy(fatbin._PACKAGED.with_suffix(".json"), packaged.with_suffix(".json"))
    packaged.chmod(0o664)
    monkeypatch.setattr(fatbin, "_PACKAGED", packaged)
    assert load_fatbin(driver_version="12.0") == packaged.read_bytes()
