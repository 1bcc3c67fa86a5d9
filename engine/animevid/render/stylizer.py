"""A style ready to run: in one call (``stylizer(frame)``), or step by step in the threads of a session."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from animevid.backends import open_backend
from animevid.backends.base import Backend
from animevid.backends.frames import FrameRunner
from animevid.declare import keywords_of, narrowed
from animevid.errors import BackendError, UsageError
from animevid.options import RuntimeOptions, StyleOptions, StylizerOptions
from animevid.pixels import PlanesYUV420, blend
from animevid.pixels.device import DevicePlanes, on_host
from animevid.render import geometry
from animevid.render.cpu import CpuSteps
from animevid.render.geometry import Size
from animevid.render.ready import ReadySizes
from animevid.render.renderer import (
    DeviceInput,
    DeviceOutput,
    NetworkInput,
    NetworkOutput,
    StepInput,
    StepOutput,
    form_of,
)
from animevid.render.rgb import Images, stylized_rgb, take_images
from animevid.styles import open_style
from animevid.styles.card import StyleCard

if TYPE_CHECKING:
    from animevid.gpu.interop import DeviceFrame
    from animevid.gpu.slots import Submission


class Stylizer:
    """A style opened on a backend. A context manager; ``close`` frees the backend.

    ``style`` is a name, the path of an ONNX file, a URL or a loaded ``Style``; ``None`` is the default style. The
    options of ``animevid.options.StylizerOptions`` are its arguments; ``Stylizer.open`` takes them whole. ``strength``
    and ``net_pixels`` may be set between frames, from any thread; so may ``options``, which has both.

    Called with ``uint8`` RGB (NumPy or torch, HWC or CHW, one or N) or a Pillow image, it returns the same kind. Chroma
    is subsampled on the way (4:2:0). Calls from several threads are safe.

    Raises:
        StyleError: no such style, or not a stylizer.
        BackendError: no backend can run it here.
        UsageError: a value outside its limits.
    """

    @keywords_of(StylizerOptions)
    def __init__(self, options: StylizerOptions) -> None:
        self._open(options, options, concurrency=options.concurrency)

    @classmethod
    def open(cls, options: StyleOptions, runtime: RuntimeOptions | None = None, *, concurrency: int = 1) -> Self:
        """The stylizer that ``options`` ask for; it raises the same errors as the class.

        Args:
            options (StyleOptions): the style and its strength.
            runtime (RuntimeOptions): how it runs. Default: the fastest way on this machine.
            concurrency (int): frames in the network at once. Default: 1.
        """
        stylizer = cls.__new__(cls)
        stylizer._open(options, runtime or RuntimeOptions(), concurrency=concurrency)
        return stylizer

    def _open(self, options: StyleOptions, runtime: RuntimeOptions, *, concurrency: int) -> None:
        self._options: StyleOptions = narrowed(options, StyleOptions)
        self._options_lock = threading.Lock()
        style = open_style(options)
        self.style = style = style.with_card()
        self.card: StyleCard = self.style.card
        self._default_net_pixels = self.card.net_pixels_at(options.quality)
        #: The largest ``net_pixels`` set so far; ``None`` if it was never set.
        self._max_net_pixels: int | None = None
        self._ready_sizes = ReadySizes()
        self._last_net_size: tuple[tuple[int, int, int], Size] = (0, 0, 0), (0, 0)
        self._backend: Backend = open_backend(
            self.style.model,
            self.card,
            runtime,
            concurrency=concurrency,
            int8=self._int8 if style.allow_int8 else None,
        )
        self._cpu = CpuSteps(self.card, self._backend, concurrency=concurrency)

    def _int8(self) -> tuple[bytes, StyleCard] | None:
        smaller = self.style.int8()
        return None if smaller is None else (smaller.model, smaller.card)

    @property
    def options(self) -> StyleOptions:
        """The options in force. Those that do not choose the style may be set between frames, from any thread."""
        return self._options

    @options.setter
    def options(self, options: StyleOptions) -> None:
        with self._options_lock:
            self._options = options
            if options.net_pixels is not None:
                self._max_net_pixels = max(options.net_pixels, self._max_net_pixels or 0)

    @property
    def strength(self) -> float:
        """The strength of the style: 0 (original) to 1 (style alone)."""
        return self._options.strength

    @strength.setter
    def strength(self, strength: float) -> None:
        with self._options_lock:
            self._options = replace(self._options, strength=float(StyleOptions.checked("strength", strength)))

    @property
    def net_pixels(self) -> int:
        """The maximum number of pixels that the network sees; 0: no limit. May be set between frames.

        Where a size takes long to open (TensorRT builds an engine for each), frames keep the current size until the new
        one is ready; once this has been set, the sizes of ``QUALITY_SHARES`` are prepared in the background.
        """
        net_pixels = self._options.net_pixels
        return self.default_net_pixels if net_pixels is None else net_pixels

    @net_pixels.setter
    def net_pixels(self, net_pixels: int) -> None:
        with self._options_lock:
            self._options = replace(self._options, net_pixels=net_pixels)
            self._max_net_pixels = max(net_pixels, self._max_net_pixels or 0)

    @property
    def default_net_pixels(self) -> int:
        """The default of ``net_pixels``: no limit on a GPU, which is fast enough, else the card's for the quality."""
        return self._default_net_pixels if self._backend.frame_runner is None else 0

    @property
    def batch_limit(self) -> int:
        """The backend's preferred batch size."""
        return self._backend.preferred_batch

    @property
    def description(self) -> str:
        """Runtime and device in words: ``onnxruntime 1.23 CPU, 2 threads``."""
        return self._backend.description

    @property
    def device_index(self) -> int | None:
        """The CUDA device on which whole frames run in slots; ``None`` where they are converted by the CPU."""
        runner = self.frames
        return None if runner is None else runner.device_index

    def keep_results_on_device(self, keep: bool = True) -> None:
        """Leave results in the GPU's memory (``pixels.device.DevicePlanes``), for an encoder that reads them there.

        No effect without a GPU. ``on_host`` brings either kind to the host's memory.
        """
        runner = self.frames
        if runner is not None:
            runner.results_on_device = keep

    @property
    def frames(self) -> FrameRunner | None:
        """The runner that stylizes whole frames on a device; ``None`` where the CPU converts them."""
        return self._backend.frame_runner

    def net_size(self, height: int, width: int, *, net_pixels: int | None = None) -> Size:
        """(height, width) in pixels at which the network runs a frame of that size, before padding.

        ``net_pixels`` overrides the property.
        """
        key = height, width, self.net_pixels if net_pixels is None else net_pixels
        last = self._last_net_size  # read once: other threads may replace it
        if key != last[0]:
            last = self._last_net_size = key, geometry.net_size(self.card, height, width, net_pixels=key[2])
        return last[1]

    def preprocess(self, planes: PlanesYUV420) -> StepInput:
        """``planes`` at the network's size, in its layout and range, padded by reflection to its multiple.

        Unchanged for a backend that takes whole frames: it does all three steps on its device.
        """
        size = self.net_size(*planes.y.shape)
        runner = self._backend.frame_runner
        if runner is not None and runner.takes(planes, size):
            return DeviceInput(planes, self._ready_size(runner, planes, size))
        return self._cpu.preprocess(planes, size)

    def _ready_size(self, runner: FrameRunner, planes: PlanesYUV420, size: Size) -> Size:
        if not self._max_net_pixels:
            return size
        height, width, most = planes.height, planes.width, self._max_net_pixels
        pixels = (geometry.reduced_pixels(most, height, width, share=share) for share in geometry.QUALITY_SHARES)
        return self._ready_sizes.take(
            runner, planes, size, steps=[self.net_size(height, width, net_pixels=step) for step in pixels]
        )

    def infer(self, inputs: Sequence[StepInput]) -> list[StepOutput]:
        """The network's outputs, in order. Neighbours of one shape run as one batch.

        Raises:
            BackendError, DeviceError: the runtime failed.
        """
        outputs: list[StepOutput] = []
        for form, batch in groupby(inputs, key=form_of):
            if form[0] is DeviceInput:
                outputs += self._submit([item for item in batch if isinstance(item, DeviceInput)])
            else:
                outputs += self._cpu.infer([item for item in batch if isinstance(item, NetworkInput)])
        return outputs

    def wait(self, output: StepOutput) -> None:
        """Return when the network has finished ``output``. ``postprocess`` waits for frames on a device.

        Raises:
            BackendError, DeviceError: the runtime failed.
        """
        if isinstance(output, NetworkOutput):
            _ = output.tensor

    def postprocess(self, planes: PlanesYUV420, output: StepOutput) -> PlanesYUV420:
        """``output`` at the size, depth and tags of ``planes``, blended with them by ``strength``."""
        strength = self._options.strength
        if strength == 0.0:
            return planes
        if isinstance(output, DeviceOutput):
            return self._from_device(planes, output)
        if isinstance(planes, DevicePlanes):
            planes = on_host(planes)
        return blend(planes, self._cpu.postprocess(planes, output), strength=strength)

    def stylize_on_device(self, source: DeviceFrame, target: DeviceFrame, *, stream: int = 0) -> Submission:
        """Stylize ``source`` into ``target``, both in GPU memory, without touching the host; returns at once.

        ``gpu.interop.borrow_frame`` wraps memory of PyCUDA, CuPy, torch or a decoder. ``stream`` is
        a raw handle: the work is ordered after earlier and before later work on that stream. ``results()`` of the
        returned submission waits for it; keep both frames alive until then.

        Raises:
            UsageError: the backend has no GPU, or the frames differ in size or depth.
            DeviceError: the device failed, or has no room.
        """
        runner = self.frames
        if runner is None:
            raise UsageError(f"{self.description} takes no frames in a GPU's memory; use --backend tensorrt or torch")
        size = self.net_size(*source.layout.size)
        return runner.draw(source, target, net_size=size, strength=self._options.strength, stream=stream)

    def stylize_planes(self, planes: PlanesYUV420) -> PlanesYUV420:
        """All three steps in the calling thread."""
        return self.postprocess(planes, self.infer([self.preprocess(planes)])[0])

    def __call__(self, images: Images) -> Images:
        """``images`` (uint8 RGB, ``(H, W, 3)``, ``(3, H, W)``, N of them, or a Pillow image), stylized, same kind.

        Raises:
            UsageError: another type, dtype or shape.
        """
        frames, give_back = take_images(images)
        result = stylized_rgb(self, [frames])[0] if frames.ndim == 3 else np.stack(stylized_rgb(self, frames))
        return give_back(result)

    def _submit(self, batch: Sequence[DeviceInput]) -> list[StepOutput]:
        runner = self._backend.frame_runner
        if runner is not None:
            try:
                pending = runner.submit(
                    [item.planes for item in batch],
                    net_size=batch[0].size,
                    strength=self._options.strength,
                    deflicker=batch[0].deflicker,
                )
                return [DeviceOutput(*pair) for pair in zip(batch, pending, strict=True)]
            except BackendError as error:
                if not self._backend.fall_back(error):
                    raise
        # The device was lost after these frames were prepared for it.
        return [output for item in batch for output in self._cpu.infer([self._cpu.preprocess(item.planes, item.size)])]

    def _from_device(self, planes: PlanesYUV420, output: DeviceOutput) -> PlanesYUV420:
        if planes is not output.source.planes:
            # An unchanged frame at another strength: the old result is blended already.
            return self.stylize_planes(planes)
        try:
            return output.pending.result()
        except BackendError as error:
            if not self._backend.fall_back(error):
                raise
        return self.stylize_planes(planes)

    def interrupt(self) -> None:
        """Abort running networks with an error, from any thread, where the backend can."""
        self._cpu.cancel_waiting()
        self._backend.interrupt()

    def close(self) -> None:
        """Free the backend. Safe to call twice."""
        self._cpu.close()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
