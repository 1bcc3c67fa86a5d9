"""Contact sheets: 24 held-out pictures, each beside what every style makes of it. For looking at, not for measuring.

    python -m benchmarks.sheets --photos ../shared/photos --clips ../shared/clips --out out/sheets aozora cel ehon

Every photo is in the validation split (``split_by_name(..., validation_fraction=0.1)``), and no training saw the clips;
the script refuses a photo that is not held out. Few of the held-out photos show people, so frames of clips stand in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from animevid import Stylizer
from animevid_trainer.data.pictures import read_picture
from animevid_trainer.data.split import split_by_name

Picture = npt.NDArray[np.uint8]

#: What is shown -> file names; ``NAME@SECONDS`` is the frame of a clip at that time.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "faces": ("signer_ccby.mkv@1", "coco-train2017-000000000510.jpg", "scene-loc9.jpg"),
    "groups": ("portrait_540x960_aac.mp4@1",),
    "streets": ("coco-train2017-000000000540.jpg", "coco-train2017-000000000071.jpg", "scene-city3.jpg"),
    "interiors": ("person_ccby.mp4@15", "coco-train2017-000000000612.jpg", "scene-space4.jpg"),
    "night": ("scene-nasa5.jpg", "scene-nasa2.jpg"),
    "food": ("coco-train2017-000000000009.jpg",),
    "animals": (
        "budgie-perched-osprey.jpg",
        "coco-train2017-000000000072.jpg",
        "coco-train2017-000000000042.jpg",
    ),
    "landscapes": ("scene-bwerner0.jpg", "scene-forest1.jpg", "scene-water2.jpg", "scene-mountain20-harro.jpg"),
    "text and straight lines": ("wall-picture-1a-by-freespace.jpg", "popos-samuel-zeller-337041.jpg"),
    "low light": ("scene-desert2.jpg", "coco-train2017-000000000387.jpg"),
}
_ROWS_A_SHEET = 6
_CAPTION_PX = 26


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sheets", description=__doc__)
    parser.add_argument("styles", nargs="+", help="names or .onnx files")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for sheet-1.png ... and PICTURE.png")
    parser.add_argument("--size", default="640x360", help="WIDTHxHEIGHT that pictures are fitted into")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    names = [(subject, name) for subject, group in SUBJECTS.items() for name in group]
    check_held_out([name for _, name in names])
    args.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        styles = {Path(style).stem: stack.enter_context(Stylizer(style, threads=args.threads)) for style in args.styles}
        rows = sheet_rows(names, photos=args.photos, clips=args.clips, styles=styles, size=(width, height))
        sheet: list[Picture] = []
        for index, row in enumerate(rows, start=1):
            sheet.append(row)
            if len(sheet) == _ROWS_A_SHEET or index == len(names):
                path = args.out / f"sheet-{-(-index // _ROWS_A_SHEET)}.png"
                cv2.imwrite(str(path), cv2.cvtColor(np.vstack(sheet), cv2.COLOR_RGB2BGR))
                print(path, flush=True)
                sheet = []
    return 0


def check_held_out(names: Sequence[str]) -> None:
    """Raises:
    SystemExit: a photo that trainings with ``--validation 0.1`` see.
    """
    photos = [Path(name) for name in names if "@" not in name]
    seen, _ = split_by_name(photos, validation_fraction=0.1)
    if seen:
        sys.exit(f"not held out: {', '.join(path.name for path in seen)}")


def sheet_rows(
    names: Sequence[tuple[str, str]],
    *,
    photos: Path,
    clips: Path,
    styles: dict[str, Callable[[Picture], Picture]],
    size: tuple[int, int],
) -> Iterator[Picture]:
    """One row a picture: itself, then each style's, at the pictures' own size on a ground of ``size``."""
    for subject, name in names:
        picture = fitted(read_subject(name, photos=photos, clips=clips), *size)
        cells = [framed(picture, f"{subject}: {name}", size)]
        cells += [framed(stylize(picture), label, size) for label, stylize in styles.items()]
        yield np.hstack(cells)


def read_subject(name: str, *, photos: Path, clips: Path) -> Picture:
    clip, at, seconds = name.partition("@")
    if not at:
        return read_picture(photos / name)
    with av.open(str(clips / clip)) as container:
        container.seek(int(float(seconds) * av.time_base))  # to the key frame before
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= float(seconds):
                return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    sys.exit(f"{clip} is shorter than {seconds} s")


def fitted(picture: Picture, width: int, height: int) -> Picture:
    """The whole picture within that size, both sides even."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    sides = [max(2, round(side * scale / 2) * 2) for side in (picture.shape[1], picture.shape[0])]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (sides[0], sides[1]), interpolation=way), np.uint8)


def framed(picture: Picture, caption: str, size: tuple[int, int]) -> Picture:
    ground = np.full((size[1] + _CAPTION_PX, size[0] + 6, 3), 24, np.uint8)
    ground[: picture.shape[0], : picture.shape[1]] = picture
    place = (4, size[1] + _CAPTION_PX - 8)
    cv2.putText(ground, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return ground


if __name__ == "__main__":
    sys.exit(main())
