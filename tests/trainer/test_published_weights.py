"""Files with the layout of torchvision's published checkpoints: every name, every shape, random numbers.

The real files could not be downloaded where these tests were written. They test that a file of that layout loads and
computes what the architecture computes, and that a failed download gives a one-line error and leaves no file.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.perceptual import PUBLISHED, PublishedWeights, download_weights, make_perceptual
from torch import Tensor
from torch.nn import functional as F

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def vgg_state(convs_per_block: tuple[int, ...]) -> OrderedDict[str, Tensor]:
    """torchvision's ``vgg16``/``vgg19`` state dict: ``features.N``, then the classifier."""
    generator = torch.Generator().manual_seed(0)
    state: OrderedDict[str, Tensor] = OrderedDict()
    index, channels = 0, 3
    for width, convs in zip((64, 128, 256, 512, 512), convs_per_block, strict=True):
        for _ in range(convs):
            scale = (2.0 / (9 * channels)) ** 0.5
            state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * scale
            state[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
            index, channels = index + 2, width
        index += 1
    for name, outputs, inputs in (("0", 4096, 25088), ("3", 4096, 4096), ("6", 1000, 4096)):
        # Half a gigabyte of unused weights: the real shapes, all views of one number.
        state[f"classifier.{name}.weight"] = torch.zeros(1).expand(outputs, inputs)
        state[f"classifier.{name}.bias"] = torch.zeros(1).expand(outputs)
    return state


def resnet50_state() -> OrderedDict[str, Tensor]:
    """torchvision's ``resnet50`` state dict, including batch norm's counters and the classifier."""
    generator = torch.Generator().manual_seed(0)
    state: OrderedDict[str, Tensor] = OrderedDict()

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (2.0 / (inputs * kernel**2)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * spread

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=generator) * 0.5 + 0.2
        state[f"{name}.bias"] = torch.randn(channels, generator=generator) * 0.1
        state[f"{name}.running_mean"] = torch.randn(channels, generator=generator) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(1_281_167)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            for number, shape in enumerate(((width, inputs, 1), (width, width, 3), (4 * width, width, 1)), start=1):
                convolution(f"{prefix}.conv{number}", *shape)
                norm(f"{prefix}.bn{number}", shape[0])
            if block == 0:
                convolution(f"{prefix}.downsample.0", 4 * width, inputs, 1)
                norm(f"{prefix}.downsample.1", 4 * width)
            inputs = 4 * width
    state["fc.weight"] = torch.randn(1000, 2048, generator=generator)
    state["fc.bias"] = torch.zeros(1000)
    return state


def resnet50_layers(state: OrderedDict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """ResNet-50 as a plain function (He et al. 2016, stride in the 3x3 convolution)."""

    def block(x: Tensor, conv: str, norm: str, *, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        statistics = (state[f"{norm}.running_mean"], state[f"{norm}.running_var"])
        return F.batch_norm(y, *statistics, state[f"{norm}.weight"], state[f"{norm}.bias"])

    found = {"stem": (x := block(x, "conv1", "bn1", stride=2).relu())}
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for number in range(blocks):
            name, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            y = block(x, f"{name}.conv1", f"{name}.bn1").relu()
            y = block(y, f"{name}.conv2", f"{name}.bn2", stride=stride).relu()
            y = block(y, f"{name}.conv3", f"{name}.bn3")
            if number == 0:
                x = block(x, f"{name}.downsample.0", f"{name}.downsample.1", stride=stride)
            x = (x + y).relu()
        found[f"layer{stage}"] = x
    return found


def _photo() -> Tensor:
    return torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize(("name", "convs"), [("vgg19", (2, 2, 4, 4, 4)), ("vgg16", (2, 2, 3, 3, 3))])
def test_a_vgg_file_of_the_published_layout_loads_to_its_last_layer(
    name: str, convs: tuple[int, ...], tmp_path: Path
) -> None:
    state = vgg_state(convs)
    torch.save(state, tmp_path / "vgg.pth")
    network = make_perceptual(name, weights=tmp_path / "vgg.pth", unit="normalized")
    assert network.layers[-1] == f"relu5_{convs[-1]}"
    assert network.default_layer == f"conv4_{convs[3]}"
    assert sum(p.numel() for p in network.parameters()) == sum(
        value.numel() for key, value in state.items() if key.startswith("features")
    )
    x, index, expected = ((_photo() + 1) / 2 - _MEAN) / _STD, 0, {}
    for block, count in enumerate(convs, start=1):
        for number in range(1, count + 1):
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            expected[f"conv{block}_{number}"] = x
            x, index = x.relu(), index + 2
        x, index = F.max_pool2d(x, 2), index + 1
    for layer, feature in network.features(_photo(), tuple(expected)).items():
        assert torch.allclose(feature, expected[layer], rtol=1e-3, atol=1e-3 * float(expected[layer].abs().max()))


def test_a_resnet50_file_of_the_published_layout_computes_its_layers(tmp_path: Path) -> None:
    state = resnet50_state()
    assert len(state) == 320  # as many as torchvision's has
    torch.save(state, tmp_path / "resnet50.pth")
    network = make_perceptual("resnet50", weights=tmp_path / "resnet50.pth")
    expected = resnet50_layers(state, ((_photo() + 1) / 2 - _MEAN) / _STD)
    found = network.features(_photo(), tuple(expected))
    for layer, feature in expected.items():
        assert torch.allclose(found[layer], feature, rtol=1e-3, atol=1e-3 * float(feature.abs().max())), layer


def test_the_published_addresses_carry_the_digits_that_they_are_checked_against() -> None:
    for source in PUBLISHED.values():
        assert source.url.startswith("https://")
        assert source.url.endswith(f"-{source.sha256_prefix}.pth")


# ---- downloads


class _Server(ThreadingHTTPServer):
    body = b""
    claimed_bytes = 0
    status = 200
    requests = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.claimed_bytes or len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(body: bytes, *, claimed_bytes: int = 0, status: int = 200) -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.body, server.claimed_bytes, server.status = body, claimed_bytes, status
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANIMEVID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


_BODY = b"weights " * 400_000


def _published(server: _Server, digest: str = hashlib.sha256(_BODY).hexdigest()[:8]) -> PublishedWeights:
    return PublishedWeights(f"http://127.0.0.1:{server.server_port}/vgg19-{digest}.pth", digest)


def test_a_download_is_checked_kept_and_not_repeated(cache: Path) -> None:
    with _serving(_BODY) as server:
        first, second = (download_weights("vgg19", published=_published(server)) for _ in range(2))
        assert server.requests == 1
    assert first == second
    assert first.read_bytes() == _BODY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"body": b"<html>an error page</html>"},
            r"arrived with sha256 [0-9a-f]{64}, published is .*fetch the",
        ),
        ({"body": _BODY[:-9], "claimed_bytes": len(_BODY)}, r"interrupted at .*--perceptual-weights"),
        ({"body": b"", "status": 404}, r"cannot be downloaded \(.*404 Not Found\); fetch https.* give it with"),
    ],
)
def test_a_download_that_goes_wrong_is_one_line_and_no_file(
    changes: dict[str, object], message: str, cache: Path
) -> None:
    with _serving(**{"body": _BODY, **changes}) as server, pytest.raises(TrainingError, match=message) as caught:
        download_weights("vgg19", published=_published(server))
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_server_that_is_not_there_is_one_line_and_no_file(cache: Path) -> None:
    with _serving(_BODY) as server:
        published = _published(server)
    with pytest.raises(TrainingError, match=r"cannot be downloaded \(.*refused.*\); fetch https.* give it with"):
        download_weights("vgg19", published=published)
    assert list(cache.iterdir()) == []
