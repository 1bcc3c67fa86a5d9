"""Makes the page's style cards: a face and a landscape in each shipped style.

    python -m benchmarks.cards --photos ../shared/photos

Run it after changing a shipped style; a test compares the cards with the styles' output. Both photos are held out from
training. Without ``--photos`` only the cards are made again, from the photos next to them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from animevid.server.cards import INDEX, PHOTO, TILE_SIZE, draw_card, jpeg
from animevid.styles import list_styles
from animevid_trainer.data.images import read_image

from benchmarks.gallery import SHOTS, Shot, fitted
from benchmarks.sheets import check_held_out

STYLES = PHOTO.parents[3] / "styles"
FACE, LANDSCAPE = SHOTS[2], SHOTS[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cards", description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder that holds the two photos")
    args = parser.parse_args()
    if args.photos is not None:
        check_held_out([FACE.photo, LANDSCAPE.photo], args.photos)
        write_photo(args.photos)
    shipped = [style for style in list_styles() if style.path.parent == STYLES and style.card.quality == "fast"]
    for style in shipped:
        PHOTO.with_name(f"{style.card.name}.jpg").write_bytes(draw_card(style))
    INDEX.write_text(json.dumps({style.card.name: style.card.weights_sha256 for style in shipped}, indent=2) + "\n")
    for path in sorted(PHOTO.parent.glob("*.jpg")):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    return 0


def write_photo(photos: Path) -> None:
    height, width = TILE_SIZE
    tiles = [fitted(read_image(photos / shot.photo), width, height, centre=shot.centre) for shot in (FACE, LANDSCAPE)]
    PHOTO.write_bytes(jpeg(np.vstack(tiles), quality=88))
    lines = [
        "# Whose images these are",
        "",
        "Made by `python -m benchmarks.cards`. `photo.jpg` holds two photos, cropped and",
    ]
    lines += ["shrunk; the other files are what the styles of animevid make of them, under the same licences.", ""]
    lines += ["| photo | author | licence |", "|---|---|---|", row(FACE), row(LANDSCAPE), ""]
    PHOTO.with_name("ATTRIBUTION.md").write_text("\n".join(lines))


def row(shot: Shot) -> str:
    return f"| `{shot.photo}` | {shot.author} | {shot.licence} |"


if __name__ == "__main__":
    sys.exit(main())
