"""Unchanged frames reuse the last result, with their own opacity and strength."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from animevid.pixels import PlanesYUV420
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import FrameReuse
from small_styles import PACKED, save_style


@pytest.fixture
def negative(tmp_path: Path) -> Path:
    return save_style(tmp_path / "negative.onnx", PACKED, effect="negative")


def frame(alpha: int | None = None) -> PlanesYUV420:
    luma = np.tile(np.linspace(40, 200, 64).astype(np.uint8), (48, 1))
    chroma = np.full((24, 32), 128, np.uint8)
    return PlanesYUV420(luma, chroma, chroma, alpha=None if alpha is None else np.full((48, 64), alpha, np.uint8))


def shown(reuse: FrameReuse, planes: PlanesYUV420) -> PlanesYUV420:
    return reuse.postprocess(planes, reuse.infer([reuse.preprocess(planes)])[0])


def test_an_unchanged_frame_shows_the_drawing_and_its_own_opacity(negative: Path) -> None:
    with Stylizer(negative, threads=1) as stylizer:
        reuse = FrameReuse(stylizer)
        first, second = shown(reuse, frame(200)), shown(reuse, frame(90))
    assert reuse.skipped == 1
    assert (first.y == second.y).all()
    assert np.abs(first.y.astype(int) - frame().y).mean() > 20  # a drawing, not the original
    assert second.alpha is not None
    assert (second.alpha == 90).all()


def test_an_unchanged_frame_at_another_strength_is_blended_again(negative: Path) -> None:
    with Stylizer(negative, threads=1) as stylizer:
        reuse = FrameReuse(stylizer)
        shown(reuse, frame())
        stylizer.strength = 0.0
        assert (shown(reuse, frame()).y == frame().y).all()
    assert reuse.skipped == 1
