"""``Painted``: flat areas and inked outlines, laid over what a packed generator paints.

A small student of a painting teacher hedges: it keeps some texture and draws grey lines. Both are mended here by two
fixed filters that look a few pixels around. They are part of the exported graph, so every backend runs them. Nothing of
them is trained, but a network can be trained through them (:class:`PaintedNano`), and then paints what they need.
"""

from __future__ import annotations

import torch
from animevid.errors import TrainingError, UsageError
from animevid.pixels.paint import InkSettings, PaintSettings
from animevid.styles.card import Layout
from torch import Tensor, nn
from torch.nn import functional

from animevid_trainer.generators.nano import Nano

RIM_CELLS = 2  # of 4x4 pixels; even, since generators take multiples of 8 pixels
PATCH_RADIUS_PX = 2  # of the patches that areas are flattened from
BUSY_PX = 7  # how far around a pixel it is judged how busy the place is
#: What :class:`Painted` takes beside its generator.
FILTER_NUMBERS = (
    "flatten_px", "rounds", "ink_px", "threshold", "slope", "thin_threshold", "thin_slope", "calm", "thin_calm",
    "opacity", "thin_opacity", "lift",
)  # fmt: skip


def kuwahara(luma: Tensor, *, distance_px: int, diagonal: bool, floor: float = 1e-3) -> Tensor:
    """Flatten areas and keep edges: each pixel takes the mean of the evenest of four patches around it.

    ``luma``: ``(N, 1, H, W)`` on [-1, 1]; the same comes back. Patches are round (a mean of means, 5 pixels wide) and
    ``distance_px`` away along one axis (above, below, left and right) or, ``diagonal``, along both. At 2 the pixel is
    just within each: further away, edges get soft. Square patches in the corners alone, as published, make areas
    square too. Patches are mixed by the fourth power of their
    evenness, so that nothing flips between two alike; ``floor`` is a variance that counts as even.

    Source: Kuwahara et al. 1976, "Processing of RI-angiocardiographic images"; mixing as in Papari, Petkov and Campisi
    2007, "Artistic edge and corner enhancing smoothing", equation 11.
    """
    padded = functional.pad(luma, (distance_px + PATCH_RADIUS_PX,) * 4, mode="replicate")
    mean = _patches(padded)
    variance = functional.relu(_patches(padded * padded) - mean * mean)
    evenness = floor / (variance + floor)
    squared = evenness * evenness
    weight = squared * squared
    around = _corners if diagonal else _sides
    return around(weight * mean, distance_px) / around(weight, distance_px)


def _patches(field: Tensor) -> Tensor:
    """The mean over the patch around each pixel, without a border of :data:`PATCH_RADIUS_PX`."""
    return functional.avg_pool2d(functional.avg_pool2d(field, 3, 1), 3, 1)


def _corners(field: Tensor, step: int) -> Tensor:
    """Sum of the values ``step`` away in four diagonal directions, without a border of ``step``."""
    rows = field[..., : -2 * step, :] + field[..., 2 * step :, :]
    return rows[..., : -2 * step] + rows[..., 2 * step :]


def _sides(field: Tensor, step: int) -> Tensor:
    """Sum of the values ``step`` above, below, left and right, without a border of ``step``."""
    columns, rows = field[..., step:-step], field[..., step:-step, :]
    beside = rows[..., : -2 * step] + rows[..., 2 * step :]
    return beside + columns[..., : -2 * step, :] + columns[..., 2 * step :, :]


def ink_lines(
    luma: Tensor, *, radius_px: int, threshold: float, slope: float, calm: float, opacity: float = 1.0
) -> Tensor:
    """Where ink goes, 0..``opacity``: pixels darker than the mean around them by more than a threshold.

    The threshold is ``threshold`` (of [-1, 1]) and ``calm`` times how far luma is from that mean on average within
    seven pixels: a line over an even area is inked, one of the many dark spots of gravel or foliage is not. ``luma``:
    ``(N, 1, H, W)``; the same shape comes back. ``slope`` is ink per unit of luma above the threshold.
    """
    darker = _mean(luma, radius_px) - luma
    busy = _mean(darker.abs(), BUSY_PX)
    return torch.clamp((darker - threshold - calm * busy) * slope, 0.0, opacity)


def _mean(field: Tensor, radius_px: int) -> Tensor:
    return functional.avg_pool2d(functional.pad(field, (radius_px,) * 4, mode="replicate"), 2 * radius_px + 1, 1)


def ends_kept(packed: Tensor, change: Tensor) -> Tensor:
    """``packed + change``, but black stays black and white stays white: a change fades out near both ends of luma.

    ``(N, 24, H / 4, W / 4)`` each. From a quarter of half the range away from an end, all of a change counts.
    """
    luma = torch.clamp((1.0 - packed[:, :16].abs()) * 4.0, 0.0, 1.0)
    chroma = functional.pixel_unshuffle(functional.avg_pool2d(functional.pixel_shuffle(luma, 4), 2), 2)
    return packed + change * torch.cat((luma, chroma, chroma), 1)


class Painted(nn.Module):
    """``(N, 24, H / 4, W / 4)`` -> the same: ``generator``, then its luma flattened, then ink.

    ``flatten_px`` is the distance of :func:`kuwahara`, ``rounds`` how often the luma is flattened: from corners and
    from sides in turn, so that no direction is favoured. ``ink_px``, ``threshold`` and ``slope`` are those of
    :func:`ink_lines`; all in pixels of the network's picture. ``opacity`` below 1 draws lines as dark tones of their
    ground: nearer to the photo than black ones, and to the judges as much of a drawing. Flattening eats lines of a
    pixel or two (letters, masts, panel joints): those are inked where the photo shows them, with ``thin_threshold``.
    Black stays black, and white stays white (:func:`ends_kept`). ``lift``, 0 to 0.5, brightens the tones between them:
    middle grey moves by that much.

    In training no gradient passes through the place of ink: a generator that could would learn to keep under the
    thresholds, since each line takes it further from the photo.

    Raises:
        TrainingError: a generator of another layout.
    """

    def __init__(
        self,
        generator: nn.Module,
        *,
        flatten_px: int = 2,
        rounds: int = 2,
        ink_px: int = 2,
        threshold: float = 0.03,
        slope: float = 50.0,
        thin_threshold: float = 0.08,
        thin_slope: float = 10.0,
        calm: float = 1.0,
        thin_calm: float = 3.0,
        opacity: float = 1.0,
        thin_opacity: float = 1.0,
        lift: float = 0.0,
    ) -> None:
        super().__init__()
        if getattr(generator, "layout", None) is not Layout.PACKED_YUV420:
            raise TrainingError(f"{type(generator).__name__} does not paint packed Y'CbCr 4:2:0, as nano does")
        self.generator = generator
        self.flatten_px, self.rounds, self.ink_px = flatten_px, rounds, ink_px
        self.threshold, self.slope = threshold, slope
        self.thin_threshold, self.thin_slope = thin_threshold, thin_slope
        self.calm, self.thin_calm = calm, thin_calm
        self.opacity, self.thin_opacity = opacity, thin_opacity
        self.lift = lift
        self.layout = Layout.PACKED_YUV420
        self.size_multiple = int(getattr(generator, "size_multiple", 8))
        self.tileable = bool(getattr(generator, "tileable", False))

    @property
    def receptive_field_px(self) -> int:
        """The network's, and what the filters look around themselves."""
        reach = 2 * (self.rounds * (self.flatten_px + PATCH_RADIUS_PX) + self.ink_px + BUSY_PX)
        return int(getattr(self.generator, "receptive_field_px", 0)) + reach

    def set_filters(self, **numbers: float) -> None:
        """Other numbers of the filters, by the names that the constructor has for them.

        Raises:
            TrainingError: no such number, or one that the filters do not have.
        """
        unknown = [f"{name} = {value!r}" for name, value in numbers.items() if name not in FILTER_NUMBERS]
        wrong = [f"{name} = {value!r}" for name, value in numbers.items() if not isinstance(value, int | float)]
        if unknown or wrong:
            raise TrainingError(f"{', '.join(unknown or wrong)}: allowed are numbers for {', '.join(FILTER_NUMBERS)}")
        before = {name: getattr(self, name) for name in numbers}
        for name, value in numbers.items():
            setattr(self, name, type(before[name])(value))
        if self.settings is None:
            for name, value in before.items():
                setattr(self, name, value)
            raise TrainingError(f"{numbers}: rounds are 0 to 4, flatten_px 1 or 2, ink_px 1 to 3, opacity 0 to 1")

    @property
    def settings(self) -> PaintSettings | None:
        """The filters' numbers as the engine's kernels take them; ``None`` where they have no such filters."""
        outline = InkSettings(self.threshold, self.slope, self.calm, self.opacity)
        thin = InkSettings(self.thin_threshold, self.thin_slope, self.thin_calm, self.thin_opacity)
        try:
            return PaintSettings(self.rounds, self.flatten_px, self.ink_px, self.lift, outline, thin)
        except UsageError:
            return None

    def forward(self, packed: Tensor) -> Tensor:
        return self.over(packed, self.ground(packed))

    def ground(self, packed: Tensor) -> Tensor:
        """What the generator paints, before the filters; the shape of ``packed``.

        The generator sees the outermost cells repeated around the picture: its own zero padding, a gray frame to it,
        would show at the rim.
        """
        generator, rim = self.generator, RIM_CELLS
        wide = functional.pad(packed, (rim,) * 4, mode="replicate")
        change = generator.change(wide) if isinstance(generator, Nano) else generator(wide) - wide
        return ends_kept(packed, change[..., rim:-rim, rim:-rim])

    def over(self, packed: Tensor, ground: Tensor) -> Tensor:
        """The filters' work on :meth:`ground`; the shape of both."""
        luma = torch.clamp(functional.pixel_shuffle(ground[:, :16], 4), -1.0, 1.0)
        if self.lift:
            luma = luma + self.lift * (1.0 - luma * luma)
        for turn in range(self.rounds):
            luma = kuwahara(luma, distance_px=self.flatten_px, diagonal=turn % 2 == 0)
        photo = functional.pixel_shuffle(packed[:, :16], 4)
        thin = ink_lines(
            photo,
            radius_px=self.ink_px,
            threshold=self.thin_threshold,
            slope=self.thin_slope,
            calm=self.thin_calm,
            opacity=self.thin_opacity,
        )
        outline = ink_lines(
            luma.detach(),
            radius_px=self.ink_px,
            threshold=self.threshold,
            slope=self.slope,
            calm=self.calm,
            opacity=self.opacity,
        )
        bare = 1.0 - torch.maximum(outline, thin)
        luma = (luma + 1.0) * bare - 1.0
        beside = functional.pixel_unshuffle(functional.avg_pool2d(bare, 2), 2)
        chroma = ground[:, 16:] * torch.cat((beside, beside), 1)
        return torch.cat((functional.pixel_unshuffle(luma, 4), chroma), 1)


class PaintedNano(Painted):
    """:class:`Painted` over a :class:`~animevid_trainer.generators.nano.Nano`: trained through the filters."""

    generator: Nano

    def __init__(
        self,
        *,
        width: int = 64,
        deep_width: int = 64,
        head_width: int = 96,
        deep_blocks: int = 2,
        flatten_px: int = 2,
        rounds: int = 2,
        ink_px: int = 2,
        threshold: float = 0.03,
        slope: float = 50.0,
        thin_threshold: float = 0.08,
        thin_slope: float = 10.0,
        calm: float = 1.0,
        thin_calm: float = 3.0,
        opacity: float = 1.0,
        thin_opacity: float = 1.0,
        lift: float = 0.0,
    ) -> None:
        super().__init__(
            Nano(width=width, deep_width=deep_width, head_width=head_width, deep_blocks=deep_blocks),
            flatten_px=flatten_px,
            rounds=rounds,
            ink_px=ink_px,
            threshold=threshold,
            slope=slope,
            thin_threshold=thin_threshold,
            thin_slope=thin_slope,
            calm=calm,
            thin_calm=thin_calm,
            opacity=opacity,
            thin_opacity=thin_opacity,
            lift=lift,
        )

    def amplify(self, gain: float, *, chroma_gain: float | None = None) -> None:
        """As :meth:`Nano.amplify`, below the filters."""
        self.generator.amplify(gain, chroma_gain=chroma_gain)
