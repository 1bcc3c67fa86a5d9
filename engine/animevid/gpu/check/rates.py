"""Frames per second of each style on each GPU backend, from planes to planes, after comparing one frame."""

from __future__ import annotations

import importlib.util
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from animevid.backends.base import one_line
from animevid.errors import AnimevidError
from animevid.gpu.check.findings import CheckOptions, Finding, Skipped
from animevid.gpu.check.frames import demo_frames
from animevid.gpu.check.slots import GPU_BACKENDS, compare_once, open_on_cpu, open_on_gpu
from animevid.gpu.tensorrt.library import LIBRARIES
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size
from animevid.render.renderer import StepOutput
from animevid.render.stylizer import Stylizer
from animevid.styles import Style, list_styles, load_style

#: Some networks take seconds for a large frame on a CPU.
_COMPARED: Size = (360, 640)
_UNDER_WAY = 3


def section(options: CheckOptions) -> Iterator[Finding]:
    """The shipped styles and those of ``options.styles_folder`` at ``options.size``."""
    styles: list[Style] = [*list_styles()]
    for path in options.more_styles:
        try:
            styles.append(load_style(path))
        except AnimevidError as error:
            yield Finding(f"{path.name}: {error}", agrees=False)
    reasons: list[str] = []
    measured = False
    small = tuple(min(side, limit) for side, limit in zip(options.size, _COMPARED, strict=True))
    frame = demo_frames((small[0], small[1]))[0]
    for style in styles:
        with ExitStack() as stack:
            cpu = stack.enter_context(open_on_cpu(style))
            for backend, gpu in open_on_gpu(style, stack, backends()):
                if isinstance(gpu, str):
                    reasons.append(f"{backend}: {gpu}")
                    continue
                measured = True
                yield _measured(f"{style.path.stem}, {backend}", cpu, gpu, frame, options)
    if not measured:
        raise Skipped("; ".join(dict.fromkeys(reasons)))


def backends() -> tuple[str, ...]:
    """The measured backends: TensorRT, with each installed library, since neither is always faster; torch."""
    both = all(importlib.util.find_spec(library) is not None for library in LIBRARIES)
    return ("tensorrt-rtx", "tensorrt-classic", "torch") if both else GPU_BACKENDS


def _measured(what: str, cpu: Stylizer, gpu: Stylizer, frame: PlanesYUV420, options: CheckOptions) -> Finding:
    try:
        apart = compare_once(cpu, gpu, frame)
        rate, host_ms = frames_a_second(gpu, demo_frames(options.size), seconds=options.seconds)
    except Exception as error:  # any exception of a runtime: the other rows are still measured
        return Finding(f"{what}: {one_line(error)}", agrees=False)
    way = "host copies" if gpu.device_index is None else "slots"
    said = (
        f"{what}: {rate:.1f} frames a second at {options.size[1]}x{options.size[0]}, {host_ms:.2f} ms of the host's "
        f"for each, {way}; at {frame.width}x{frame.height} {apart}"
    )
    return Finding(said, agrees=apart.is_half_precision)


def frames_a_second(stylizer: Stylizer, frames: Sequence[PlanesYUV420], *, seconds: float) -> tuple[float, float]:
    """(frames per second, milliseconds of the host per submission), as in a conversion."""
    waiting: deque[tuple[PlanesYUV420, StepOutput]] = deque()
    host, done = 0.0, 0

    def one(index: int) -> None:
        nonlocal host
        frame = frames[index % len(frames)]
        begun = time.perf_counter()
        waiting.append((frame, stylizer.infer([stylizer.preprocess(frame)])[0]))
        host += time.perf_counter() - begun
        if len(waiting) >= _UNDER_WAY:  # the number of slots: submitting more would wait for the oldest
            stylizer.postprocess(*waiting.popleft())

    for index in range(8):
        one(index)
    host, begun = 0.0, time.perf_counter()
    while time.perf_counter() - begun < seconds or not done:
        one(done)
        done += 1
    while waiting:
        stylizer.postprocess(*waiting.popleft())
    # Frames in progress at the start compensate for those in progress at the end.
    return done / (time.perf_counter() - begun), host / done * 1000
