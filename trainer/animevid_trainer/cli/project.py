"""``animevid project``."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
from pathlib import Path

from animevid.errors import TrainingError

from animevid_trainer.cli.command import Command
from animevid_trainer.cli.messages import show_data
from animevid_trainer.cli.sample import STILLS, open_noise_generator, open_sink_for, write_image


def _fill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run folder (--out of train)")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a face, cropped like the training data")
    parser.add_argument("out", type=Path, metavar="OUT.png", help="the image and its projection, as an image file")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--perceptual-weights", metavar="FILE", help="VGG16's weights: compare features too, not only pixels"
    )
    parser.add_argument("--scale", type=int, default=4, help="enlarge both by this factor")
    parser.add_argument("--step", type=int, help="checkpoint to use (default: the latest)")
    parser.add_argument("--raw", action="store_true", help="use the raw weights instead of their average")
    parser.add_argument("-y", "--overwrite", action="store_true", help="replace OUT if it exists")


def _run(args: argparse.Namespace) -> int:
    import numpy as np

    from animevid_trainer.data.batches import images_of, tensor_of
    from animevid_trainer.data.images import UnreadableImageError, read_image
    from animevid_trainer.perceptual import make_perceptual
    from animevid_trainer.projection import Distance, ProjectionSettings, perceptual_distance, pixel_distance, project
    from animevid_trainer.sample_grid import enlarged
    from animevid_trainer.validation import middle

    settings = ProjectionSettings(args.steps, args.rate, args.seed)
    if args.out.suffix.lower() not in STILLS or args.scale < 1:
        raise TrainingError(f"OUT {str(args.out)!r}, --scale {args.scale}: give an image such as out.png; 1 or more")
    try:
        image = read_image(args.image)
    except UnreadableImageError as error:
        raise TrainingError(f"the image cannot be read ({error}); give a face that opens in a viewer") from error
    generator = open_noise_generator(args.run_folder, step=args.step, averaged=not args.raw)
    distance: Distance = pixel_distance
    if args.perceptual_weights:
        vgg = make_perceptual("vgg16", weights=args.perceptual_weights, unit="normalized")
        distance = perceptual_distance(vgg, ("conv1_2", "conv2_2", "conv3_3"))
    size = generator.size_px
    with open_sink_for(args.out, (2 * args.scale * size, args.scale * size), overwrite=args.overwrite) as sink:
        target = middle(image, size)
        found = project(
            generator, tensor_of([target]), distance, settings,
            on_step=lambda step, _: show_data("steps", step, settings.steps),
        )  # fmt: skip
        pair = [enlarged(each, args.scale) for each in (target, images_of(found.image)[0])]
        write_image(sink, np.concatenate(pair, 1))
        report = sink.finish()
    print(f"{report.path}: the image, and the nearest that is drawn, at a distance of {found.distance:.4g}")
    return 0


PROJECT = Command("project", "find the generated face nearest to an image", _fill, _run)
