"""All options of conversions and live use, each declared once: name, type, default, help, flag and limits.

Options are passed whole, never unpacked to build another object. The command line's parsers, the checks of values and
the API's documentation are made from these classes. To add an option, add a field here and read it where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from animevid.card_hints import CardHints
from animevid.declare import Options, nested, option
from animevid.values import (
    SizeRule,
    parse_bitrate,
    parse_camera_size,
    parse_compare,
    parse_count,
    parse_net_size,
    parse_rate,
    parse_seconds,
    parse_share,
    parse_size,
    parse_time,
    parse_unless_none,
    read_size,
)

if TYPE_CHECKING:
    from animevid.render.stylizer import Stylizer
    from animevid.styles import Style

StyleSpec: TypeAlias = "str | os.PathLike[str] | Style | Stylizer | None"
Comparison: TypeAlias = Literal["side", "split"]
Seconds: TypeAlias = Fraction | float
#: "1280x720" (width x height), "720p" or "50%"; (height, width); or a function of the source's (height, width).
OutputSize: TypeAlias = str | tuple[int, int] | SizeRule


@dataclass(frozen=True)
class StyleChoice(Options):
    """Which style."""

    heading = "style"
    style: StyleSpec = option(
        None,
        "a style by name, an .onnx file or its URL",
        flag="--style",
        metavar="NAME|FILE|URL",
        in_identity=False,  # represented by a digest of the file
    )
    _: KW_ONLY
    quality: str | None = option(
        None,
        "high: a larger network at four times the pixels (default: for images)",
        flag="--quality",
        choices=("fast", "high"),
    )
    precision: str | None = option(
        None,
        "which variant (default: int8 if there is one and it is faster)",
        flag="--precision",
        choices=("fp32", "fp16", "int8"),
    )
    sha256: str | None = option(
        None, "the SHA-256 of the file at a URL", flag="--sha256", metavar="HEX", in_identity=False
    )
    hints: CardHints | None = nested(CardHints, "properties of a style without a card")


@dataclass(frozen=True)
class StyleOptions(StyleChoice):
    """Which style, and how it is applied. Choosing among files has no effect on a ``style`` that is loaded or open."""

    heading = "style"
    _: KW_ONLY
    strength: float = option(
        1.0,
        "strength of the style, 0 (the original) to 1",
        flag_help="strength of the style (default 1)",
        flag="--strength",
        parse=parse_share,
        metavar="0..1",
        check=lambda strength: 0.0 <= strength <= 1.0,
        allowed="0 (the original) to 1 (the style alone)",
    )
    net_pixels: int | None = option(
        None,
        "maximum number of pixels that the network sees; larger frames are upsampled. "
        "0: no limit; None: no limit on a GPU, else the style's own",
        flag_help="size at which the network sees a frame (as a number of pixels; larger frames are upsampled); "
        "default: full size on a GPU, else the style's own",
        flag="--net-size",
        parse=parse_net_size,
        metavar="WxH|full",
        check=lambda pixels: pixels is None or pixels >= 0,
        allowed="0 (full size) or a number of pixels such as 230400",
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions(Options):
    """Which backend runs the network, and where."""

    heading = "machine"
    backend: str = option(
        "auto",
        "auto (the GPU if one can be used), onnxruntime, openvino, mnn, torch or tensorrt",
        flag_help="auto, onnxruntime, openvino, mnn, torch, tensorrt (or the one that is meant: tensorrt-rtx, "
        "tensorrt-classic); default auto: the GPU if one can be used",
        flag="--backend",
        metavar="NAME",
    )
    device: str = option(
        "auto", "device: auto, cpu, cuda:0 (default auto)", flag="--device", metavar="NAME", in_identity=False
    )
    threads: int = option(
        0,
        "threads for the network; 0: as many as are useful",
        flag_help="threads for the network (default 0: as many as are useful)",
        flag="--threads",
        parse=parse_count,
        metavar="N",
        in_identity=False,
    )


@dataclass(frozen=True, kw_only=True)
class StylizerOptions(RuntimeOptions, StyleOptions):
    """All options of a stylizer used by itself."""

    concurrency: int = option(
        1,
        "frames that are in the network at once",
        check=lambda frames: frames >= 1,
        allowed="1 or more frames at once",
    )


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(Options):
    """Encoder options; all have defaults. ``options`` go to FFmpeg unchanged."""

    heading = "output"
    codec: str = option(
        "auto",
        "auto, h264, hevc, av1, vp9, prores or ffv1",
        flag_help="default: h264",
        flag="--codec",
        choices=("h264", "hevc", "av1", "vp9", "prores", "ffv1"),
    )
    crf: float | None = option(
        None,
        "constant quality, lower is better (h264: 20)",
        flag="--crf",
        parse=float,
        metavar="N",
        check=lambda crf: crf is None or (isinstance(crf, int | float) and 0 <= crf <= 63),
        allowed="0 (best) to 51, for av1 and vp9 to 63",
    )
    bitrate_bps: int | None = option(
        None, "average rate instead: 4M, 2500k", flag="--bitrate", parse=parse_bitrate, metavar="RATE"
    )
    preset: str | None = option(None, "the encoder's speed (h264: veryfast)", flag="--preset", metavar="NAME")
    hardware: str = option(
        "off",
        "use a hardware encoder if it works",
        flag="--hardware",
        choices=("off", "auto", "nvenc", "qsv", "videotoolbox", "vaapi", "amf"),
    )
    threads: int = option(
        0,
        "threads of the encoder; 0: it chooses",
        flag_help="default 0: it chooses",
        flag="--encoder-threads",
        parse=parse_count,
        metavar="N",
        in_identity=False,
    )
    options: tuple[tuple[str, str], ...] = option((), "options of FFmpeg's encoder")


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Options):
    """How the output is written."""

    heading = "output"
    overwrite: bool = option(
        False,
        "replace an output that exists",
        flag_help="replace OUTPUT if it exists",
        flag="--overwrite",
        short="-y",
        in_identity=False,
    )
    encoder: EncodeOptions = nested(EncodeOptions, "codec, quality and hardware", in_identity=False)
    copy_streams: bool = option(
        True,
        "copy audio, subtitles, attachments and other streams",
        flag_help="omit audio, subtitles and other streams",
        flag="--no-copy",
    )
    muxer: str | None = option(
        None,
        "FFmpeg's muxer, if the output's name does not imply it",
        flag_help="container, if OUTPUT's name does not imply it (for -)",
        flag="--format",
        metavar="NAME",
    )
    muxer_options: tuple[tuple[str, str], ...] = option((), "options of FFmpeg's muxer")
    strict: bool = option(
        False,
        "a damaged or skipped frame is an error instead of a notice",
        flag_help="treat a damaged or skipped frame as an error, not a notice",
        flag="--strict",
    )
    real_time: bool = option(
        True,
        "publish in real time",
        flag_help="publish as fast as possible instead of in real time",
        flag="--no-pace",
        in_identity=False,
    )


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Options):
    """Which part of a source is read, and how."""

    heading = "frame"
    start_seconds: Seconds | None = option(
        None,
        "where to begin",
        flag_help="start time: 12.5 or 1:02:03",
        flag="--start",
        parse=parse_time,
        metavar="TIME",
    )
    end_seconds: Seconds | None = option(
        None, "where to end", flag_help="end there", flag="--end", parse=parse_time, metavar="TIME"
    )
    stream_index: int | None = option(
        None, "the video stream to take (default: the best)", flag="--stream", parse=parse_count, metavar="N"
    )
    deinterlace: bool = option(
        True,
        "deinterlace",
        flag_help="do not deinterlace: treat both fields as one frame",
        flag="--no-deinterlace",
    )
    tone_map: bool = option(
        True,
        "tone-map HDR to SDR instead of refusing it",
        flag_help="refuse HDR instead of tone-mapping it to SDR",
        flag="--no-tone-map",
    )
    input_options: tuple[tuple[str, str], ...] = option(
        (), "FFmpeg's options for opening the source: (('format_whitelist', 'mp4'),)"
    )

    @property
    def start(self) -> Fraction | None:
        """``start_seconds``, exactly."""
        return None if self.start_seconds is None else Fraction(self.start_seconds)

    @property
    def end(self) -> Fraction | None:
        """``end_seconds``, exactly."""
        return None if self.end_seconds is None else Fraction(self.end_seconds)


@dataclass(frozen=True, kw_only=True)
class ConversionOptions(SourceOptions, OutputOptions, RuntimeOptions, StyleOptions):
    """All options of a conversion but source and output."""

    heading = "frame"
    size: OutputSize | None = option(
        None,
        "size of the output: '1280x720' (width x height), '720p' or '50%', or (height, width), "
        "or a function of the source's (height, width); None: as the source",
        flag_help="size of the output (default: as INPUT)",
        flag="--size",
        parse=parse_size,
        metavar="WxH|720p|50%",
        in_identity=False,  # the resulting size is part of it
    )
    compare: Comparison | None = option(
        None,
        "also show the original: 'side' by side, or 'split': left of a line at split_position",
        flag_help="also show the original: side by side, or left of a line",
        flag="--compare",
        parse=parse_compare,
        sets=("compare", "split_position"),
        metavar="side|split[:0..1]",
        check=lambda mode: mode in (None, "side", "split"),
        allowed="'side', 'split' or None",
    )
    split_position: float = option(0.5, "position of the line for compare='split', 0 (left) to 1")
    skip_static: bool = option(
        True,
        "reuse the last result if the source changed no more than codec noise",
        flag_help="run the network even for unchanged frames",
        flag="--every-frame",
    )
    deflicker: bool = option(
        True,
        "average out changes caused by noise over about ten frames, against flicker; not for separate images",
        flag_help="stylize each frame independently, without the filter against flicker",
        flag="--no-deflicker",
    )
    reconnect_seconds: float = option(
        20.0,
        "how long to try to reconnect a stream or server that broke off (default 20; 0: not at all)",
        flag="--reconnect",
        parse=parse_seconds,
        metavar="SECONDS",
        in_identity=False,
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", read_size(self.size))
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class LiveOptions(StyleOptions):
    """Options of live use; ``fps`` is the target rate."""

    heading = "camera"
    fps: Fraction = option(Fraction(30), "target frames per second", parse=parse_rate)
    adaptive: bool = option(
        True,
        "reduce resolution, then quality, while the machine cannot hold the rate",
        flag_help="keep resolution and quality even if the rate falls",
        flag="--no-adapt",
    )
    mirror: bool = option(False, "mirror the image", flag_help="begin mirrored", flag="--mirror")


@dataclass(frozen=True)
class CameraOptions(Options):
    """Which camera, and how. ``size`` is (height, width) in pixels.

    ``device``: ``None`` (the first camera), a device's name or number, a file, a URL or ``"testpattern"``. A camera
    takes the size and rate nearest to these; a file keeps its own where they are ``None``.
    """

    heading = "camera"
    device: str | None = option(
        None,
        "the camera, or a substitute (default: the first camera)",
        flag="--device",
        metavar="NAME|NUMBER|FILE|URL|testpattern",
    )
    size: tuple[int, int] | None = option(
        None, "frame size (default: 640x360, or the file's)", flag="--size", parse=parse_camera_size, metavar="WxH"
    )
    fps: Fraction | None = option(None, "frames per second (default 30)", flag="--fps", parse=parse_rate, metavar="N")


@dataclass(frozen=True, kw_only=True)
class WebcamOptions(Options):
    """All options of a ``webcam`` run."""

    heading = "show"
    camera: CameraOptions = nested(CameraOptions, "the camera")
    live: LiveOptions = nested(LiveOptions, "how it is shown")
    runtime: RuntimeOptions = nested(RuntimeOptions, "what runs the network")
    styles: Sequence[StyleSpec] = option((None,), "the styles that the key S cycles through")
    microphone: str | None = option(
        "auto",
        "microphone for recordings; None: none",
        flag_help="microphone for recordings (default auto)",
        flag="--microphone",
        parse=parse_unless_none,
        metavar="NAME|none",
    )
    virtual_camera: str | None = option(
        None,
        "also provide a virtual camera: a device, or '' for any free one",
        flag_help="also provide a virtual camera (DEVICE: such as /dev/video10; default: any)",
        flag="--virtual-camera",
        metavar="DEVICE",
        const="",
    )
    window: bool = option(
        True, "whether there is a window", flag_help="no window (with --virtual-camera or --record)", flag="--no-window"
    )
    compare: bool = option(False, "start with the original left of a line", flag="--compare")
    record: bool = option(False, "begin recording at once", flag="--record")
    folder: Path = option(Path(), "for snapshots and recordings", flag="--folder", parse=Path, metavar="DIR")
    figures: bool = option(True, "whether the rate is shown at the start")
    seconds: float | None = option(None, "end after that", flag="--duration", parse=parse_seconds, metavar="TIME")
