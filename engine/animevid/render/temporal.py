"""Renderers that wrap a renderer and keep the stream's state: the temporal filter and the reuse of unchanged frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Protocol

import numpy as np

from animevid.backends.base import Tensor
from animevid.errors import DeviceError
from animevid.options import StyleOptions
from animevid.pixels import (
    ChangeDetector,
    InputFilter,
    NoiseFloor,
    OutputFilter,
    PlanesYUV420,
    has_changed,
    planes_to_rgb,
)
from animevid.pixels.change import are_of_one_form
from animevid.pixels.device import DevicePlanes
from animevid.pixels.packed import depth_to_space_ref, space_to_depth_ref
from animevid.render.renderer import AnyRenderer, DeviceInput, NetworkInput, NetworkOutput, StepInput, StepOutput
from animevid.render.rgb import Images, planes_of_rgb, take_images
from animevid.render.stylizer import Stylizer
from animevid.styles.card import Layout

#: Side of the cells for motion detection, in pixels of the network (the cells of a packed tensor).
_CELL_PX = 4


@dataclass(frozen=True, slots=True)
class FilteredInput:
    """The filtered input of a frame, and the weights for its output (``pixels.deflicker``)."""

    network_input: StepInput
    weights: Tensor | None


@dataclass(frozen=True, slots=True)
class FilteredOutput:
    """The network's output for a ``FilteredInput``, which ``postprocess`` filters with the weights."""

    network_output: StepOutput
    weights: Tensor | None


_network_input_of: Callable[[FilteredInput], StepInput] = attrgetter("network_input")
_weights_of: Callable[[FilteredInput], Tensor | None] = attrgetter("weights")


class TemporalFilter:
    """The steps of ``stylizer`` without flicker: areas that only noise changed stay the same (``pixels.deflicker``).

    Use one per stream, since it keeps state: ``preprocess`` that of the inputs, ``postprocess`` that of the outputs, so
    each may have its own thread. Whole frames on a GPU are filtered there, by the same formulas.

    Args:
        stylizer (Stylizer): the stylizer, which the caller closes.
    """

    def __init__(self, stylizer: Stylizer) -> None:
        self.stylizer = stylizer
        self._packed = stylizer.card.layout is Layout.PACKED_YUV420
        low, high = stylizer.card.input_range
        self._filter_input = InputFilter(units_per_code=abs(high - low) / 255)
        self._filter_output = OutputFilter()
        self._last: tuple[FilteredOutput, NetworkOutput] | None = None
        self._on_device: object | None = None

    @property
    def batch_limit(self) -> int:
        return self.stylizer.batch_limit

    def preprocess(self, planes: PlanesYUV420) -> FilteredInput:
        network_input, weights = self.stylizer.preprocess(planes), None
        if isinstance(network_input, NetworkInput):
            if self._packed:
                tensor, weights = self._filter_input(network_input.tensor)
            else:
                layout, like = self.stylizer.card.layout, network_input.tensor
                cells, weights = self._filter_input(to_cells(like, layout))
                tensor = from_cells(cells, layout, like=like)
            network_input = NetworkInput(tensor, network_input.size)
        else:
            network_input = self._filtered_on_device(network_input)
        return FilteredInput(network_input, weights)

    def infer(self, inputs: Sequence[FilteredInput]) -> list[FilteredOutput]:
        outputs = self.stylizer.infer(list(map(_network_input_of, inputs)))
        return list(map(FilteredOutput, outputs, map(_weights_of, inputs)))

    def wait(self, output: FilteredOutput) -> None:
        self.stylizer.wait(output.network_output)

    def interrupt(self) -> None:
        self.stylizer.interrupt()

    def postprocess(self, planes: PlanesYUV420, output: FilteredOutput) -> PlanesYUV420:
        drawn = output.network_output
        if isinstance(drawn, NetworkOutput):
            return self.stylizer.postprocess(planes, self._filtered(output, drawn))
        if planes is drawn.source.planes:
            return self.stylizer.postprocess(planes, drawn)
        # An unchanged frame at another strength: the old result is already blended. The state of the CPU's inputs
        # belongs to another thread, so a frame for which the device was lost meanwhile is not filtered.
        again = self.stylizer.preprocess(planes)
        if isinstance(again, DeviceInput):
            again = self._filtered_on_device(again)
        return self.stylizer.postprocess(planes, self.stylizer.infer([again])[0])

    def _filtered(self, output: FilteredOutput, drawn: NetworkOutput) -> NetworkOutput:
        """``drawn``, filtered: once, even if ``FrameReuse`` shows it again."""
        if self._last is None or self._last[0] is not output:
            tensor = drawn.tensor
            if self._packed:
                tensor = self._filter_output(tensor, output.weights)
            else:
                layout = self.stylizer.card.layout
                cells = self._filter_output(to_cells(tensor, layout), output.weights)
                tensor = from_cells(cells, layout, like=tensor)
            self._last = output, NetworkOutput(tensor, drawn.source)
        return self._last[1]

    def _filtered_on_device(self, source: DeviceInput) -> DeviceInput:
        runner = self.stylizer.frames
        if self._on_device is None and runner is not None:
            self._on_device = runner.new_deflicker()
        return replace(source, deflicker=self._on_device)

    def stylize_planes(self, planes: PlanesYUV420) -> PlanesYUV420:
        """Stylize the next frame of the stream in the calling thread."""
        return self.postprocess(planes, self.infer([self.preprocess(planes)])[0])

    def __call__(self, image: Images) -> Images:
        """The next frame of the stream, stylized, as the same type.

        Args:
            image: a uint8 array or tensor of RGB, ``(H, W, 3)`` or ``(3, H, W)``; or a Pillow image.

        Raises:
            UsageError: another type, dtype or shape.
        """
        frame, give_back = take_images(image, batches=False)
        return give_back(planes_to_rgb(self.stylize_planes(planes_of_rgb(frame))))


class Filter(AnyRenderer, Protocol):
    """A renderer around a stylizer, for one stream."""

    @property
    def stylizer(self) -> Stylizer:
        """The stylizer that it filters."""
        ...


class FrameReuse:
    """The steps of ``stylizer``, without running the network for frames that changed no more than codec noise.

    One per stream, since it keeps state. A frame is compared with the last *stylized* one, so slow motion adds up and
    is never frozen. An unchanged frame is passed on as ``None``; ``skipped`` counts them.
    """

    def __init__(self, stylizer: Stylizer | Filter, *, floor: NoiseFloor | None = None) -> None:
        self._stylizer: AnyRenderer = stylizer
        inner = stylizer if isinstance(stylizer, Stylizer) else stylizer.stylizer
        # Without a GPU all frames are in host memory; a GPU is lost, never gained, during a stream.
        compare = has_changed if inner.frames is None else partial(_has_changed, inner)
        self._detector = ChangeDetector(floor=floor, compare=compare)
        self._inner = inner
        self._output: object = None
        self._shown: tuple[StyleOptions, PlanesYUV420] | None = None
        self.skipped = 0

    @property
    def batch_limit(self) -> int:
        return self._stylizer.batch_limit

    def preprocess(self, planes: PlanesYUV420) -> object:
        if self._detector.must_stylize(planes):
            return self._stylizer.preprocess(planes)
        self.skipped += 1
        return None

    def infer(self, inputs: Sequence[object]) -> list[object]:
        changed = [item for item in inputs if item is not None]
        outputs: list[object] = self._stylizer.infer(changed)
        if len(changed) == len(inputs):
            return outputs
        remaining = iter(outputs)
        return [None if item is None else next(remaining) for item in inputs]

    def wait(self, output: object) -> None:
        if output is not None:
            self._stylizer.wait(output)

    def interrupt(self) -> None:
        self._stylizer.interrupt()

    def postprocess(self, planes: PlanesYUV420, output: object) -> PlanesYUV420:
        options = self._inner.options
        if output is None and self._shown is not None and self._shown[0] == options:
            # The same object as before: an encoder spends almost nothing on it, and noise does not shimmer.
            return replace(self._shown[1], alpha=planes.alpha)
        self._output = output or self._output
        assert self._output is not None  # the first frame of a stream always counts as changed
        shown = self._stylizer.postprocess(planes, self._output)
        self._shown = (options, shown)
        return shown


def _has_changed(stylizer: Stylizer, before: PlanesYUV420, now: PlanesYUV420, *, floor: NoiseFloor) -> bool:
    """``pixels.has_changed``, also of frames in a GPU's memory, which are compared there."""
    if not (isinstance(before, DevicePlanes) or isinstance(now, DevicePlanes)):
        return has_changed(before, now, floor=floor)
    runner = stylizer.frames
    if runner is None or not are_of_one_form(before, now):
        return True
    try:
        return runner.has_changed(before, now, floor=floor)
    except DeviceError:
        return True  # stylizing it will raise the device's error


def to_cells(tensor: Tensor, layout: Layout) -> Tensor:
    """``tensor`` as (channels, cells down, cells across): 4x4 pixels each, the last filled by repeating the edge."""
    if layout is Layout.PACKED_YUV420:
        return tensor
    planar = np.moveaxis(tensor, -1, 0) if layout is Layout.NHWC else tensor
    height, width = planar.shape[1:]
    whole = np.pad(planar, ((0, 0), (0, -height % _CELL_PX), (0, -width % _CELL_PX)), mode="edge")
    return np.concatenate([space_to_depth_ref(plane, _CELL_PX) for plane in whole])


def from_cells(cells: Tensor, layout: Layout, *, like: Tensor) -> Tensor:
    """The inverse, in the shape of ``like``."""
    if layout is Layout.PACKED_YUV420:
        return cells
    planar = np.stack([depth_to_space_ref(plane, _CELL_PX) for plane in np.split(cells, 3)])
    height, width = like.shape[:2] if layout is Layout.NHWC else like.shape[1:]
    planar = planar[:, :height, :width]
    return np.ascontiguousarray(np.moveaxis(planar, 0, -1) if layout is Layout.NHWC else planar)
