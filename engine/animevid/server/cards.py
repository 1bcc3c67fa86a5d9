"""The images on the style cards: a face above a landscape, in each style.

The cards of the shipped styles are in ``page/cards`` (made by ``python -m benchmarks.cards``), with the checksum of
their weights; those of other styles are made at the first request.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from animevid.render.stylizer import Stylizer
from animevid.styles import Style

if TYPE_CHECKING:
    from cv2.typing import MatLike

#: The photos themselves, one above the other; see ATTRIBUTION.md beside it.
PHOTO = Path(__file__).parent / "page" / "cards" / "photo.jpg"
#: (height, width) at which each photo is stylized; the card shows half of that.
TILE_SIZE = (360, 480)
#: The weights of the shipped cards: ``{"NAME": "weights_sha256"}``.
INDEX = PHOTO.with_name("index.json")


def card_jpeg(style: Style | None) -> bytes:
    """The card of ``style`` as JPEG, uint8 RGB (360, 240); ``None``: the photos themselves.

    Raises:
        StyleError, BackendError: the style cannot be used.
    """
    if style is not None and is_drawn(style):
        return PHOTO.with_name(f"{style.card.name}.jpg").read_bytes()
    return draw_card(style)


def is_drawn(style: Style) -> bool:
    """Whether the package has a card made with these weights."""
    weights = style.card.weights_sha256
    return bool(weights) and json.loads(INDEX.read_text(encoding="utf-8")).get(style.card.name) == weights


def draw_card(style: Style | None) -> bytes:
    """As ``card_jpeg``, but never from the package."""
    import cv2

    from animevid.io import open_source
    from animevid.pixels import planes_to_rgb, rgb_to_planes

    with open_source(PHOTO) as source:
        photo: npt.NDArray[np.uint8] = planes_to_rgb(next(iter(source)).planes)
    tiles: list[npt.NDArray[np.uint8]] = [photo[: TILE_SIZE[0]], photo[TILE_SIZE[0] :]]
    if style is not None:
        # A network of its own: the open ones belong to the live worker.
        with Stylizer(style, threads=1, net_pixels=0) as stylizer:
            tiles = [
                planes_to_rgb(stylizer.stylize_planes(rgb_to_planes(np.ascontiguousarray(tile)))) for tile in tiles
            ]
    card = cv2.resize(np.vstack(tiles), (TILE_SIZE[1] // 2, TILE_SIZE[0]), interpolation=cv2.INTER_AREA)
    return jpeg(card, quality=86)


def jpeg(rgb: MatLike, *, quality: int = 80) -> bytes:
    """uint8 RGB ``(H, W, 3)`` as JPEG."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), options)
    return bytes(data)
