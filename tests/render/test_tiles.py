"""A frame processed in tiles equals the frame processed whole, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
from animevid.render.tiles import run_tiled, spans
from hypothesis import given, settings
from hypothesis import strategies as st


def _blur(batch):
    """A 3x3 mean with zero padding: receptive field of one cell on each side."""
    padded = np.pad(batch, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = batch.shape[2:]
    return sum(padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)) / np.float32(9)


@settings(deadline=None, max_examples=60)
@given(
    cells=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    tile=st.integers(1, 16),
    step=st.integers(1, 4),
    seed=st.integers(0, 999),
)
def test_tiles_with_the_margin_of_the_receptive_field_equal_the_whole(cells, tile, step, seed):
    shape = (2, 3, cells[0] * step, cells[1] * step)
    frame = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    tiled = run_tiled(_blur, frame, spatial_axes=(2, 3), tile=tile, margin=1, step=step)
    np.testing.assert_allclose(tiled, _blur(frame), rtol=1e-6, atol=1e-6)


def test_tiles_without_a_margin_show_their_seams():
    frame = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    tiled = run_tiled(_blur, frame, spatial_axes=(2, 3), tile=8, margin=0)
    assert np.abs(tiled - _blur(frame)).max() > 0.01


@settings(deadline=None)
@given(cells=st.integers(1, 200), tile=st.integers(1, 300), margin=st.integers(0, 40), step=st.integers(1, 8))
def test_spans_cover_everything_once_on_the_grid(cells, tile, margin, step):
    length = cells * step
    covered = []
    for span in spans(length, tile=tile, margin=margin, step=step):
        assert 0 <= span.read_start <= span.keep_start < span.keep_stop <= span.read_stop <= length
        assert span.read_start % step == 0
        assert (span.read_stop - span.read_start) % step == 0
        assert span.keep_start - span.read_start >= min(margin, span.keep_start)
        covered += range(span.keep_start, span.keep_stop)
    assert covered == list(range(length))


def test_a_small_frame_is_one_tile():
    calls = []

    def run(batch):
        calls.append(batch.shape)
        return batch

    batch = np.zeros((1, 24, 10, 12), np.float32)
    assert run_tiled(run, batch, spatial_axes=(2, 3), tile=64, margin=4) is batch
    assert calls == [(1, 24, 10, 12)]


def test_channels_last_is_tiled_along_its_own_axes():
    frame = np.random.default_rng(0).standard_normal((1, 16, 24, 3)).astype(np.float32)
    tiled = run_tiled(lambda tile: tile * 2, frame, spatial_axes=(1, 2), tile=8, margin=2)
    np.testing.assert_array_equal(tiled, frame * 2)


@pytest.mark.parametrize("tile", [1, 7, 64])
def test_no_tile_is_much_larger_than_asked(tile):
    for span in spans(200, tile=tile, margin=3):
        assert span.read_stop - span.read_start <= max(tile, 1) + 2 * 3 + 1
