"""The faster layers equal torch's, including gradients."""

from __future__ import annotations

import pytest
import torch
from animevid_trainer.layers import InstanceNorm, LeakyRelu, ReflectionPad, Relu, reflect
from torch import Tensor, nn
from torch.nn import functional as F


def _images(dtype: torch.dtype = torch.float32) -> Tensor:
    images = torch.randn(3, 5, 9, 7, generator=torch.Generator().manual_seed(1)) * 3.0 + 1.0
    return images.to(dtype).contiguous(memory_format=torch.channels_last)


def _with_gradients(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """The output, and the gradients of input and parameters for a loss with a different weight for each pixel."""
    images = images.clone().requires_grad_()
    # A norm before it, as in all networks here: a rectifier must not overwrite a leaf.
    output = layer(images * 1.0)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    (output.float() * weights).sum().backward()
    assert images.grad is not None
    return [output.detach(), images.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_instance_norm_in_training_is_torchs_with_its_gradients(
    affine: bool, dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs = InstanceNorm(5, affine=affine), nn.InstanceNorm2d(5, affine=affine)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters(), strict=True):
        for parameter in (ours_p, theirs_p):
            nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(2))
    assert ours.training
    for got, expected in zip(
        _with_gradients(ours, _images(dtype)), _with_gradients(theirs, _images(dtype)), strict=True
    ):
        assert got.dtype == expected.dtype
        assert torch.allclose(got, expected, atol=tolerance * float(expected.abs().max()))


def test_instance_norm_keeps_the_memory_layout_that_convolutions_want() -> None:
    assert InstanceNorm(5)(_images()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("ours", "theirs"), [(LeakyRelu(0.2), nn.LeakyReLU(0.2)), (Relu(), nn.ReLU())])
def test_rectifiers_are_torchs_with_their_gradients(ours: nn.Module, theirs: nn.Module, dtype: torch.dtype) -> None:
    for got, expected in zip(
        _with_gradients(ours, _images(dtype)), _with_gradients(theirs, _images(dtype)), strict=True
    ):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("pad", [lambda x: reflect(x, 2), ReflectionPad(2)])
def test_padding_under_autocast_keeps_the_type_of_its_input(pad: nn.Module) -> None:
    images = _images(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        padded = pad(images)
    assert padded.dtype == torch.bfloat16
    assert torch.equal(padded.float(), F.pad(images.float(), (2, 2, 2, 2), mode="reflect"))


def test_the_allocator_can_be_asked_to_keep_memory_on_glibc() -> None:
    import platform
    import subprocess
    import sys

    # In a separate process: the setting affects the whole process.
    program = "from animevid_trainer.allocator import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
