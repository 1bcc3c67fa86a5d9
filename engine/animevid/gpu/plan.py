"""Plans what the slots of a pipeline hold, and smaller plans if the device has no room."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from animevid.errors import UsageError
from animevid.gpu.kernels import SurfaceLayout, surface_layout
from animevid.pixels.packed import padded_size
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size
from animevid.render.tiles import Span, equal_spans
from animevid.styles.card import StyleCard

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlotPlan:
    """What each slot of a pipeline holds.

    Args:
        layout (SurfaceLayout): of the frames.
        card (StyleCard): of the style.
        net_size (tuple[int, int]): (height, width) in pixels at which the network runs, before padding; if it is
            smaller than the frame, a guided upsample restores the full size.
        batch (int): frames per slot. Default: 1.
        slots (int): how many. Default: 3.
        use_graphs (bool): capture the network into a CUDA graph. Default: true.
        tile (tuple[int, int]): (height, width) in pixels of a tile, if the whole tensor does not fit. Default:
            ``None``, no tiles.
    """

    layout: SurfaceLayout
    card: StyleCard
    net_size: Size
    batch: int = 1
    slots: int = 3
    use_graphs: bool = True
    tile: Size | None = None

    @property
    def padded(self) -> Size:
        return self.card.padded_px(*self.net_size)

    @property
    def multiple(self) -> int:
        """The multiple of both sides of the tensor, in pixels."""
        return self.card.padded_multiple_px

    @property
    def network_px(self) -> Size:
        """The size that the network is opened for: a tile or the whole tensor."""
        return self.tile or self.padded

    @cached_property
    def tiles(self) -> tuple[tuple[Span, Span], ...]:
        """Rows and columns of each tile, in pixels of the tensor; empty without tiles."""
        if self.tile is None:
            return ()
        rows, columns = (
            equal_spans(length, read=read, margin=self.card.receptive_field_px, step=self.multiple)
            for length, read in zip(self.padded, self.tile, strict=True)
        )
        return tuple((row, column) for row in rows for column in columns)

    @property
    def upsamples(self) -> bool:
        return self.net_size != self.layout.size

    @property
    def small_layout(self) -> SurfaceLayout:
        """The layout of an RGB network's small frame, before upsampling."""
        return surface_layout(*self.net_size, bit_depth=self.layout.bit_depth)

    @property
    def small_padded(self) -> Size:
        """The packed tensors that an RGB network's small frame is upsampled from."""
        return padded_size(self.net_size, multiple=4)


def plan_slots(
    like: PlanesYUV420, card: StyleCard, *, net_size: Size | None = None, batch: int = 1, slots: int = 3
) -> SlotPlan:
    """A plan for frames like ``like``.

    Raises:
        UsageError: a network larger than the frame, or numbers below 1.
    """
    if batch < 1 or slots < 1:
        raise UsageError(f"{batch = }, {slots = } must be 1 or more")
    layout = surface_layout(like.height, like.width, bit_depth=like.bit_depth)
    net_size = net_size or layout.size
    if net_size[0] > like.height or net_size[1] > like.width:
        raise UsageError(f"{net_size = } is larger than the frame {layout.size}; such a style runs as a backend")
    return SlotPlan(layout, card, net_size, batch, slots)


def smaller_plan(plan: SlotPlan) -> SlotPlan | None:
    """The next smaller plan: half the batch, then one slot, then ever smaller tiles; logged. ``None``: there is none.

    This does not change results: tiles overlap by the receptive field, as on the CPU.
    """
    if plan.batch > 1:
        _LOG.warning("the GPU is out of memory: going on with batches of %d", plan.batch // 2)
        return replace(plan, batch=plan.batch // 2)
    if plan.slots > 1:
        _LOG.warning("the GPU is out of memory: going on with one frame at a time")
        return replace(plan, slots=1)
    tile = _smaller_tile(plan)
    if tile is None:
        return None
    smaller = replace(plan, tile=tile)
    height, width = tile
    _LOG.warning(
        "the GPU is out of memory: the network sees %d tiles of %dx%d; the result stays the same",
        len(smaller.tiles), width, height,
    )  # fmt: skip
    return smaller


def _smaller_tile(plan: SlotPlan) -> Size | None:
    """The largest tile smaller than the present one; ``None``: there is none."""
    card = plan.card
    if not card.tileable or card.fixed_size_px is not None:
        return None
    now = plan.network_px[0] * plan.network_px[1]
    smaller = [tile for tile in _tile_sizes(plan) if tile[0] * tile[1] <= 0.75 * now]
    return max(smaller, key=lambda tile: tile[0] * tile[1], default=None)


def _tile_sizes(plan: SlotPlan) -> Iterator[Size]:
    margin = _up(plan.card.receptive_field_px, plan.multiple)
    for down in range(1, 9):
        for across in range(1, 9):
            sides = (
                min(_up(-(-length // count), plan.multiple) + 2 * margin * (count > 1), length)
                for length, count in zip(plan.padded, (down, across), strict=True)
            )
            yield next(sides), next(sides)


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
