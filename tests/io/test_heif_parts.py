"""AVIF and HEIC photos are decoded as their items declare: main item, tiles, opacity, crop and orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from animevid.io import open_source
from heif_files import aperture, card, coded, mirrored, opacity, put_together, ramp, tiled, turned
from PIL import Image, features

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
_TURNS = Image.Transpose
_CARD = card(128, 128)


def _read(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    path.write_bytes(data)
    with open_source(path) as source:
        frame = next(iter(source))
        return frame.to_rgb(), frame.planes.alpha


def _assert_alike(pixels: np.ndarray, wanted: Image.Image) -> None:
    assert pixels.shape == (wanted.height, wanted.width, 3)
    assert np.abs(pixels.astype(int) - np.asarray(wanted)).mean() < 3


@pytest.mark.parametrize("is_tiled", [True, False])
@pytest.mark.parametrize(
    ("properties", "turn"),
    [
        ((turned(1),), (_TURNS.ROTATE_90,)),
        ((turned(3), mirrored(1)), (_TURNS.ROTATE_270, _TURNS.FLIP_LEFT_RIGHT)),
        ((mirrored(0),), (_TURNS.FLIP_TOP_BOTTOM,)),
    ],
)
def test_a_photo_is_turned_and_mirrored_whether_it_is_tiled_or_not(
    tmp_path: Path, is_tiled: bool, properties: tuple[bytes, ...], turn: tuple[Image.Transpose, ...]
) -> None:
    """A phone held upright stores landscape tiles and a rotation."""
    if is_tiled:
        items, size = tiled(_CARD, 1, 2, (120, 90), *properties), (120, 90)
        data = put_together(items, [(b"dimg", 1, [2, 3, 4, 5])], primary=1)
    else:
        data, size = put_together([coded(_CARD, 1, *properties)], [], primary=1), (128, 128)
    wanted = _CARD.crop((0, 0, *size))
    for each in turn:
        wanted = wanted.transpose(each)
    _assert_alike(_read(tmp_path / "a.avif", data)[0], wanted)


def test_a_clean_aperture_is_cut_out_before_the_turn(tmp_path: Path) -> None:
    data = put_together([coded(_CARD, 1, aperture(100, 60), turned(1))], [], primary=1)
    wanted = _CARD.crop((14, 34, 114, 94)).transpose(_TURNS.ROTATE_90)
    _assert_alike(_read(tmp_path / "a.avif", data)[0], wanted)


def test_the_primary_item_is_shown_and_not_the_first(tmp_path: Path) -> None:
    items = [coded(Image.new("RGB", (32, 32), "blue"), 9), coded(_CARD, 1)]
    _assert_alike(_read(tmp_path / "a.avif", put_together(items, [], primary=1))[0], _CARD)


@pytest.mark.parametrize("kind", ["tiled", "with a thumbnail", "of half the size"])
def test_opacity_is_found_by_its_reference(tmp_path: Path, kind: str) -> None:
    if kind == "tiled":
        items = tiled(_CARD, 1, 2, (128, 128)) + tiled(ramp(128, 128), 6, 7, (128, 128), opacity())
        references = [(b"dimg", 1, [2, 3, 4, 5]), (b"dimg", 6, [7, 8, 9, 10]), (b"auxl", 6, [1])]
    else:
        side = 64 if "half" in kind else 128
        items = [coded(_CARD, 1), coded(_CARD.resize((32, 32)), 2), coded(ramp(side, side), 3, opacity())]
        references = [(b"thmb", 2, [1]), (b"auxl", 3, [1])]
    pixels, alpha = _read(tmp_path / "a.avif", put_together(items, references, primary=1))
    _assert_alike(pixels, _CARD)
    assert alpha is not None
    assert np.abs(alpha.astype(int) - np.asarray(ramp(128, 128))).max() < 12
