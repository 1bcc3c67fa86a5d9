"""Images for the README: photo and style side by side, and one short looping GIF with the dividing line moving.

    python -m benchmarks.gallery --photos ../shared/photos

Only photos with a suitable licence, all held out from training. ``SHOTS`` has each photo's author and licence, from
which ``ATTRIBUTION.md`` next to the images is written. The GIF is made from the shipped demo clip.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from animevid import Stylizer
from animevid.io import Frame, open_source
from animevid.io.sinks.animation import AnimationSink
from animevid.pixels import planes_to_rgb, resize_planes, rgb_to_planes
from animevid_trainer.data.images import read_image

from benchmarks.clips import DEMO_CLIP
from benchmarks.sheets import check_held_out

Image = npt.NDArray[np.uint8]

GALLERY = Path(__file__).resolve().parent.parent / "docs" / "gallery"


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo of the gallery, the styles that it is shown in, and whose it is."""

    photo: str
    styles: tuple[str, ...]
    author: str
    licence: str
    #: Of what is kept of a photo that is higher than 16:9, as a share of its height.
    centre: float = 0.5

    @property
    def stem(self) -> str:
        if self.photo.startswith("sfhq-"):
            return f"portrait{Path(self.photo).stem.rpartition('-')[2]}"
        return Path(self.photo).stem.removeprefix("scene-").partition("-")[0]


_MIT = "MIT (SFHQ-T2I by SelfishGene; a synthetic portrait of no real person)"
_SKY = "CC BY-SA 4.0 (the file `copyright` of the game Endless Sky)"
SHOTS = (
    Shot("sfhq-background-top-10-48.jpg", ("aozora", "cel", "ehon"), "SelfishGene", _MIT, centre=0.34),
    Shot("scene-mountain20-harro.jpg", ("aozora", "cel", "ehon"), "@harro.eu", _SKY),
    Shot("sfhq-age-x-ethnicity-x-sex-1-top-10-50.jpg", ("aozora", "cel", "ehon"), "SelfishGene", _MIT, centre=0.4),
    Shot(
        "scene-myrabella6.jpg", ("aozora", "cel", "ehon"), "Myrabella (Wikimedia Commons)", "CC BY-SA 3.0", centre=0.6
    ),
)
#: Of one half of a pair. 16:9, as in video.
_HALF = (480, 270)
_GAP_PX = 4
# GIF holds every frame nearly whole: small and few, or the README loads slowly.
_GIF_SIZE = (320, 180)
_GIF_FRAMES, _GIF_RATE = 16, 8


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder that holds the photos of SHOTS")
    parser.add_argument("--out", type=Path, default=GALLERY)
    parser.add_argument("--style", action="append", default=[], metavar="NAME=FILE", help="a file in place of a name")
    parser.add_argument("--only", nargs="*", help="styles to draw (default: all)")
    args = parser.parse_args()
    check_held_out([shot.photo for shot in SHOTS], args.photos)
    files = dict(text.split("=", 1) for text in args.style)
    names = args.only or list(dict.fromkeys(name for shot in SHOTS for name in shot.styles))
    args.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # As the command: images in high quality, videos in fast.
        styles = {
            name: stack.enter_context(Stylizer(files.get(name, name), quality="high", threads=2)) for name in names
        }
        video = stack.enter_context(Stylizer(files.get(names[0], names[0]), threads=2))
        for shot in SHOTS:
            # Twice the size shown: a style is drawn for 640x360 and more, and shrinks well.
            photo = fitted(read_image(args.photos / shot.photo), 2 * _HALF[0], 2 * _HALF[1], centre=shot.centre)
            for name in (name for name in shot.styles if name in styles):
                save(args.out / f"{shot.stem}-{name}.jpg", pair(photo, styles[name](photo)))
        write_loop(args.out / "demo.gif", video)
    shown = [shot for shot in SHOTS if any((args.out / f"{shot.stem}-{name}.jpg").exists() for name in shot.styles)]
    (args.out / "ATTRIBUTION.md").write_text(attribution(shown))
    total = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out}: {total / 1e6:.2f} MB")
    return 0


def fitted(photo: Image, width: int, height: int, *, centre: float = 0.5) -> Image:
    """The photo's middle at that size; ``centre`` is its height in the photo (0: top, 1: bottom)."""
    scale = max(width / photo.shape[1], height / photo.shape[0])
    sides = (max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale)))
    whole = cv2.resize(photo, sides, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left = (sides[0] - width) // 2
    top = min(max(round(centre * sides[1] - height / 2), 0), sides[1] - height)
    return np.ascontiguousarray(whole[top : top + height, left : left + width], np.uint8)


def pair(photo: Image, drawn: Image) -> Image:
    halves = [cv2.resize(image, _HALF, interpolation=cv2.INTER_AREA) for image in (photo, drawn)]
    gap = np.full((_HALF[1], _GAP_PX, 3), 255, np.uint8)
    return np.hstack([halves[0], gap, halves[1]])


def save(path: Path, image: Image) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options):
        sys.exit(f"{path} cannot be written")
    print(path)


def write_loop(path: Path, stylizer: Stylizer) -> None:
    """The demo clip's first seconds, photo left and style right of a line that swings once there and back."""
    with open_source(DEMO_CLIP) as source, AnimationSink(path, overwrite=True) as sink:
        step = max(1, round(float(source.info.average_rate or 25) / _GIF_RATE))
        frames = iter(source)
        for index in range(_GIF_FRAMES):
            planes = next(frames).planes
            for _ in range(step - 1):
                next(frames)
            before, after = (
                planes_to_rgb(resize_planes(p, _GIF_SIZE[::-1])) for p in (planes, stylizer.stylize_planes(planes))
            )
            column = round(_GIF_SIZE[0] * (0.5 + 0.42 * math.sin(2 * math.pi * index / _GIF_FRAMES)))
            shown = np.concatenate([before[:, :column], after[:, column:]], axis=1)
            shown[:, max(0, column - 1) : column + 1] = 255
            frame = rgb_to_planes(np.ascontiguousarray(shown))
            sink.write(Frame(frame, index, Fraction(index, _GIF_RATE), Fraction(1, _GIF_RATE)))
        sink.finish()
    print(path)


def attribution(shots: list[Shot]) -> str:
    rows = [f"| `{shot.stem}-*.jpg` | `{shot.photo}` | {shot.author} | {shot.licence} |" for shot in shots]
    return "\n".join(
        [
            "# Whose images these are",
            "",
            "Made by `python -m benchmarks.gallery`: left the photo, right what a style of animevid makes of it.",
            "The photos are cropped to 16:9 and shrunk. A stylized image is an adaptation of its photo and stands",
            "under the same licence. No student has seen them in training.",
            "",
            "| image | photo | author | licence |",
            "|---|---|---|---|",
            *rows,
            "| `demo.gif` | `engine/animevid/demo/demo.mp4` | see its own attribution | public domain |",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
