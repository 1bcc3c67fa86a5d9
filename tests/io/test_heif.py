"""Photos with several items are read completely: tiles joined, opacity kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from animevid.io import open_source
from animevid.io.heif import Grid, layout_of

pytestmark = pytest.mark.shared


def grid_of(data: bytes) -> Grid:
    layout = layout_of(data)
    assert layout is not None
    assert isinstance(layout.image, Grid)
    return layout.image


def test_a_photo_in_tiles_is_read_whole_and_cut_to_its_size(shared: Path) -> None:
    path = shared / "faults" / "grid.heic"
    grid = grid_of(path.read_bytes())
    assert (grid.rows, grid.columns, len(grid.tiles)) == (2, 2, 4)
    with open_source(path) as source:
        planes = next(iter(source)).planes
        assert (source.info.display_height, source.info.display_width) == (grid.height, grid.width)
        assert (planes.height, planes.width) == (grid.height, grid.width)
    # The test card's bars cross both rows of tiles: red, green and blue are the same above and below the seam.
    luma = planes.y.astype(int)
    for column in (40, 140, 200, 300):
        assert abs(luma[240, column] - luma[270, column]) < 6
    assert len({int(luma[300, column]) // 8 for column in (40, 140, 200, 300, 470)}) == 5


def test_tiles_stand_where_the_grid_says_and_not_in_the_order_of_the_file(shared: Path, tmp_path: Path) -> None:
    data = (shared / "faults" / "grid.heic").read_bytes()
    grid = grid_of(data)
    order = b"".join(number.to_bytes(2, "big") for number in grid.tiles)
    assert data.count(b"\0\4" + order) == 1  # the reference "dimg"
    turned = b"".join(number.to_bytes(2, "big") for number in reversed(grid.tiles))
    path = tmp_path / "turned.heic"
    path.write_bytes(data.replace(b"\0\4" + order, b"\0\4" + turned))
    with open_source(shared / "faults" / "grid.heic") as straight, open_source(path) as source:
        before, after = next(iter(straight)).planes.y, next(iter(source)).planes.y
    height, width = (side - side % 2 for side in (before.shape[0] - 256, before.shape[1] - 256))
    assert (after[:height, :width] == before[256 : 256 + height, 256 : 256 + width]).all()
    assert (after[256 : 256 + height, 256 : 256 + width] == before[:height, :width]).all()
    assert (after != before).any()


def test_the_opacity_of_an_avif_is_kept(shared: Path) -> None:
    with open_source(shared / "faults" / "alpha.avif") as source:
        assert source.info.has_alpha
        alpha = next(iter(source)).planes.alpha
    assert alpha is not None
    assert (alpha.min(), alpha.max()) == (0, 255)
