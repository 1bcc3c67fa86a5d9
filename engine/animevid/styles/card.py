"""The card that an ONNX style carries in its own metadata: what the network expects, gives, and may be used for.

The card is JSON under the ONNX metadata key ``animevid.card``. The engine reads a model's limits here and never guesses
them from a name. A model without a card gets one inferred from its graph (``animevid.styles.inspect``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from animevid.errors import StyleError

CARD_KEY = "animevid.card"
CARD_VERSION = 1


class Layout(StrEnum):
    """How a picture is laid out in the network's input and output tensors (float32)."""

    NCHW = "NCHW"  # (N, 3, H, W)
    NHWC = "NHWC"  # (N, H, W, 3)
    PACKED_YUV420 = "packed_yuv420"  # (N, 24, H/4, W/4): see animevid.pixels.packed


class ColourOrder(StrEnum):
    RGB = "RGB"
    BGR = "BGR"
    YUV = "YUV"  # the codec's own, with Layout.PACKED_YUV420


@dataclass(frozen=True, slots=True)
class StyleCard:
    """One style network's limits and provenance.

    ``size_multiple``: H and W in *pixels* must be multiples of it (pictures are padded by reflection and cropped).
    ``input_range``/``output_range``: the numbers that black and white map to.
    ``tileable``: no statistic of the whole picture is used, so tiles with ``receptive_field_px`` overlap equal the whole.
    ``net_pixels``: the number of pixels per frame at which the style looks as it was drawn; larger pictures are run near
    it and lifted to full size (0: run at full size).
    ``lift_epsilon``: the guided lift's regularization for this style, on [0, 1] luma.
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
    lift_epsilon: float = 1e-2
    quality: str = "fast"  # "fast" (default) | "high"
    precision: str = "fp32"  # "fp32" | "fp16" | "int8"
    licence: str = "unknown"
    trained_on: str = ""
    recipe: str = ""
    weights_sha256: str = ""
    card_version: int = CARD_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises:
        StyleError: not JSON, an unknown layout, or a card from a newer animevid.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            if int(raw.get("card_version", 1)) > CARD_VERSION:
                raise StyleError(
                    f"card_version = {raw['card_version']} is newer than this animevid reads ({CARD_VERSION}); "
                    "upgrade with: pip install -U animevid"
                )
            known = {field.name for field in fields(cls)}
            values = {key: value for key, value in raw.items() if key in known}
            for key, kind in (("layout", Layout), ("colour_order", ColourOrder)):
                if key in values:
                    values[key] = kind(values[key])
            for key in ("input_range", "output_range"):
                if key in values:
                    low, high = values[key]
                    values[key] = (float(low), float(high))
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StyleError(f"the style card in the model's metadata is not readable ({error})") from error
