"""The evaluator runs a packaged Keras network like Keras; its probe measures how well it separates images."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.evaluate.evaluator import fit_probe, open_evaluator
from animevid_trainer.evaluate.keras_layers import read_keras_model

SIZE_PX = 8


def _node(kind: str, name: str, source: str | None, **config: object) -> dict[str, object]:
    inbound = [] if source is None else [[[source, 0, 0, {}]]]
    return {"name": name, "class_name": kind, "config": {"name": name, **config}, "inbound_nodes": inbound}


def _package(folder: Path, *, classes: int = 5, kind: str = "GlobalAveragePooling2D") -> Path:
    """Convolution, ReLU, mean, softmax: weights quantized to 0..255 in two shards, as a TensorFlow.js bundle."""
    random = np.random.default_rng(0)
    nodes = [
        _node("InputLayer", "input", None, batch_input_shape=[None, SIZE_PX, SIZE_PX, 3]),
        _node("Conv2D", "conv", "input", strides=[2, 2], padding="same", activation="relu"),
        _node(kind, "mean", "conv"),
        _node("Dense", "head", "mean", units=classes, activation="softmax"),
    ]
    shapes = {"conv/kernel": [3, 3, 3, 4], "conv/bias": [4], "head/kernel": [4, classes], "head/bias": [classes]}
    entries, codes = [], b""
    for name, shape in shapes.items():
        codes += random.integers(0, 256, shape, np.uint8).tobytes()
        quantization = {"min": -0.5, "scale": 0.00390625, "dtype": "uint8"}
        entries.append({"name": name, "shape": shape, "dtype": "float32", "quantization": quantization})
    topology = {"model_config": {"class_name": "Model", "config": {"layers": nodes}}}
    text = json.dumps({"modelTopology": topology, "weightsManifest": [{"weights": entries}]}, separators=(",", ":"))
    script = re.sub(r'"([A-Za-z_]\w*)":', r"\1:", text).replace("0.00390625", ".00390625").replace("-0.5", "-.5")
    folder.mkdir(parents=True)
    head, tail = "!function(e){}({1:[function(e,a,n){a.exports=", "},{}]},{},[1])(1)});"
    (folder / "model.min.js").write_text(head + script + tail)
    for index, part in enumerate((codes[:50], codes[50:]), start=1):
        shard = base64.b64encode(part).decode()
        (folder / f"group1-shard{index}of2.min.js").write_text(f'{head}"{shard}"{tail}')
    return folder


def _codes(*shape: int, random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, shape, np.uint8) * 0.00390625 - 0.5


def test_a_packaged_network_runs_as_its_graph_says(tmp_path: Path) -> None:
    model = read_keras_model(_package(tmp_path / "net"))
    random = np.random.default_rng(0)
    kernel, bias = _codes(3, 3, 3, 4, random=random), _codes(4, random=random)
    head, head_bias = _codes(4, 5, random=random), _codes(5, random=random)
    image = np.random.default_rng(1).random((SIZE_PX, SIZE_PX, 3))
    # TensorFlow's "same" with stride 2 on an even side pads one pixel, at the end.
    padded = np.pad(image, ((0, 1), (0, 1), (0, 0)))
    conv = [
        [np.tensordot(padded[y : y + 3, x : x + 3], kernel, 3) + bias for x in range(0, SIZE_PX, 2)]
        for y in range(0, SIZE_PX, 2)
    ]
    features = np.maximum(conv, 0).mean((0, 1))
    scores = np.exp(features @ head + head_bias)
    probabilities, found = model(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    np.testing.assert_allclose(found[0], features, rtol=1e-5)
    np.testing.assert_allclose(probabilities[0], scores / scores.sum(), rtol=1e-5)


def test_an_evaluator_gives_a_probability_for_each_image_and_two_views_of_features(tmp_path: Path) -> None:
    evaluator = open_evaluator(_package(tmp_path / "mobile"))
    opinion = evaluator(np.random.default_rng(0).integers(0, 256, (3, 12, 20, 3), np.uint8))
    assert evaluator.name == "mobile"
    assert opinion.drawn.shape == (3,)
    assert ((opinion.drawn > 0) & (opinion.drawn < 1)).all()
    assert opinion.features.shape == (6, 4)


@pytest.mark.parametrize(
    ("change", "named"), [({"classes": 7}, "7 classes"), ({"kind": "LSTM"}, "LSTM")], ids=["classes", "layer"]
)
def test_a_network_of_another_kind_is_refused_in_one_line(tmp_path: Path, change: dict, named: str) -> None:
    with pytest.raises(TrainingError, match=named):
        open_evaluator(_package(tmp_path / "net", **change))


def test_an_empty_folder_and_a_shard_that_is_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"model\.min\.js"):
        open_evaluator(tmp_path)
    folder = _package(tmp_path / "net")
    (folder / "group1-shard2of2.min.js").unlink()
    with pytest.raises(TrainingError, match=r"can be read"):
        open_evaluator(folder)


def test_the_probe_tells_two_kinds_apart_and_puts_what_lies_between_in_between() -> None:
    random = np.random.default_rng(0)
    photos, art = random.normal(0, 1, (80, 16)), random.normal(0, 1, (40, 16)) + 1.5
    probe = fit_probe(photos, art)
    middle = random.normal(0, 1, (400, 16)) + 0.75
    assert probe.accuracy > 0.95
    assert probe(photos) < 0.2 < 0.35 < probe(middle) < 0.65 < 0.8 < probe(art)


def test_the_probe_admits_that_it_cannot_tell_two_equal_sets_apart() -> None:
    random = np.random.default_rng(0)
    assert fit_probe(random.normal(size=(80, 64)), random.normal(size=(80, 64))).accuracy < 0.7


def test_the_probe_asks_for_more_images_than_folds() -> None:
    with pytest.raises(TrainingError, match="needs 5 of each"):
        fit_probe(np.zeros((40, 3)), np.ones((8, 3)))
