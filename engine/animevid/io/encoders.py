"""Chooses the encoder and its settings; a hardware encoder only if it opens."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.logging
from av.codec.context import Flags as CodecFlags
from av.video.stream import VideoStream

from animevid.errors import OptionError, OutputError, UsageError
from animevid.io.colour import write_tags
from animevid.io.containers import container_of
from animevid.io.realtime import leave_realtime
from animevid.options import EncodeOptions
from animevid.pixels.colour import Colour
from animevid.suggestions import nearest

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

    from animevid.io.network.protocols import MediaOutput

log = logging.getLogger(__name__)

#: Codecs a caller may name, and the software encoder of each.
SOFTWARE_ENCODERS: dict[str, str] = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
#: Hardware families in the order in which ``hardware="auto"`` tries them.
HARDWARE_FAMILIES = ("nvenc", "qsv", "videotoolbox", "vaapi", "amf")
#: NVENC's messages on a machine without an NVIDIA GPU, which need no notice.
_NO_NVIDIA_DRIVER = ("Cannot load libcuda", "Cannot load nvcuda")
_HARDWARE_CODECS = ("h264", "hevc", "av1")

_EVEN_SIZE_ENCODERS = frozenset({"libx264", "libx265", "libsvtav1", "prores_ks"})
_DEFAULT_CRF = {"libx264": 20, "libx265": 23, "libsvtav1": 30, "libvpx-vp9": 30}
_DEFAULT_PRESET = {"libx264": "veryfast", "libx265": "fast", "libsvtav1": "8", "libvpx-vp9": "5"}
X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
_NAMED_PRESETS = {"libx264": X26X_PRESETS, "libx265": X26X_PRESETS}
_HIGHEST_CRF = {"libx264": 51, "libx265": 51, "libsvtav1": 63, "libvpx-vp9": 63}
#: NVENC without rate control writes FFmpeg's default of 2 Mbit/s at any size.
_NVENC_DEFAULT_CQ = {"h264_nvenc": 20, "hevc_nvenc": 23, "av1_nvenc": 30}
_NVENC_HIGHEST_CQ = {"h264_nvenc": 51, "hevc_nvenc": 51, "av1_nvenc": 63}
_NVENC_PRESET = "p5"
#: Parameters for encoder libraries that take a list of their own; they come before the caller's.
#: x264's macroblock tree, in its AVX-512 form, reads uninitialized memory (build 165): the same frames give different
#: bytes each time, so a job could not resume exactly. The portable form costs 1% of encoding time and gives the same
#: bytes on every machine of a farm.
_OWN_PARAMETERS = {"libx264": ("x264-params", "cpu-independent=1"), "libx265": ("x265-params", "log-level=error")}
_ALPHA_FORMATS = {"libvpx-vp9": "yuva420p", "prores_ks": "yuva444p10le"}


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """The chosen encoder for one :class:`FrameFormat`. ``notices`` are one-line remarks for the user."""

    codec: str
    encoder: str
    pixel_format: str
    width: int
    height: int
    options: dict[str, str]
    bitrate_bps: int | None
    threads: int
    notices: tuple[str, ...] = field(default=())

    @property
    def description(self) -> str:
        quality = ", ".join(f"{key} {self.options[key]}" for key in ("crf", "cq", "preset") if key in self.options)
        rate = f"{self.bitrate_bps / 1e6:g} Mbit/s" if self.bitrate_bps else ""
        return " ".join(part for part in (self.encoder, self.pixel_format, quality or rate) if part)


#: A smaller change of the aspect ratio comes from rounding to even sides.
SHAPE_TOLERANCE = Fraction(1, 100)


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The format of the frames passed to the encoder."""

    width: int
    height: int
    bit_depth: int = 8
    has_alpha: bool = False
    colour: Colour = field(default_factory=Colour)
    rate: Fraction | None = None
    time_base: Fraction = Fraction(1, 90000)
    sample_aspect_ratio: Fraction = Fraction(1)


def choose_encoder(settings: EncodeOptions, frame_format: FrameFormat, *, container: str) -> EncoderPlan:
    """The encoder that writes ``frame_format`` into ``container`` (FFmpeg's muxer name), opened once as a check.

    Raises:
        OptionError: a preset or quality that the codec does not know.
        UsageError: a codec that the container cannot hold.
        OutputError: the encoder is missing here or refuses this frame size.
    """
    codec = chosen_codec(settings, container=container)
    if settings.crf is not None and settings.bitrate_bps is not None:
        raise OptionError("crf and bitrate exclude each other: give one of them")
    if not container_holds(container, SOFTWARE_ENCODERS[codec]):
        fitting = ", ".join(name for name, encoder in SOFTWARE_ENCODERS.items() if container_holds(container, encoder))
        raise UsageError(f"{container = } cannot hold {codec = }: use {fitting or 'another container'}")
    notices: list[str] = []
    if settings.hardware != "off":
        said = ""
        for family in HARDWARE_FAMILIES if settings.hardware == "auto" else (settings.hardware,):
            plan = _plan(f"{codec}_{family}", codec, settings, frame_format, container=container)
            reason = "no such encoder" if codec not in _HARDWARE_CODECS else opening_failure(plan, frame_format)
            if reason is None:
                return plan
            if family == "nvenc" or settings.hardware != "auto":
                words = ffmpegs_words(plan, frame_format)
                if family == "nvenc" and words and not words.startswith(_NO_NVIDIA_DRIVER):
                    said = f" ({plan.encoder}: {words})"
                reason = words or reason
            log.debug("%s does not open: %s", plan.encoder, reason)
        wanted = (
            f"no hardware encoder opens{said}"
            if settings.hardware == "auto"
            else f"{plan.encoder} does not open ({reason})"
        )
        notices.append(f"{wanted}: {SOFTWARE_ENCODERS[codec]} is used instead")
    plan = _plan(SOFTWARE_ENCODERS[codec], codec, settings, frame_format, container=container, notices=notices)
    reason = opening_failure(plan, frame_format)
    if reason is not None:
        if plan.encoder not in av.codecs_available:
            raise OutputError(f"encoder = {plan.encoder!r} is not in this FFmpeg: choose another codec")
        if settings.preset is not None and opening_failure(_without_preset(plan), frame_format) is None:
            raise OptionError(f"preset = {settings.preset!r} is not one that {plan.encoder} knows")
        raise OutputError(f"{plan.encoder} refuses {plan.width}x{plan.height} {plan.pixel_format}: {reason}")
    return plan


def chosen_codec(settings: EncodeOptions, *, container: str) -> str:
    """The requested codec, or the default of ``container``."""
    return settings.codec if settings.codec != "auto" else container_of(container).default_codec


def container_holds(container: str, encoder: str) -> bool:
    """Whether FFmpeg's muxer ``container`` can hold what ``encoder`` writes, so that players can read it."""
    allowed = container_of(container).video
    codec = next((name for name, known in SOFTWARE_ENCODERS.items() if known == encoder), None)
    if allowed is not None and codec is not None and codec not in allowed:
        return False
    output = av.open(os.devnull, "w", format=container)
    try:
        output.add_stream(encoder)
    except (ValueError, av.FFmpegError):
        return False
    return True


def add_video_stream(
    output: MediaOutput, encoder: str, *, rate: Fraction | int, hwaccel: HWAccel | None = None
) -> VideoStream:
    """A new video stream of ``output`` that ``encoder`` codes, on a device if ``hwaccel`` says so."""
    stream = output.add_stream(encoder, rate=rate, hwaccel=hwaccel)
    assert isinstance(stream, VideoStream)
    return stream


def open_video_stream(
    output: MediaOutput,
    plan: EncoderPlan,
    frame_format: FrameFormat,
    *,
    tag: str | None = None,
    device_index: int | None = None,
) -> VideoStream:
    """A new video stream of ``output``, its encoder opened as ``plan`` decided.

    Args:
        output (MediaOutput): the container.
        plan (EncoderPlan): the encoder and its settings.
        frame_format (FrameFormat): the format of the frames.
        tag (str | None): the container's code for the codec. Default: the muxer's own choice.
        device_index (int | None): the CUDA device whose memory holds the frames. Default: host memory.

    Raises:
        av.FFmpegError, ValueError, OSError, DeviceError: the encoder refuses it.
    """
    hwaccel = None
    if device_index is not None:
        from animevid.gpu.codecs import cuda_encoding, encoder_format

        # The encoder's format names the layout in device memory.
        plan = replace(plan, pixel_format=encoder_format(frame_format.bit_depth))
        hwaccel = cuda_encoding(device_index)
    stream = add_video_stream(output, plan.encoder, rate=frame_format.rate or 25, hwaccel=hwaccel)
    if tag is not None:
        stream.codec_context.codec_tag = tag
    open_context(stream.codec_context, plan, frame_format)
    stream.time_base = frame_format.time_base
    return stream


def open_context(context: av.VideoCodecContext, plan: EncoderPlan, frame_format: FrameFormat) -> None:
    """Open an encoder's context (or an output stream's) with everything that ``plan`` decided.

    Raises:
        av.FFmpegError, ValueError, OSError: the encoder refuses it.
    """
    context.width, context.height = plan.width, plan.height
    context.pix_fmt = plan.pixel_format
    context.time_base = frame_format.time_base
    context.framerate = frame_format.rate or Fraction(25)
    context.sample_aspect_ratio = frame_format.sample_aspect_ratio
    context.thread_count = plan.threads
    context.thread_type = "AUTO"
    write_tags(context, frame_format.colour)
    context.flags |= CodecFlags.frame_duration
    if plan.bitrate_bps:
        context.bit_rate = plan.bitrate_bps
    context.options = dict(plan.options)
    if plan.encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # otherwise SVT-AV1 writes to the terminal; 1: errors only
    try:
        context.open()
    finally:
        leave_realtime(plan.encoder)


def opening_failure(plan: EncoderPlan, frame_format: FrameFormat) -> str | None:
    """Why the encoder does not open here, in a few words; ``None`` if it does."""
    try:
        context = av.Codec(plan.encoder, "w").create("video")
        open_context(context, plan, frame_format)
    except (av.FFmpegError, ValueError, OSError) as error:
        return str(getattr(error, "strerror", None) or error).splitlines()[0]
    return None


def ffmpegs_words(plan: EncoderPlan, frame_format: FrameFormat) -> str:
    """FFmpeg's messages about an encoder that does not open ("The minimum required Nvidia driver ..."), in one line.

    Empty if there are none. PyAV drops FFmpeg's messages and keeps only an error number. So they are captured while the
    encoder is opened once more, and only then, since the callback needs the GIL.
    """
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else a second call gets no messages
    try:
        with av.logging.Capture(local=False) as said:
            opening_failure(plan, frame_format)
    finally:
        av.logging.set_skip_repeated(skips)
        av.logging.set_level(level)
    lines = [message.strip().rstrip(".") for _, name, message in said if name == plan.encoder]
    return "; ".join(dict.fromkeys(filter(None, lines)))[:200]


def _plan(
    encoder: str,
    codec: str,
    settings: EncodeOptions,
    frame_format: FrameFormat,
    *,
    container: str,
    notices: list[str] | None = None,
) -> EncoderPlan:
    notices = list(notices or ())
    pixel_format = _pixel_format(encoder, frame_format, container=container, notices=notices)
    width, height = frame_format.width, frame_format.height
    if encoder in _EVEN_SIZE_ENCODERS or encoder.endswith(HARDWARE_FAMILIES):
        width, height = width + width % 2, height + height % 2
        if (width, height) != (frame_format.width, frame_format.height):
            notices.append(
                f"{frame_format.width}x{frame_format.height} is odd: written as {width}x{height}, "
                "the last column or row repeated"
            )
    return EncoderPlan(
        codec=codec,
        encoder=encoder,
        pixel_format=pixel_format,
        width=width,
        height=height,
        options=_options(encoder, settings, has_alpha=pixel_format.startswith("yuva")),
        bitrate_bps=settings.bitrate_bps,
        threads=settings.threads,
        notices=tuple(notices),
    )


def _pixel_format(encoder: str, frame_format: FrameFormat, *, container: str, notices: list[str]) -> str:
    if frame_format.has_alpha:
        if encoder in container_of(container).alpha_encoders:
            return _ALPHA_FORMATS[encoder]
        notices.append(
            f"{encoder} in {container} has no alpha channel: frames are put over black "
            "(.webm with vp9 and .mov with prores keep it)"
        )
    if encoder == "prores_ks":
        return "yuv422p10le"
    if frame_format.bit_depth == 8:
        return "nv12" if encoder.endswith(("qsv", "vaapi")) else "yuv420p"
    deep = "p010le" if encoder.endswith(HARDWARE_FAMILIES) else "yuv420p10le"
    try:
        formats = {known.name for known in av.Codec(encoder, "w").video_formats or ()}
    except ValueError:
        formats = set()
    if deep in formats:
        if encoder == "libx264":
            notices.append("10-bit H.264 does not play everywhere: codec hevc or av1 does better")
        return deep
    notices.append(f"{encoder} has no 10-bit form here: written with 8 bits")
    return "yuv420p"


def _options(encoder: str, settings: EncodeOptions, *, has_alpha: bool) -> dict[str, str]:
    options: dict[str, str] = {}
    crf, preset = settings.crf, settings.preset
    highest = _HIGHEST_CRF.get(encoder)
    if encoder in SOFTWARE_ENCODERS.values() and crf is not None:
        if highest is None:
            raise OptionError(f"{crf = }: {encoder} has no constant quality setting; leave it out")
        if not 0 <= crf <= highest:
            raise OptionError(f"{crf = } is out of range for {encoder}: 0 (best) to {highest}")
    if encoder in _NAMED_PRESETS and preset is not None and preset not in _NAMED_PRESETS[encoder]:
        # Checked here, since the encoder would print its error to the terminal.
        meant = nearest(preset, _NAMED_PRESETS[encoder])
        hint = "" if meant is None else f"; did you mean {meant}?"
        raise OptionError(f"{preset = } is not one that {encoder} knows: {', '.join(_NAMED_PRESETS[encoder])}{hint}")
    if highest is not None:
        if settings.bitrate_bps is None:
            options["crf"] = f"{crf if crf is not None else _DEFAULT_CRF[encoder]:g}"
        preset = preset or _DEFAULT_PRESET[encoder]
        options["cpu-used" if encoder == "libvpx-vp9" else "preset"] = preset
    elif encoder == "prores_ks":
        options["profile"] = "4444" if has_alpha else (preset or "hq")
        options["vendor"] = "apl0"
    elif encoder.endswith("_nvenc"):
        options |= _nvenc_options(encoder, settings)
    elif crf is not None:
        family = encoder.rpartition("_")[2]
        quality = f"{crf:g}"
        options |= {
            "qsv": {"global_quality": quality},
            "vaapi": {"qp": quality},
            "amf": {"rc": "cqp", "qp_i": quality, "qp_p": quality},
        }.get(family, {})
    if encoder.endswith(HARDWARE_FAMILIES) and preset is not None:
        options["preset"] = preset
    if encoder == "libvpx-vp9":
        options |= {"row-mt": "1", "deadline": "good"}
        if has_alpha:
            options["auto-alt-ref"] = "0"  # libvpx cannot hide reference frames in an alpha stream
    options |= dict(settings.options)
    if encoder in _OWN_PARAMETERS:
        name, ours = _OWN_PARAMETERS[encoder]
        options[name] = ":".join([ours, *filter(None, [options.get(name)])])
    return options


def _nvenc_options(encoder: str, settings: EncodeOptions) -> dict[str, str]:
    """Constant quality on the scale of ``--crf``, or the requested bit rate.

    The preset decides on B-frames (FFmpeg's ``bf = -1``): a GPU without them refuses a number.
    """
    options = {"rc": "vbr", "preset": settings.preset or _NVENC_PRESET, "tune": "hq"}
    if settings.bitrate_bps is not None:
        return options
    highest = _NVENC_HIGHEST_CQ.get(encoder, 51)
    quality = settings.crf if settings.crf is not None else _NVENC_DEFAULT_CQ.get(encoder, 23)
    if not 0 <= quality <= highest:
        raise OptionError(f"crf = {quality:g} is out of range for {encoder}: 0 (best) to {highest}")
    # NVENC takes 0 as "automatic"; b = 0: no limit on the bit rate.
    return options | {"cq": f"{max(quality, 1):g}", "b": "0"}


def _without_preset(plan: EncoderPlan) -> EncoderPlan:
    return replace(
        plan,
        options={key: value for key, value in plan.options.items() if key not in ("preset", "cpu-used", "profile")},
    )
