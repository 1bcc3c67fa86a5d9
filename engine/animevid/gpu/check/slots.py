"""Whole frames in slots, on each backend that opens on the GPU, against the CPU's frames."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from animevid.backends import available_backends
from animevid.errors import AnimevidError
from animevid.gpu.check.findings import CheckOptions, Distance, Finding, Skipped, distance, worst
from animevid.gpu.check.frames import noisy_frames, varied_frames
from animevid.pixels.blend import blend
from animevid.pixels.device import on_host
from animevid.pixels.planes import PlanesYUV420
from animevid.render.renderer import In, Out, Renderer
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import TemporalFilter
from animevid.styles import Style, list_styles, load_style

GPU_BACKENDS = ("tensorrt", "torch")
_BATCHES = (1, 2, 3, 4)
_STRENGTH = 0.5
_SLOTS = 3
#: Frames of each further style.
_FEW = 8


def section(options: CheckOptions) -> Iterator[Finding]:
    """Batches of 1 to 4 at half strength with three slots busy; without flicker; upsampled; then every other style."""
    first, *others = list_styles()
    frames = list(varied_frames(options.frames, options.size))
    with ExitStack() as stack:
        opened = open_on_gpu(first, stack)
        for name, said in opened:
            if isinstance(said, str):
                yield Finding(f"{name}: {said}", agrees=None if _is_expected(said) else False)
        stylizers = [(name, said) for name, said in opened if not isinstance(said, str)]
        if not stylizers:
            raise Skipped("; ".join(f"{name}: {said}" for name, said in opened))
        begun = time.perf_counter()
        with open_on_cpu(first) as cpu:
            expected = [cpu.stylize_planes(frame) for frame in frames]
            took = time.perf_counter() - begun
            noisy = list(noisy_frames(_FEW, options.size))
            steady = list(map(TemporalFilter(cpu).stylize_planes, noisy))
        yield Finding(f"{len(frames)} frames of {options.size[1]}x{options.size[0]} on the CPU: {took:.1f} s")
        half = [blend(frame, drawn, strength=_STRENGTH) for frame, drawn in zip(frames, expected, strict=True)]
        for name, gpu in stylizers:
            yield Finding(f"{name}: {gpu.description}, {'slots' if gpu.device_index is not None else 'host copies'}")
            gpu.strength = _STRENGTH
            for batch in _BATCHES:
                yield _compared(
                    f"{name}, {first.card.name}, batch {batch}, strength {_STRENGTH}", gpu, frames, half, batch
                )
            gpu.strength = 1.0
            few = slice(0, _FEW)
            yield _compared(f"{name}, {first.card.name}, batch 4", gpu, frames[few], expected[few], 4)
            what = f"{name}, {first.card.name}, without flicker, batch 2"
            yield _compared(what, TemporalFilter(gpu), noisy, steady, 2)
    names, quarter = [name for name, _ in stylizers], max(options.size[0] * options.size[1] // 4, 1)
    yield from _few_frames(first, names, frames[:_FEW], net_pixels=quarter)
    for style in others:
        yield from _few_frames(style, names, frames[:_FEW])


def open_on_cpu(style: Style, *, net_pixels: int = 0) -> Stylizer:
    """The reference: float32 in ONNX Runtime, at full size by default."""
    return Stylizer(full_precision(style), backend="onnxruntime", device="cpu", net_pixels=net_pixels)


def open_on_gpu(
    style: Style, stack: ExitStack, names: Sequence[str] = GPU_BACKENDS
) -> list[tuple[str, Stylizer | str]]:
    """Each GPU backend with its stylizer at full size, which ``stack`` closes, or why it does not open."""
    reasons = {status.name: status.unavailable_reason for status in available_backends()}
    opened: list[tuple[str, Stylizer | str]] = []
    for name in names:
        said = reasons.get(name)
        if said is None:
            try:
                stylizer = Stylizer(full_precision(style), backend=name, device="cuda", net_pixels=0)
            except AnimevidError as error:
                said = str(error)
            else:
                opened.append((name, stack.enter_context(stylizer)))
                continue
        opened.append((name, f"does not open: {said}"))
    return opened


#: Properties of the machine; any other refusal is a fault.
_EXPECTED = (
    "is not installed",
    "finds no NVIDIA GPU",
    "does not run on a GPU",
    "for CUDA",
)


def _is_expected(said: str) -> bool:
    return any(words in said for words in _EXPECTED)


def full_precision(style: Style) -> Style:
    """``style`` in its trained precision, not an INT8 variant."""
    return load_style(style.path, precision="fp32") if style.path is not None else style


def draw(stylizer: Renderer[In, Out], frames: Sequence[PlanesYUV420], *, batch: int) -> list[PlanesYUV420]:
    """Draw all ``frames`` in batches, as many at once as there are slots."""
    waiting: deque[list[tuple[PlanesYUV420, Out]]] = deque()
    drawn: list[PlanesYUV420] = []

    def take() -> None:
        drawn.extend(on_host(stylizer.postprocess(frame, output)) for frame, output in waiting.popleft())

    for start in range(0, len(frames), batch):
        some = frames[start : start + batch]
        waiting.append(list(zip(some, stylizer.infer([stylizer.preprocess(frame) for frame in some]), strict=True)))
        if len(waiting) > _SLOTS - 1:
            take()
    while waiting:
        take()
    return drawn


def _compared(
    what: str,
    gpu: Renderer[In, Out],
    frames: Sequence[PlanesYUV420],
    expected: Sequence[PlanesYUV420],
    batch: int,
) -> Finding:
    try:
        drawn = draw(gpu, frames, batch=batch)
    except AnimevidError as error:
        return Finding(f"{what}: {error}", agrees=False)
    apart = [distance(one, other) for one, other in zip(drawn, expected, strict=True)]
    wrong = [index for index, one in enumerate(apart) if not one.is_half_precision]
    said = f"{what}: {len(frames)} frames, {worst(apart)}"
    return Finding(said + (f"; wrong: frames {wrong[:10]}" if wrong else ""), agrees=not wrong)


def _few_frames(
    style: Style, names: Sequence[str], frames: Sequence[PlanesYUV420], *, net_pixels: int = 0
) -> Iterator[Finding]:
    """``net_pixels``: pixels for the network; its frames are then upsampled. Default: 0, the full size."""
    with open_on_cpu(style, net_pixels=net_pixels) as cpu:
        expected = [cpu.stylize_planes(frame) for frame in frames]
    for name in names:
        size = f", network of {net_pixels} pixels, guided upsampling" if net_pixels else ""
        what = f"{name}, {style.path.stem}{size}, batch 4"
        try:
            with Stylizer(full_precision(style), backend=name, device="cuda", net_pixels=net_pixels) as gpu:
                yield _compared(what, gpu, frames, expected, 4)
        except AnimevidError as error:
            yield Finding(f"{what}: {error}", agrees=False)


def compare_once(cpu: Stylizer, gpu: Stylizer, frame: PlanesYUV420) -> Distance:
    """Compare one frame."""
    return distance(on_host(gpu.stylize_planes(frame)), cpu.stylize_planes(frame))
