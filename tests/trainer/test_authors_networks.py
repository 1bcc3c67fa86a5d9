"""Our networks equal the authors', reimplemented here from their TensorFlow layers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.discriminators import make_discriminator
from animevid_trainer.generators import make_generator
from torch import Tensor, nn
from torch.nn import functional as F


class _Given:
    """A network's parameters in order of use, in float64."""

    def __init__(self, network: nn.Module) -> None:
        self._values: Iterator[Tensor] = iter([p.detach().double() for p in network.parameters()])

    def take(self) -> Tensor:
        return next(self._values)

    def assert_used_up(self) -> None:
        assert next(self._values, None) is None


def _randomized(network: nn.Module) -> nn.Module:
    """In float64; norms get a different weight for each channel, and layer norm TensorFlow's epsilon, not 1e-5."""
    random = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data = torch.rand(parameter.shape, generator=random) + 0.5
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.eps = 1e-12
    return network.double()


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    """TensorFlow 1's ``resize_images``: output pixel i is at input position i * old / new, without aligned corners."""

    def along(x: Tensor, dim: int, size: int) -> Tensor:
        old = x.shape[dim]
        place = torch.arange(size, dtype=torch.float64) * old / size
        low = place.floor().long()
        high = (low + 1).clamp(max=old - 1)
        share = (place - low).view([-1 if d == dim else 1 for d in range(4)])
        return x.index_select(dim, low) * (1 - share) + x.index_select(dim, high) * share

    return along(along(x, 2, height), 3, width)


def _norm(x: Tensor, given: _Given, dims: tuple[int, ...], epsilon: float) -> Tensor:
    mean = x.mean(dims, keepdim=True)
    variance = (x - mean).square().mean(dims, keepdim=True)
    scale, shift = given.take(), given.take()
    return (x - mean) / (variance + epsilon).sqrt() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


_INSTANCE, _LAYER, _BATCH = (2, 3), (1, 2, 3), (0, 2, 3)


def _leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def _conv(x: Tensor, given: _Given, kernel: int, stride: int = 1) -> Tensor:
    if stride == 2:
        x = F.pad(x, (0, 1, 0, 1), mode="reflect")
    elif kernel > 1:
        x = F.pad(x, (kernel // 2,) * 4, mode="reflect")
    return F.conv2d(x, given.take(), stride=stride)


def _conv_norm(
    x: Tensor, given: _Given, dims: tuple[int, ...], epsilon: float, kernel: int = 3, stride: int = 1
) -> Tensor:
    return _leaky(_norm(_conv(x, given, kernel, stride), given, dims, epsilon))


def _depthwise(x: Tensor, given: _Given, stride: int = 1) -> Tensor:
    x = F.pad(x, (0, 1, 0, 1) if stride == 2 else (1,) * 4, mode="reflect")
    weight = given.take()
    return F.conv2d(x, weight, stride=stride, groups=len(weight))


def _separable(x: Tensor, given: _Given, stride: int = 1) -> Tensor:
    x = _conv(_depthwise(x, given, stride), given, 1)
    return _leaky(_norm(x, given, _INSTANCE, 1e-6))  # the epsilon of contrib's own instance_norm


def _animegan(x: Tensor, given: _Given) -> Tensor:
    def conv(x: Tensor, kernel: int = 3) -> Tensor:
        return _conv_norm(x, given, _INSTANCE, 1e-5, kernel)

    def down(x: Tensor) -> Tensor:
        return _separable(x, given, 2) + _separable(_resize(x, x.shape[2] // 2, x.shape[3] // 2), given)

    def residual(x: Tensor) -> Tensor:
        y = _leaky(_norm(_depthwise(conv(x, 1), given), given, _INSTANCE, 1e-5))
        return x + _norm(_conv(y, given, 1), given, _INSTANCE, 1e-5)

    def up(x: Tensor) -> Tensor:
        return _separable(_resize(x, 2 * x.shape[2], 2 * x.shape[3]), given)

    x = down(conv(conv(x)))
    x = down(_separable(conv(x), given))
    x = conv(x)
    for _ in range(8):
        x = residual(x)
    x = conv(_separable(up(conv(x)), given))
    return _conv(conv(conv(up(x))), given, 1).tanh()


def _animegan2_lite(x: Tensor, given: _Given) -> Tensor:
    def conv(x: Tensor, kernel: int = 3, stride: int = 1) -> Tensor:
        return _conv_norm(x, given, _LAYER, 1e-12, kernel, stride)

    def up(x: Tensor) -> Tensor:
        return conv(_resize(x, 2 * x.shape[2], 2 * x.shape[3]))

    x0 = conv(x, 7)
    x1 = conv(conv(x0, stride=2))
    x2 = conv(conv(x1, stride=2))
    y = conv(conv(x2, stride=2))
    for _ in range(4):
        y = y + _conv(conv(conv(y, 1)), given, 1)
    y = conv(up(y) + x2)
    y = conv(up(y) + x1)
    y = conv(up(y) + x0, 7)
    return _conv(y, given, 1).tanh()


def _discriminator(x: Tensor, given: _Given, dims: tuple[int, ...], epsilon: float) -> Tensor:
    def conv(x: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(x, given.take(), stride=stride, padding=1)

    x = _leaky(conv(x))
    for _ in range(2):
        x = _leaky(conv(x, 2))
        x = _leaky(_norm(conv(x), given, dims, epsilon))
    x = _leaky(_norm(conv(x), given, dims, epsilon))
    return conv(x)


def _images() -> Tensor:
    return torch.rand(2, 3, 40, 56, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [("animegan", {}, _animegan), ("animegan2-lite", {"upsampling": "asymmetric"}, _animegan2_lite)],
)
def test_a_generator_draws_what_the_authors_layers_draw(name, options, reference):
    torch.manual_seed(1)
    network = _randomized(make_generator(name, **options)).eval()
    given, images = _Given(network), _images()
    with torch.inference_mode():
        expected, got = reference(images, given), network(images)
    given.assert_used_up()
    assert expected.std() > 0.05
    assert (got - expected).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("norm", "dims", "epsilon"), [("instance", _INSTANCE, 1e-5), ("layer", _LAYER, 1e-12), ("batch", _BATCH, 1e-5)]
)
def test_a_discriminator_computes_as_the_authors_layers_do(norm, dims, epsilon):
    torch.manual_seed(1)
    network = _randomized(make_discriminator("patch", norm=norm, spectral=False)).train(norm == "batch")
    given, images = _Given(network), _images()
    with torch.inference_mode():
        expected, got = _discriminator(images, given, dims, epsilon), network(images)
    given.assert_used_up()
    assert expected.std() > 0.05
    assert (got - expected).abs().max() < 1e-9


def test_an_unknown_norm_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match="norm = 'group': allowed are layer, instance, batch"):
        make_discriminator("patch", norm="group")
