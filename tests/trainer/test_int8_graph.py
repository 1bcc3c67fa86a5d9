"""The rewritten INT8 graph is bit-identical, and ONNX Runtime moves its tensors in 8 bits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from animevid_trainer import quantize
from animevid_trainer.export import make_card, to_onnx
from animevid_trainer.generators.luma_unet import LumaUNet


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    """A small network in INT8, as the quantizer writes it and rewritten."""
    torch.manual_seed(1)
    network = LumaUNet(top=8, middle=16, bottom=16, head=16, line=8)
    for convolution in (network.chroma, network.tail):
        torch.nn.init.normal_(convolution.weight, std=0.1)
    model = to_onnx(network, card=make_card(network, name="small"))
    photo = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "arrange_for_cpu", lambda model: None)
        plain = quantize.quantize_style(model, [photo], keep_float=["enter.", "lines."])
    return plain, quantize.quantize_style(model, [photo], keep_float=["enter.", "lines."])


@pytest.mark.parametrize("shape", [(1, 24, 8, 12), (3, 24, 12, 4)])
def test_the_output_is_the_same_to_the_bit(pair: tuple[bytes, bytes], shape: tuple[int, ...]) -> None:
    batch = np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
    plain, arranged = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"input": batch})[0]
        for model in pair
    )
    np.testing.assert_array_equal(plain, arranged)


def test_onnx_runtime_moves_eight_bits_by_its_fast_kernels(pair: tuple[bytes, bytes], tmp_path: Path) -> None:
    plain, arranged = (_optimized(model, tmp_path / f"{index}.onnx") for index, model in enumerate(pair))
    count, before = (Counter(node.op_type for node in graph.node) for graph in (arranged, plain))
    assert (before["Resize"], before["DepthToSpace"]) == (2, 1)
    assert (count["Resize"], count["DepthToSpace"]) == (2, 0)
    assert count["QLinearConv"] == before["QLinearConv"] > 5
    assert count["DequantizeLinear"] == before["DequantizeLinear"], "no tensor is moved in float"
    makers = {name: node.op_type for node in arranged.node for name in node.output}
    assert {makers[node.input[0]] for node in arranged.node if node.op_type == "Resize"} == {"Reshape"}


def _optimized(model: bytes, path: Path) -> onnx.GraphProto:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # it warns that the file is for this machine only
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnx.load(path).graph
