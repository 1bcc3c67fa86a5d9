"""``animevid export`` and ``animevid import``: from weights to style files."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animevid.errors import TrainingError
from animevid.styles.card import QUALITIES

from animevid_trainer.cli.command import Command

if TYPE_CHECKING:
    from torch import nn

    from animevid_trainer.data.images import Image


def _add_card_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="style name (default: the file's)")
    parser.add_argument("--title", default="", help="a description of the style")
    parser.add_argument("--description", default="")
    parser.add_argument("--licence", default="unknown", help="licence of the weights, e.g. CC-BY-4.0")
    parser.add_argument("--trained-on", default="", help="what the weights were trained on")
    parser.add_argument("--net-pixels", type=int, default=0, help="pixels per frame for which the style was made")
    parser.add_argument("--quality", choices=QUALITIES, default="fast", help="high: NAME-high.onnx, the larger variant")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--photos", type=Path, help="real photos for the parity check (default: the run's own)")


def _add_int8_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--int8", action="store_true", help="also write STYLE-int8.onnx, quantized on the photos")
    parser.add_argument("--calibration", type=int, default=32, metavar="N", help="photos to quantize on (--int8)")
    parser.add_argument(
        "--keep-float",
        nargs="+",
        default=(),
        metavar="LAYER",
        help="layers (prefixes of names) that --int8 keeps in float",
    )


def _check_int8_flags(args: argparse.Namespace) -> None:
    if args.int8 and args.precision != "fp32":
        raise TrainingError(f"--precision {args.precision}: --int8 starts from an fp32 style; leave --precision out")
    if args.int8 and args.calibration < 1:
        raise TrainingError(f"--calibration {args.calibration}: give 1 photo or more, some dozens are good")


def _fill_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run folder (--out of train)")
    parser.add_argument("style", type=Path, metavar="STYLE.onnx")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, help="checkpoint to use (default: the latest)")
    which.add_argument("--best", action="store_true", help="use the checkpoint with the best validation score")
    parser.add_argument("--raw", action="store_true", help="use the raw weights instead of their average")
    _add_int8_flags(parser)
    _add_card_flags(parser)


def _run_export(args: argparse.Namespace) -> int:
    from animevid_trainer.stored_runs import load_generator

    _check_int8_flags(args)
    generator = load_generator(
        args.run_folder,
        step="best" if args.best else "latest" if args.step is None else args.step,
        averaged=not args.raw,
    )
    about = _about(args.run_folder)
    photos = args.photos or Path(about.get("data", {}).get("photos", ""))
    recipe = str(about.get("config", {}).get("recipe", ""))
    code = _export(generator, args, photos=photos, recipe=recipe)
    return _quantize(args.style, photos, args) if args.int8 else code


def _quantize(style: Path, photos: Path, args: argparse.Namespace) -> int:
    from animevid_trainer.quantize import quantize_file

    # every second photo is held out from calibration, for the comparison
    images = _some_photos(photos, count=2 * args.calibration)
    calibration, held_out = images[::2], images[1::2]
    if not held_out:
        raise TrainingError(
            f"{len(images)} photo in {str(photos)!r}: --int8 needs some to quantize on, some to compare"
        )
    report = quantize_file(style, photos=calibration, held_out=held_out, keep_float=args.keep_float)
    print(f"{report.path}: {report.bytes_written:,} bytes; from float32 by {report.distance}")
    return 0


def _about(run: Path) -> dict[str, Any]:
    """run.json, or an empty result if it is missing or damaged: a run can be exported without it."""
    try:
        about = json.loads((run / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _export(generator: nn.Module, args: argparse.Namespace, *, photos: Path, recipe: str) -> int:
    from animevid_trainer.export import export_style, make_card

    images = _some_photos(photos, count=4)
    card = make_card(
        generator,
        name=args.name or args.style.stem,
        precision=args.precision,
        title=args.title,
        description=args.description,
        licence=args.licence,
        trained_on=args.trained_on,
        recipe=recipe,
    )
    card = replace(card, net_pixels=args.net_pixels, quality=args.quality)
    report = export_style(generator, args.style, card=card, images=images, precision=args.precision)
    print(f"{report.path}: {report.bytes_written:,} bytes; torch and ONNX Runtime differ by {report.parity}")
    return 0


def _some_photos(folder: Path, *, count: int) -> list[Image]:
    """``count`` photos spread over the folder.

    Raises:
        TrainingError: none there.
    """
    from animevid_trainer.data.images import find_images, open_images

    if folder == Path():
        raise TrainingError("real photos are needed to compare with; give a folder with --photos")
    paths = find_images(folder)
    chosen = [paths[index * len(paths) // count] for index in range(min(count, len(paths)))]
    store = open_images(chosen, what="photos", longest_px=1024)
    return [store[index] for index in range(len(store))]


def _fill_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights", type=Path, help="AnimeGANv2 .pt/.pth, CartoonGAN or luma-unet .safetensors, .npy folder"
    )
    parser.add_argument("style", type=Path, metavar="STYLE.onnx")
    parser.add_argument("--reference", "--twin", type=Path, help="ONNX file of the same network, to compare with")
    parser.add_argument("--upsampling", choices=("half_pixel", "align_corners", "asymmetric"))
    _add_int8_flags(parser)
    _add_card_flags(parser)


def _run_import(args: argparse.Namespace) -> int:
    from animevid_trainer.importers import import_weights

    if args.photos is None:
        raise TrainingError("real photos are needed to compare with; give a folder with --photos")
    _check_int8_flags(args)
    images = _some_photos(args.photos, count=16)
    imported = import_weights(args.weights, reference=args.reference, images=images, upsampling=args.upsampling)
    if imported.parity is not None:
        print(f"{imported.name} agrees with {args.reference.name}: {imported.parity}")
    recipe = "distill" if imported.name == "luma-unet" else f"imported: {imported.name}"
    code = _export(imported.generator, args, photos=args.photos, recipe=recipe)
    return _quantize(args.style, args.photos, args) if args.int8 else code


COMMANDS = (
    Command(
        "export", "export a run as a style file and compare it with PyTorch on real photos", _fill_export, _run_export
    ),
    Command("import", "convert published weights to a style file", _fill_import, _run_import),
)
