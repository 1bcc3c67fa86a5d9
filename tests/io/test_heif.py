"""Photos that are made of parts are read whole: tiles put together, opacity kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from animevid.io import open_source
from animevid.io.heif import grid_of

pytestmark = pytest.mark.shared


def test_a_photo_in_tiles_is_read_whole_and_cut_to_its_size(shared: Path) -> None:
    path = shared / "faults" / "grid.heic"
    grid = grid_of(path.read_bytes())
    assert grid is not None
    assert (grid.rows, grid.columns, len(grid.tiles)) == (2, 2, 4)
    with open_source(path) as source:
        planes = next(iter(source)).planes
        assert (source.info.display_height, source.info.display_width) == (grid.height, grid.width)
        assert (planes.height, planes.width) == (grid.height, grid.width)
    # The test card's bars run through both rows of tiles: red, green and blue stand above and below the joint alike.
    luma = planes.y.astype(int)
    for column in (40, 140, 200, 300):
        assert abs(luma[240, column] - luma[270, column]) < 6
    assert len({int(luma[300, column]) // 8 for column in (40, 140, 200, 300, 470)}) == 5


def test_the_opacity_of_an_avif_is_kept(shared: Path) -> None:
    with open_source(shared / "faults" / "alpha.avif") as source:
        assert source.info.has_alpha
        alpha = next(iter(source)).planes.alpha
    assert alpha is not None
    assert (alpha.min(), alpha.max()) == (0, 255)
