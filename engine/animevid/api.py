"""``stylize`` writes a file, ``stylized_frames`` hands over pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

from animevid.io import (
    EncoderSettings,
    Frame,
    open_source,
)
from animevid.render.renderer import Renderer
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import FrameReuse, TemporalFilter
from animevid.run import Pipeline
from animevid.run.conversion import (
    Comparison,
    Conversion,
    ConversionOptions,
    ConversionReport,
    PathLike,
    Progress,
    pictures_at_once,
    stylizing_stages,
)
from animevid.styles import Style


def stylize(
    src: PathLike,
    dst: PathLike,
    *,
    style: str | os.PathLike[str] | Style | Stylizer | None = None,
    quality: str = "fast",
    strength: float = 1.0,
    net_pixels: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    threads: int = 0,
    size: tuple[int, int] | None = None,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
    stream_index: int | None = None,
    compare: Comparison | None = None,
    split_position: float = 0.5,
    skip_static: bool = True,
    deflicker: bool = True,
    overwrite: bool = False,
    strict: bool = False,
    copy_streams: bool = True,
    tone_map: bool = True,
    encoder: EncoderSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ConversionReport:
    """Stylize ``src`` (video, GIF, image, folder, glob or URL) into ``dst``; nothing of the original is lost.

    ``dst`` appears under its name only when it is whole. Audio, subtitles, attachments, chapters and metadata are
    carried over unless ``copy_streams`` is false.

    Args:
        style: a name, an ONNX file, a URL, a loaded ``Style`` or an open ``Stylizer`` (which then keeps its own
            quality, strength, net_pixels, backend, device and threads); ``None`` is the default style.
        quality: ``"fast"`` or ``"high"``.
        strength: 0 (original) to 1 (style alone).
        net_pixels: pixels per frame that the network sees at most; larger pictures are lifted from there to full size.
            ``None`` follows the style, 0 means full size.
        backend, device, threads: what runs the network, where, on how many threads (0: the backend chooses).
        size: (height, width) of the output; ``None`` keeps the source's.
        start_seconds, end_seconds: the part to convert, counted from the beginning.
        stream_index: which video stream, where there are several; ``None`` takes the best.
        compare: ``"side"`` puts the original beside the result, ``"split"`` to the left of a line at
            ``split_position`` (0..1).
        skip_static: reuse the last picture where the source did not change beyond codec noise.
        deflicker: let what only noise changed settle over some ten frames, so that lines and patches do not jump
            (``animevid.pixels.deflicker``); not for a folder of separate images, nor on a GPU.
        overwrite: replace an existing ``dst``.
        strict: a damaged frame, or a picture that is passed over, is an error instead of a notice.
        tone_map: bring HDR to SDR; otherwise HDR is refused.
        encoder: codec, quality and hardware; ``None`` takes H.264 at a good quality.
        on_progress: called a few times a second in this thread.

    Raises:
        InputError, OutputError, StyleError, BackendError, UsageError: see ``animevid.errors``; ``dst`` is untouched.
        Cancelled: Ctrl-C.
    """
    options = ConversionOptions(
        style=style,
        quality=quality,
        strength=strength,
        net_pixels=net_pixels,
        backend=backend,
        device=device,
        threads=threads,
        size=size,
        start_seconds=_seconds(start_seconds),
        end_seconds=_seconds(end_seconds),
        stream_index=stream_index,
        compare=compare,
        split_position=split_position,
        skip_static=skip_static,
        deflicker=deflicker,
        overwrite=overwrite,
        strict=strict,
        copy_streams=copy_streams,
        tone_map=tone_map,
        encoder=encoder or EncoderSettings(),
    )
    with Conversion(src, dst, options) as conversion:
        return conversion.run(on_progress=on_progress)


def stylized_frames(
    src: PathLike,
    *,
    style: str | os.PathLike[str] | Style | Stylizer | None = None,
    strength: float = 1.0,
    net_pixels: int | None = None,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
    skip_static: bool = True,
    deflicker: bool = True,
    threads: int = 0,
) -> Iterator[Frame]:
    """The stylized frames of ``src``, in order, decoded and stylized ahead in other threads.

    Each ``Frame`` has its exact ``pts_seconds`` and its picture as planes; ``animevid.pixels.planes_to_rgb`` turns
    those into ``uint8`` RGB ``(H, W, 3)``. Leaving the loop early stops the threads.

    Raises:
        InputError, StyleError, BackendError, UsageError: see ``animevid.errors``.
    """
    with ExitStack() as stack:
        source = stack.enter_context(
            open_source(src, start_seconds=_seconds(start_seconds), end_seconds=_seconds(end_seconds))
        )
        stylizer = style
        if not isinstance(stylizer, Stylizer):
            stylizer = stack.enter_context(
                Stylizer(
                    stylizer,
                    strength=strength,
                    net_pixels=net_pixels,
                    threads=threads,
                    concurrency=pictures_at_once(threads),
                )
            )
        steady = TemporalFilter(stylizer) if deflicker else stylizer
        steps: Renderer[Any, Any] = FrameReuse(steady) if skip_static else steady
        yield from Pipeline(source, stylizing_stages(steps), source_name="decode")


def _seconds(value: Fraction | float | None) -> Fraction | None:
    return None if value is None else Fraction(value)
