"""A viewer's renderer: the latest requested style, at a quality that the machine can sustain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from animevid.errors import AnimevidError
from animevid.options import LiveOptions
from animevid.pixels import Plane, PlanesYUV420
from animevid.render.geometry import reduced_pixels
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import Filter, FrameReuse, TemporalFilter
from animevid.run.adaptive import ArrivalRate, QualityGovernor, QualityStep, quality_ladder
from animevid.run.stylizer_cache import StylizerCache


@dataclass(frozen=True, slots=True)
class _Step:
    """A frame in ``renderer``; ``item`` is the result of its latest step."""

    renderer: FrameReuse
    item: object
    is_drawn: bool


class LiveRenderer:
    """A renderer whose style, strength and quality may change between frames.

    The previous style stays in use while a new one loads, or if it cannot be loaded. Frames that changed no more than
    camera noise are not stylized again. One thread uses it; settings may be set from any thread.

    Args:
        cache (StylizerCache): the open networks; viewers share them, so one frame is stylized at a time.
        settings (LiveOptions): style, strength and quality.
        sharers (Callable): returns how many viewers share the machine now.
    """

    batch_limit = 1

    def __init__(self, cache: StylizerCache, settings: LiveOptions, *, sharers: Callable[[], int]) -> None:
        self._cache, self._settings, self._sharers = cache, settings, sharers
        self._governor = _governor(settings)
        self._filter: Filter | None = None
        self._reuse: FrameReuse | None = None
        self._net_pixels = 0
        self._reused = 0
        self._started_at = 0.0
        self.arrivals = ArrivalRate()
        #: The error of the requested style or of the last frame, in one line.
        self.trouble: str | None = None
        self._style_trouble: str | None = None

    def fail(self, trouble: str) -> None:
        """Show ``trouble`` (one line) until a frame is stylized again; the next frame is not reused."""
        self.trouble, self._reuse = trouble, None

    @property
    def settings(self) -> LiveOptions:
        return self._settings

    @settings.setter
    def settings(self, settings: LiveOptions) -> None:
        if settings.quality != self._settings.quality or settings.fps != self._settings.fps:
            self._governor = _governor(settings)
        self._settings = settings

    @property
    def step(self) -> QualityStep:
        """The current quality level."""
        return self._governor.step if self._settings.adaptive else self._governor.ladder[0]

    @property
    def is_reduced(self) -> bool:
        """Whether the machine is too slow for the requested quality at the target rate."""
        return self._settings.adaptive and self._governor.is_reduced

    @property
    def style_name(self) -> str:
        """The name of the style in use."""
        return "" if self._filter is None else self._filter.stylizer.card.name

    @property
    def frames_reused(self) -> int:
        """Unchanged frames that reused the previous result."""
        return self._reused

    def fit(self, planes: PlanesYUV420) -> PlanesYUV420:
        """``planes`` at the size and orientation of the output."""
        self._started_at = time.monotonic()
        return mirrored(planes) if self._settings.mirror else planes

    def preprocess(self, planes: PlanesYUV420) -> _Step | None:
        settings = self._settings
        self._style_trouble = None
        try:
            wanted = self._cache.get(replace(settings, quality=self.step.quality))
        except AnimevidError as error:
            wanted, self._style_trouble = None, str(error)
        if wanted is not None and (self._filter is None or self._filter.stylizer is not wanted):
            self._filter, self._reuse = TemporalFilter(wanted), None
        if self._filter is None or settings.strength == 0:
            return None
        renderer = self._renderer(self._filter, planes)
        item = renderer.preprocess(planes)
        is_drawn = item is not None
        self._reused += not is_drawn
        return _Step(renderer, item, is_drawn)

    def infer(self, inputs: Sequence[_Step | None]) -> list[_Step | None]:
        return [step and replace(step, item=step.renderer.infer([step.item])[0]) for step in inputs]

    def wait(self, output: _Step | None) -> None:
        if output is not None:
            output.renderer.wait(output.item)

    def postprocess(self, planes: PlanesYUV420, output: _Step | None) -> PlanesYUV420:
        if output is None:
            self.trouble = self._style_trouble
            return planes
        shown = output.renderer.postprocess(planes, output.item)
        self.trouble = self._style_trouble  # not earlier: a frame that fails again is not a new error
        finished_at = time.monotonic()
        if self._settings.adaptive and output.is_drawn:
            cost = (finished_at - self._started_at) * self._sharers()
            self._governor.observe(finished_at, cost, arrival_seconds=self.arrivals.frame_seconds)
        return shown

    def interrupt(self) -> None:
        """Nothing: the networks are shared."""

    def _renderer(self, filtered: Filter, planes: PlanesYUV420) -> FrameReuse:
        """``filtered`` with the current options and size; a new size runs the network even for an unchanged frame."""
        stylizer, settings = filtered.stylizer, self._settings
        net_pixels = _net_pixels(stylizer, settings, planes, share=self.step.net_share)
        stylizer.options = replace(settings, net_pixels=net_pixels)
        if self._reuse is None or net_pixels != self._net_pixels:
            self._reuse, self._net_pixels = FrameReuse(filtered), net_pixels
        return self._reuse


def _governor(settings: LiveOptions) -> QualityGovernor:
    return QualityGovernor(quality_ladder(settings.quality or "fast"), frame_seconds=float(1 / settings.fps))


def _net_pixels(stylizer: Stylizer, settings: LiveOptions, planes: PlanesYUV420, *, share: float) -> int:
    base = stylizer.default_net_pixels if settings.net_pixels is None else settings.net_pixels
    return reduced_pixels(base, planes.height, planes.width, share=share)


def mirrored(planes: PlanesYUV420) -> PlanesYUV420:
    """The frame mirrored left to right."""

    def flip(plane: Plane) -> Plane:
        flipped: Plane = plane[:, ::-1].copy()
        return flipped

    return planes.with_planes(flip(planes.y), flip(planes.u), flip(planes.v), alpha=None)
