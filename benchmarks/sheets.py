"""Makes contact sheets for visual inspection: 24 held-out photos and frames, each next to its stylized versions.

    python -m benchmarks.sheets --photos ../shared/photos --clips ../shared/clips --out out/sheets aozora cel ehon

No student was trained on these photos (``animevid_trainer.distill.pairs.held_out``), nor on the clips; the script
refuses a photo that is not held out.
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
from animevid_trainer.data.images import find_images, read_image
from animevid_trainer.distill.pairs import held_out

Image = npt.NDArray[np.uint8]

#: What is shown -> file names; ``NAME@SECONDS`` is the frame of a clip at that time.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "faces": (
        "signer_ccby.mkv@1",
        "coco-train2017-000000000459.jpg",
        "sfhq-age-x-ethnicity-x-sex-1-top-10-50.jpg",
        "sfhq-makeup-top-9-25.jpg",
        "sfhq-facial-hair-top-10-45.jpg",
    ),
    "people": ("portrait_540x960_aac.mp4@1", "coco-train2017-000000000436.jpg", "sfhq-background-top-10-48.jpg"),
    "streets": ("coco-train2017-000000000349.jpg", "coco-train2017-000000000620.jpg", "scene-city13-sfiera.jpg"),
    "interiors": ("person_ccby.mp4@15", "coco-train2017-000000000283.jpg"),
    "night": ("scene-city18-iridium.jpg", "scene-space5.jpg"),
    "food": ("coco-train2017-000000000626.jpg",),
    "animals": ("budgie-canyon-wren.jpg",),
    "landscapes": ("scene-fields5.jpg", "scene-myrabella6.jpg", "scene-sea10-sfiera.jpg", "scene-mountain20-harro.jpg"),
    "text and straight lines": ("coco-train2017-000000000247.jpg", "popos-sebastien-gabriel-232361.jpg"),
    "close up": ("coco-train2017-000000000562.jpg",),
}
_ROWS_A_SHEET = 6
_CAPTION_PX = 26


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sheets", description=__doc__)
    parser.add_argument("styles", nargs="+", help="names or .onnx files")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for sheet-1.png ... and IMAGE.png")
    parser.add_argument("--size", default="640x360", help="WIDTHxHEIGHT that images are fitted into")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    names = [(subject, name) for subject, group in SUBJECTS.items() for name in group]
    check_held_out([name for _, name in names], args.photos)
    args.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        styles = {Path(style).stem: stack.enter_context(Stylizer(style, threads=args.threads)) for style in args.styles}
        rows = sheet_rows(names, photos=args.photos, clips=args.clips, styles=styles, size=(width, height))
        sheet: list[Image] = []
        for index, row in enumerate(rows, start=1):
            sheet.append(row)
            if len(sheet) == _ROWS_A_SHEET or index == len(names):
                path = args.out / f"sheet-{-(-index // _ROWS_A_SHEET)}.png"
                cv2.imwrite(str(path), cv2.cvtColor(np.vstack(sheet), cv2.COLOR_RGB2BGR))
                print(path, flush=True)
                sheet = []
    return 0


def check_held_out(names: Sequence[str], photos: Path) -> None:
    """Raises:
    SystemExit: a photo that students were trained on.
    """
    kept = {path.name for path in held_out(find_images(photos))}
    seen = [name for name in names if "@" not in name and name not in kept]
    if seen:
        sys.exit(f"students have seen these: {', '.join(sorted(seen))}")


def sheet_rows(
    names: Sequence[tuple[str, str]],
    *,
    photos: Path,
    clips: Path,
    styles: dict[str, Callable[[Image], Image]],
    size: tuple[int, int],
) -> Iterator[Image]:
    """One row an image: itself, then each style's, at the images' own size on a ground of ``size``."""
    for subject, name in names:
        image = fitted(read_subject(name, photos=photos, clips=clips), *size)
        cells = [framed(image, f"{subject}: {name}", size)]
        cells += [framed(stylize(image), label, size) for label, stylize in styles.items()]
        yield np.hstack(cells)


def read_subject(name: str, *, photos: Path, clips: Path) -> Image:
    clip, at, seconds = name.partition("@")
    if not at:
        return read_image(photos / name)
    with av.open(str(clips / clip)) as container:
        container.seek(int(float(seconds) * av.time_base))  # to the key frame before
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= float(seconds):
                return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    sys.exit(f"{clip} is shorter than {seconds} s")


def fitted(image: Image, width: int, height: int) -> Image:
    """The whole image within that size, both sides even."""
    scale = min(width / image.shape[1], height / image.shape[0])
    sides = [max(2, round(side * scale / 2) * 2) for side in (image.shape[1], image.shape[0])]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (sides[0], sides[1]), interpolation=way), np.uint8)


def framed(image: Image, caption: str, size: tuple[int, int]) -> Image:
    ground = np.full((size[1] + _CAPTION_PX, size[0] + 6, 3), 24, np.uint8)
    ground[: image.shape[0], : image.shape[1]] = image
    place = (4, size[1] + _CAPTION_PX - 8)
    cv2.putText(ground, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return ground


if __name__ == "__main__":
    sys.exit(main())
