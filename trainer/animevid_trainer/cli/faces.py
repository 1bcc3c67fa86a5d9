"""``animevid faces``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from animevid.errors import TrainingError

from animevid_trainer.cli.command import Command
from animevid_trainer.cli.messages import show_data


def _fill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of portraits (searched recursively)")
    parser.add_argument("out", type=Path, metavar="FACES", help="folder for the faces, as PNG; existing files are kept")
    parser.add_argument(
        "--detector", type=Path, required=True, metavar="FILE",
        help="OpenCV's YuNet (.onnx) or MediaPipe's full-range face detector (.tflite)",
    )  # fmt: skip
    parser.add_argument("--style", help="find faces in the photos, but crop them from the photos in this style")
    parser.add_argument("--size", type=int, default=128, metavar="PX", help="side of a face (0: its own; default: 128)")
    parser.add_argument(
        "--align", action="store_true",
        help="rotate, scale and centre faces by eyes and mouth, as FFHQ's are; leave out those turned to the side",
    )  # fmt: skip
    parser.add_argument(
        "--margin", type=float, help="side of the square over the face's box (default: 1.5); not with --align"
    )
    parser.add_argument("--smallest", type=int, default=48, metavar="PX", help="leave lower faces out")
    parser.add_argument("--longest", type=int, default=1024, metavar="PX", help="shrink larger images first")


def _run(args: argparse.Namespace) -> int:
    from animevid.render.stylizer import Stylizer

    from animevid_trainer.data.images import find_images, open_images
    from animevid_trainer.faces import CutSettings, LeftOut, faces_of, in_style, open_detector
    from animevid_trainer.files import write_png

    settings = CutSettings(args.size, margin=args.margin, smallest_px=args.smallest, align=args.align)
    detector = open_detector(args.detector)
    paths = find_images(args.images)
    written = without = 0
    left_out: Counter[LeftOut] = Counter()
    with ExitStack() as stack:
        stylize = in_style(stack.enter_context(Stylizer(args.style))) if args.style else None
        # nothing is cached: each image is read once
        images = open_images(paths, what="images", budget_bytes=0, longest_px=args.longest)
        for done, (name, cut) in enumerate(faces_of(images, detector, settings, stylize=stylize), start=1):
            for number, face in enumerate(cut.faces, start=1):
                write_png(args.out / f"{name}-{number}.png", face)
            written += len(cut.faces)
            without += not cut.faces and not cut.left_out
            left_out.update(cut.left_out)
            show_data("faces", done, len(images))
    why = ", ".join(f"{left_out[reason]} {reason.value}" for reason in LeftOut if left_out[reason])
    if not written:
        found = f"left out: {why}" if why else "none was found"
        raise TrainingError(f"no face in {len(paths)} images of {str(args.images)!r} ({found}); give portraits")
    print(f"{written} faces in {args.out}; left out: {why or 'none'}; {without} images have none")
    return 0


FACES = Command("faces", "crop faces from images, as training data for faces from noise", _fill, _run)
