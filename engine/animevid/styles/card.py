"""The card in an ONNX style's metadata: inputs, outputs, limits and licence of the network.

The card is JSON under the ONNX metadata key ``animevid.card``. The engine reads a model's limits here and never guesses
them from a name. A model without a card gets one inferred from its graph (``animevid.styles.inspect``).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from animevid.errors import StyleError, UsageError
from animevid.styles.onnx_file import read_metadata

CARD_KEY = "animevid.card"
CARD_VERSION = 1
QUALITIES = ("fast", "high")
PRECISIONS = ("fp32", "fp16", "int8")


_MAX_MULTIPLE = 1024
MAX_SIDE_PX = 16384
_MAX_TEXT = 4000
#: Former names of fields -> present ones.
_RENAMED = {"lift_epsilon": "upsample_epsilon"}
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "title", "description", "licence", "trained_on", "recipe", "weights_sha256"), str),
    **dict.fromkeys(("quality", "precision"), str),
    **dict.fromkeys(("size_multiple", "receptive_field_px", "net_pixels", "card_version"), int),
    "tileable": bool,
    "upsample_epsilon": (int, float),
}
_TYPE_NAMES: dict[type | tuple[type, ...], str] = {
    str: f"text of at most {_MAX_TEXT} letters",
    int: "a whole number",
    bool: "true or false",
    (int, float): "a number",
}


class Layout(StrEnum):
    """How a frame is laid out in the network's input and output tensors (float32)."""

    NCHW = "NCHW"  # (N, 3, H, W)
    NHWC = "NHWC"  # (N, H, W, 3)
    PACKED_YUV420 = "packed_yuv420"  # (N, 24, H/4, W/4): see animevid.pixels.packed

    channels: int
    channel_axis: int
    spatial_axes: tuple[int, int]
    #: Side of the pixel block in one element of the tensor.
    cell_px: int

    def __init__(self, value: str) -> None:
        packed, last = value == "packed_yuv420", value == "NHWC"
        self.channels, self.cell_px = (24, 4) if packed else (3, 1)
        self.channel_axis, self.spatial_axes = (3, (1, 2)) if last else (1, (2, 3))


class ColourOrder(StrEnum):
    RGB = "RGB"
    BGR = "BGR"
    YUV = "YUV"  # as decoded, with Layout.PACKED_YUV420


@dataclass(frozen=True, slots=True)
class StyleCard:
    """One style network's limits and provenance.

    ``size_multiple``: H and W in *pixels* must be multiples of it (frames are padded by reflection and cropped).
    ``input_range``/``output_range``: the values of black and white.
    ``tileable``: no statistic of the whole frame is used, so tiles with ``receptive_field_px`` overlap equal the
    whole frame.
    ``net_pixels``: the number of pixels per frame for which the style was trained; larger frames are run
    near it and upsampled to full size (0: run at full size).
    ``upsample_epsilon``: the guided upsample's regularization for this style, on [0, 1] luma.
    ``fixed_size_px``: the one (H, W) in pixels that the graph accepts, for a model exported with a fixed size.
    """

    name: str
    title: str = ""
    description: str = ""
    layout: Layout = Layout.NCHW
    colour_order: ColourOrder = ColourOrder.RGB
    input_range: tuple[float, float] = (-1.0, 1.0)
    output_range: tuple[float, float] = (-1.0, 1.0)
    size_multiple: int = 32
    tileable: bool = False
    receptive_field_px: int = 0
    net_pixels: int = 0
    upsample_epsilon: float = 1e-4
    quality: str = "fast"  # "fast" (default) | "high"
    precision: str = "fp32"  # "fp32" | "fp16" | "int8"
    licence: str = "unknown"
    trained_on: str = ""
    recipe: str = ""
    weights_sha256: str = ""
    fixed_size_px: tuple[int, int] | None = None
    card_version: int = CARD_VERSION

    def __post_init__(self) -> None:
        """Raises:
        StyleError: a value is not allowed.
        """
        self._check_types()
        for problem, holds in (
            ("name must not be empty", not self.name),
            (f"size_multiple must be 1 to {_MAX_MULTIPLE}", not 1 <= self.size_multiple <= _MAX_MULTIPLE),
            (f"receptive_field_px must be 0 to {MAX_SIDE_PX}", not 0 <= self.receptive_field_px <= MAX_SIDE_PX),
            ("net_pixels must be 0 (full size) to 2**28", not 0 <= self.net_pixels <= 1 << 28),
            ("upsample_epsilon must be above 0 and at most 1e6", not 0 < self.upsample_epsilon <= 1e6),
            ("input_range must be (black, white), two different numbers", not _is_range(self.input_range)),
            ("output_range must be (black, white), two different numbers", not _is_range(self.output_range)),
            (f"quality must be one of {', '.join(QUALITIES)}", self.quality not in QUALITIES),
            (f"precision must be one of {', '.join(PRECISIONS)}", self.precision not in PRECISIONS),
            (
                "packed_yuv420 and the colour order YUV belong together",
                (self.layout is Layout.PACKED_YUV420) != (self.colour_order is ColourOrder.YUV),
            ),
            (
                f"fixed_size_px must be (height, width), each 1 to {MAX_SIDE_PX}",
                self.fixed_size_px is not None and not all(1 <= side <= MAX_SIDE_PX for side in self.fixed_size_px),
            ),
        ):
            if holds:
                raise StyleError(f"the style card of {self.name!r} is not valid: {problem}")

    def _check_types(self) -> None:
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            right = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
            if not right or (kind is str and len(value) > _MAX_TEXT):
                said = f"{str(value)[:40]!r}"
                raise StyleError(f"the style card is not valid: {name} = {said} must be {_TYPE_NAMES[kind]}")

    def net_pixels_at(self, quality: str | None) -> int:
        """``net_pixels``, or four times as many to run a style of fast quality in high quality.

        That is twice each side; beyond it the texture of a style becomes too fine.
        """
        return 4 * self.net_pixels if quality == "high" and self.quality != "high" else self.net_pixels

    @property
    def padded_multiple_px(self) -> int:
        """The multiple of both sides of the padded frame, in pixels.

        Padding fills whole cells of the tensor; a network of one fixed size always gets that size.
        """
        multiple = 1 if self.fixed_size_px is not None else self.size_multiple
        return math.lcm(multiple, self.layout.cell_px)

    def padded_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """(height, width) of a frame of that size after padding."""
        multiple = self.padded_multiple_px
        return -(-height_px // multiple) * multiple, -(-width_px // multiple) * multiple

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def tensor_shape(self, count: int, height_px: int, width_px: int) -> tuple[int, int, int, int]:
        """The shape of a batch of ``count`` frames of that size, in this layout."""
        cell = self.layout.cell_px
        height, width, channels = height_px // cell, width_px // cell, self.layout.channels
        if self.layout is Layout.NHWC:
            return count, height, width, channels
        return count, channels, height, width

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises:
        StyleError: not JSON, an unknown layout, or a card from a newer animevid.
        """
        try:
            raw = json.loads(text)
            if int(raw.get("card_version", 1)) > CARD_VERSION:
                raise StyleError(
                    f"card_version = {raw['card_version']} is newer than this animevid reads ({CARD_VERSION}); "
                    "upgrade with: pip install -U animevid"
                )
            if raw.get("paint") is not None:
                raise StyleError(
                    f"style {raw.get('name')!r} has painted filters (ink, flat areas), which animevid no longer runs: "
                    "use a style that this version exported"
                )
            for old, new in _RENAMED.items():
                if old in raw:
                    raw.setdefault(new, raw.pop(old))
            known = {field.name for field in fields(cls)}
            values: dict[str, Any] = {
                key: _printable(value) if isinstance(value, str) else value
                for key, value in raw.items()
                if key in known
            }
            for key, kind in (("layout", Layout), ("colour_order", ColourOrder)):
                if key in values:
                    values[key] = kind(values[key])
            for key in ("input_range", "output_range"):
                if key in values:
                    low, high = values[key]
                    values[key] = (float(low), float(high))
            if values.get("fixed_size_px") is not None:
                height, width = values["fixed_size_px"]
                values["fixed_size_px"] = (int(height), int(width))
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, UsageError) as error:
            said = _printable(str(error))[:200]
            raise StyleError(f"the style card in the model's metadata is not readable ({said})") from error


def read_card(model: bytes) -> StyleCard | None:
    """The card in ``model`` (a serialized ONNX file); ``None`` if it has none.

    Raises:
        StyleError: not an ONNX model, or a card that cannot be read.
    """
    text = read_metadata(model).get(CARD_KEY)
    return None if text is None else StyleCard.from_json(text)


def write_card(model: bytes, card: StyleCard) -> bytes:
    """``model`` with ``card`` in its metadata, replacing one that is there. Needs the ``onnx`` package.

    Raises:
        StyleError: not an ONNX model.
    """
    import onnx

    try:
        proto = onnx.load_from_string(model)
    except Exception as error:  # protobuf's DecodeError, not imported here
        raise StyleError(f"the file is not an ONNX model ({error})") from error
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, {**kept, CARD_KEY: card.to_json()})
    return bytes(proto.SerializeToString())


def _printable(text: str) -> str:
    """``text`` without terminal controls (escape sequences, line ends, bidirectional overrides)."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _is_range(values: tuple[float, float]) -> bool:
    return len(values) == 2 and all(math.isfinite(value) for value in values) and values[0] != values[1]
