"""A frame is the same image as JPEG and as PNG: the limited range of video is expanded for both."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from animevid.io import open_source
from animevid.io.sinks.images import encode_image


def rgb_of(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)


@pytest.mark.parametrize("matrix", [1, 5])
def test_a_videos_frame_is_no_paler_as_jpeg_than_as_png(make_clip: Callable[..., Path], matrix: int) -> None:
    clip = make_clip("video.mp4", width=128, height=96, frames=2, matrix=matrix)
    with open_source(clip) as source:
        planes = next(iter(source)).planes
        png = rgb_of(encode_image(planes, ".png"))
        jpeg = rgb_of(encode_image(planes, ".jpg", quality=100))
    inside = (slice(8, 40), slice(8, 56))  # of one colour: no edge blurs it
    for rows, columns in (inside, (slice(56, 88), slice(8, 56)), (slice(56, 88), slice(72, 120))):
        assert np.abs(png[rows, columns].mean((0, 1)) - jpeg[rows, columns].mean((0, 1))).max() < 4
