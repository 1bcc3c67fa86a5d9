"""Chooses the video stream of a container, and its decoder."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import av
from av.codec.context import Flags as CodecFlags
from av.stream import Disposition

from animevid.errors import InputError, UnsupportedInputError, UsageError
from animevid.io.container_crop import container_crop
from animevid.io.frame_fit import Crop
from animevid.io.network.protocols import Spec, is_local_file, local_path
from animevid.io.programmes import best_variant, has_variants

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    from animevid.io.network.protocols import MediaInput

log = logging.getLogger(__name__)


def choose_stream(container: MediaInput, index: int | None, *, name: str) -> VideoStream:
    """The video stream of an open container: the one at ``index``, or the best one; ``name`` is for messages.

    Raises:
        UsageError: no such stream.
        InputError, UnsupportedInputError: no video stream, or none that can be decoded.
    """
    streams = container.streams
    videos = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
    if index is not None:
        chosen = next((stream for stream in streams.video if stream.index == index), None)
        if chosen is None:
            known = ", ".join(str(stream.index) for stream in streams.video) or "none"
            raise UsageError(f"stream_index = {index} is not a video stream of this file: it has {known}")
    elif videos:
        best = streams.best("video")
        chosen = next((each for each in videos if best is not None and each.index == best.index), videos[0])
        if has_variants(container.format.name):
            chosen = best_variant(videos)
    else:
        kinds = ", ".join(sorted({stream.type for stream in streams})) or "nothing"
        raise InputError(f"path = {name!r} has no video stream (it has {kinds}): give a video or an image")
    if chosen.codec_context is None:
        raise UnsupportedInputError(f"path = {name!r} is coded in a way this FFmpeg cannot decode: convert it first")
    return chosen


def open_decoder(stream: VideoStream, threads: int) -> av.VideoCodecContext:
    """The decoder of ``stream`` with ``threads`` threads (0: it chooses), which also outputs damaged frames."""
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ("vp8", "vp9"):
        # FFmpeg's own VP8/VP9 decoders ignore the alpha plane; libvpx decodes it.
        try:
            decoder = av.Codec(f"libvpx{'-vp9' if decoder.name == 'vp9' else ''}", "r").create("video")
        except (av.FFmpegError, ValueError):
            log.warning("the alpha channel is lost: this FFmpeg has no libvpx decoder")
    return prepare_decoder(decoder, threads)


def prepare_decoder(decoder: av.VideoCodecContext, threads: int) -> av.VideoCodecContext:
    """Set a decoder's number of threads, and let it hand out damaged frames."""
    decoder.thread_count = threads
    decoder.thread_type = "AUTO"
    decoder.flags |= CodecFlags.output_corrupt
    return decoder


def crop_of(spec: Spec, container: MediaInput, stream: VideoStream) -> Crop | None:
    """The crop that the container of a local file declares."""
    if not is_local_file(spec):
        return None
    context = stream.codec_context
    return container_crop(
        local_path(spec),
        format_name=container.format.name,
        stream_index=stream.index,
        width=context.width,
        height=context.height,
    )
