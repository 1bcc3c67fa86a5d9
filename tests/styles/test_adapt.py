"""Foreign styles run unchanged: float16, uint8, output of twice the size, external weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from animevid import Stylizer
from animevid.errors import StyleError
from animevid.styles import CardHints, Layout, load_style
from small_networks import Builder, rgb_network


def soft(height: int = 48, width: int = 64) -> np.ndarray:
    """RGB ``(H, W, 3)``: smooth gradients, which 4:2:0 does not change."""
    y, x = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    return np.stack([y, x, 255 - (x + y) / 2], axis=2).astype(np.uint8)


def drawn(path: Path, image: np.ndarray, hints: CardHints | None = None) -> np.ndarray:
    with Stylizer(path, backend="onnxruntime", threads=1, hints=hints) as stylizer:
        return stylizer(image).astype(int)


@pytest.mark.shared
def test_a_float16_network_draws_what_it_draws_by_itself(shared: Path) -> None:
    path, image = shared / "faults" / "fp16_dyn.onnx", soft()
    batch = np.moveaxis(image / 127.5 - 1, 2, 0)[np.newaxis].astype(np.float16)
    (own,) = onnxruntime.InferenceSession(str(path)).run(None, {"input": batch})
    wanted = np.moveaxis((own[0].astype(float) + 1) * 127.5, 0, 2)
    assert load_style(path).card.input_range == (-1, 1)
    assert np.abs(drawn(path, image) - wanted)[2:-2, 2:-2].mean() < 3


@pytest.mark.shared
def test_a_uint8_network_is_given_levels_and_gives_levels(shared: Path) -> None:
    path, image = shared / "faults" / "u8_nhwc.onnx", soft()
    card = load_style(path).card
    assert (card.layout, card.input_range, card.output_range) == (Layout.NHWC, (0, 255), (0, 255))
    (own,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": image[np.newaxis]})
    difference = drawn(path, image) - own[0]
    assert np.abs(difference).max() < 8
    assert abs(difference.mean()) < 0.4  # rounded, not truncated


@pytest.mark.shared
def test_a_network_that_gives_twice_the_size_gives_the_size(shared: Path) -> None:
    path, image = shared / "faults" / "x2.onnx", soft()
    output = drawn(path, image)
    assert output.shape == image.shape
    assert np.abs(output - image)[2:-2, 2:-2].max() < 8


def test_each_pixel_is_the_mean_of_those_that_the_network_gives_for_it(tmp_path: Path) -> None:
    net = Builder()
    planes, half = net.op("Transpose", "input", perm=[0, 3, 1, 2]), net.constant(np.float32(0.5))
    corners = (net.op("Add", planes, half), net.op("Sub", planes, half), planes, planes)
    large = net.op("DepthToSpace", net.op("Concat", *corners, axis=1), blocksize=2)
    path = tmp_path / "x2.onnx"
    path.write_bytes(net.model(net.op("Transpose", large, perm=[0, 2, 3, 1]), ["N", "H", "W", 3], ["N", "H2", "W2", 3]))
    image, hints = soft(), CardHints(input_range=(-1, 1), output_range=(-1, 1))
    assert np.abs(drawn(path, image, hints) - image).max() < 8


def _in_two_files(folder: Path, location: str = "x.bin") -> Path:
    proto = onnx.load_from_string(rgb_network())
    onnx.save(proto, str(folder / "x.onnx"), save_as_external_data=True, location=location, size_threshold=0)
    return folder / "x.onnx"


def test_weights_beside_a_style_of_ones_own_are_read(tmp_path: Path) -> None:
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(rgb_network())
    assert (drawn(_in_two_files(tmp_path), soft()) == drawn(whole, soft())).all()


def test_weights_anywhere_else_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _in_two_files(tmp_path)
    weights = tmp_path / "x.bin"
    held = weights.read_bytes()

    def refused(said: str = "second file") -> None:
        with pytest.raises(StyleError, match=said) as caught:
            load_style(path)
        assert "\n" not in str(caught.value)

    weights.write_bytes(held[:-4])  # shorter than the style says
    refused()
    weights.unlink()
    refused("cannot be read")
    os.mkfifo(weights)  # it is not waited for
    refused()
    weights.unlink()
    (tmp_path / "secret").write_bytes(held)
    weights.symlink_to(tmp_path / "secret")
    refused()
    elsewhere = tmp_path / "style"
    elsewhere.mkdir()
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../secret" if entry.key == "location" else entry.value
    path = elsewhere / "x.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(elsewhere)
    refused()


def test_a_downloaded_style_reads_no_file_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _in_two_files(tmp_path)
    monkeypatch.setattr("animevid.styles.download.fetch", lambda *_, **__: path)
    shutil.copy(tmp_path / "x.bin", tmp_path / "y.bin")
    with pytest.raises(StyleError, match="second file"):
        load_style("https://example.org/x.onnx", sha256="0" * 64)
