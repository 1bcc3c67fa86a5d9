"""Generators from photos or from noise, one module each, created by name.

Every generator is an ``nn.Module`` with ``size_multiple`` (H and W in pixels must be multiples of it), ``layout`` (of
``animevid.styles.card``), ``tileable`` and ``receptive_field_px`` (see ``StyleCard``). All but
``luma-unet`` and ``nano`` take and return RGB in [-1, 1], ``N, 3, H, W``.

================  ==========  ==============================================================
name              parameters  architecture
================  ==========  ==============================================================
animegan          3,956,096   AnimeGAN v1
animegan2         2,143,552   AnimeGANv2
animegan2-lite      698,240   AnimeGANv2's published lite generator
cartoongan       11,129,667   CartoonGAN (batch or instance norm, ReLU or LeakyReLU)
cyclegan         11,378,179   CycleGAN's ResNet generator with 9 blocks
nano                297,336   ours, on packed YUV 4:2:0 (default widths)
luma-unet           475,908   ours, on packed YUV 4:2:0: a U-Net for areas, a luma branch for lines
================  ==========  ==============================================================

``dcgan``, ``sagan`` and ``stylegan2`` draw from noise (``noise.NoiseGenerator``).
"""

from __future__ import annotations

from torch import nn

from animevid_trainer.registry import make_network

#: name -> (module, class)
_REGISTRY: dict[str, tuple[str, str]] = {
    "animegan": ("animegan", "AnimeGan"),
    "animegan2": ("animegan2", "AnimeGan2"),
    "animegan2-lite": ("animegan2", "AnimeGan2Lite"),
    "cartoongan": ("cartoongan", "CartoonGan"),
    "cyclegan": ("cyclegan", "CycleGan"),
    "luma-unet": ("luma_unet", "LumaUNet"),
    "nano": ("nano", "Nano"),
}

#: the generators from noise
_FROM_NOISE: dict[str, tuple[str, str]] = {
    "dcgan": ("dcgan", "DcGan"),
    "sagan": ("sagan", "SaGan"),
    "stylegan2": ("stylegan2", "StyleGan2"),
}

GENERATOR_NAMES: tuple[str, ...] = tuple(_REGISTRY)
NOISE_GENERATOR_NAMES: tuple[str, ...] = tuple(_FROM_NOISE)


def make_generator(name: str, **options: bool | int | float | str) -> nn.Module:
    """Create a generator with fresh weights. ``options`` are keyword arguments of its class.

    Raises:
        TrainingError: an unknown name or option, or an invalid value.
    """
    return make_network("generator", name, options, registry=_REGISTRY | _FROM_NOISE, package=__name__)
