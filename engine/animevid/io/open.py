"""Chooses the source that reads a name and the sink that writes one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path

from animevid.errors import InputError, UnsupportedInputError, UsageError
from animevid.io.containers import MUXERS, container_of
from animevid.io.encoders import FrameFormat, chosen_codec
from animevid.io.network.protocols import STANDARD_STREAM, Spec, is_local_file, local_path
from animevid.io.network.standard_input import StandardInput
from animevid.io.sink import Sink
from animevid.io.sinks.animation import ANIMATIONS, AnimationSink
from animevid.io.sinks.container import VideoSink
from animevid.io.sinks.images import STILL_SUFFIXES, ImageFolderSink, ImageSink
from animevid.io.source import Source
from animevid.io.sources.animated_webp import AnimatedWebpSource
from animevid.io.sources.container import VideoSource
from animevid.io.sources.image_files import is_glob
from animevid.io.sources.images import ImageSource
from animevid.io.still import (
    HEAD_BYTES,
    OPEN_EXR,
    is_animated_webp,
    is_row_of_jpegs,
    may_be_still,
    still_demuxer,
    still_kind,
)
from animevid.options import OutputOptions, SourceOptions


def open_source(
    spec: Spec,
    options: SourceOptions | None = None,
    *,
    threads: int = 0,
    format_name: str | None = None,
    upright: bool = True,
    image_rate: Fraction | None = None,
    device_index: int | None = None,
    are_images: bool | None = None,
) -> Source:
    """A source for a video, GIF or image file, a folder or glob of images, a URL, or ``-`` (standard input).

    The content of a file decides, not its name.

    Args:
        spec (str | PathLike): the name.
        options (SourceOptions | None): which part is read, and how. Default: all of it.
        threads (int): decoder threads; 0 (default): the decoder chooses.
        format_name (str | None): FFmpeg's demuxer. Default: detected.
        upright (bool): apply rotation and mirroring. Default: true.
        image_rate (Fraction | None): frames per second of a sequence of images.
        device_index (int | None): the CUDA device to decode on; see :class:`VideoSource`.
        are_images (bool | None): the result of ``reads_images``, if known.

    Raises:
        InputError, UnsupportedInputError, UsageError: see :class:`VideoSource` and :class:`ImageSource`.
    """
    options = options or SourceOptions()
    images = partial(ImageSource, spec, options, rate=image_rate, upright=upright)
    if is_local_file(spec):
        path = local_path(spec)
        if not path.exists() and not is_glob(spec):
            raise InputError(f"path = {str(path)!r} does not exist: check the name")
        if are_images is None:
            are_images = reads_images(spec, format_name=format_name)
        if are_images:
            _refuse_stream_index(options)
            return images()
        head = _head_of(path) if format_name is None and path.is_file() else b""
        if head.startswith(OPEN_EXR):
            raise UnsupportedInputError(f"path = {str(path)!r} is OpenEXR, which is not read: save it as TIFF first")
        if is_animated_webp(head):
            _refuse_stream_index(options)
            return AnimatedWebpSource(spec, options)
    file = None
    fifo = local_path(spec) if is_local_file(spec) and local_path(spec).is_fifo() else None
    if (os.fspath(spec) == STANDARD_STREAM or fifo is not None) and format_name is None:
        file = StandardInput(head_bytes=HEAD_BYTES, path=fifo)
        if may_be_still(file.head):
            data = file.look_further(is_row_of_jpegs)
            if still_kind(data[:HEAD_BYTES], lambda: BytesIO(data)) is not None:
                return images(data=data)
            if is_animated_webp(data[:HEAD_BYTES]):
                return AnimatedWebpSource(spec, options, data=data)
    return VideoSource(
        spec,
        options,
        threads=threads,
        format_name=format_name,
        upright=upright,
        device_index=device_index,
        file=file,
    )


def _refuse_stream_index(options: SourceOptions) -> None:
    if options.stream_index is not None:
        raise UsageError(f"stream_index = {options.stream_index}: images have no streams; leave it out")


def reads_images(spec: Spec, *, format_name: str | None = None) -> bool:
    """Whether ``spec`` names still images: a file, a folder or a glob. Standard input is not looked at.

    Raises:
        InputError: the file cannot be read.
    """
    if not is_local_file(spec):
        return False
    path = local_path(spec)
    return path.is_dir() or is_glob(spec) or (format_name is None and _is_still(path))


def _head_of(path: Path) -> bytes:
    with suppress(OSError), path.open("rb") as file:
        return file.read(HEAD_BYTES)
    return b""


def _is_still(path: Path) -> bool:
    return path.is_file() and still_demuxer(path) is not None


def keeps_pixel_shape(path: Spec, settings: OutputOptions) -> bool:
    """Whether the output at ``path`` can store a sample aspect ratio; images and animations cannot."""
    suffix = Path(os.fspath(path)).suffix.lower()
    if is_local_file(path) and settings.muxer is None and suffix not in MUXERS:
        return False
    muxer = settings.muxer or MUXERS.get(suffix, "")
    return chosen_codec(settings.encoder, container=muxer) not in container_of(muxer).square_only


def open_sink(
    path: Spec,
    *,
    template: Source | None = None,
    settings: OutputOptions | None = None,
    frame_format: FrameFormat | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Sink:
    """A sink for an output name: a video container, ``.gif``/``.apng``/``.webp``, an image, a folder, a URL or ``-``.

    A name without a suffix, one that ends in ``/`` or an existing folder means a folder of images, as does a pattern
    (``out/%05d.png``). ``.webp`` is a still for a still template, else an animation. Arguments as in
    :class:`VideoSink`; images and animations use ``settings.overwrite`` only.

    Raises:
        UsageError: a suffix that no sink writes, or a single image for a video.
        OutputError: the target exists or cannot be written.
    """
    settings = settings or OutputOptions()
    text = os.fspath(path)
    suffix = Path(text).suffix.lower()
    if not is_local_file(path) or settings.muxer is not None or suffix in MUXERS:
        return VideoSink(path, template=template, settings=settings, frame_format=frame_format, should_stop=should_stop)
    is_still = template is not None and template.info.is_still
    is_pattern = re.search(r"%0?\d*d", Path(text).name) is not None
    if suffix in ANIMATIONS and not (suffix == ".webp" and (is_still or is_pattern)):
        return AnimationSink(path, template=template, overwrite=settings.overwrite)
    if suffix in STILL_SUFFIXES and not is_pattern:
        if template is not None and not is_still:
            raise UsageError(
                f"path = {text!r} is one image, the source is a video: give a folder, a pattern like %05d{suffix}, "
                "a video or a .gif"
            )
        return ImageSink(path, template=template, overwrite=settings.overwrite)
    if not suffix or text.endswith(("/", os.sep)) or os.path.isdir(local_path(path)) or suffix in STILL_SUFFIXES:
        return ImageFolderSink(path, template=template, overwrite=settings.overwrite)
    known = ", ".join(dict.fromkeys([*MUXERS, *ANIMATIONS, *STILL_SUFFIXES]))
    raise UsageError(f"{suffix = } is not written: use one of {known}, or a folder")
