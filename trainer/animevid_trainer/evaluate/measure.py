"""Measures every figure of every candidate over the same photos."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from animevid_trainer.data.batches import tensor_of
from animevid_trainer.data.images import Image, shrink_to
from animevid_trainer.evaluate import images as figures
from animevid_trainer.evaluate.candidates import COST_SIZE, Candidate, Kind
from animevid_trainer.evaluate.columns import Column
from animevid_trainer.evaluate.distances import (
    ENOUGH_IMAGES,
    Features,
    cluster_probabilities,
    divergence_score,
    frechet_distance,
    kernel_distance,
    likeness,
)
from animevid_trainer.evaluate.evaluator import Evaluator, fit_probe
from animevid_trainer.evaluate.inception import Inception
from animevid_trainer.evaluate.standard import NO_STANDARD, STANDARD_COLUMNS, StandardFigures
from animevid_trainer.perceptual import Perceptual

log = logging.getLogger(__name__)

_FEATURE_PX = 224
# Longest side for comparing content: the feature network takes most of an evaluation's time.
_CONTENT_PX = 384
# For candidates slower than this, flicker is measured on fewer frames.
_SLOW_SECONDS = 0.5


_NOT_INCEPTION = "in the feature network's features"

COLUMNS: tuple[Column, ...] = (
    Column(
        "content", "content distance", "feature distance to the photo over the photo's own size; 0 is the photo", -1
    ),
    Column("likeness", "anime-likeness", "0 like photos, 1 like the art: d(photos) / (d(photos) + d(art))", +1),
    *STANDARD_COLUMNS,
    Column(
        "evaluator_drawn", "evaluator: drawn", "share that a network not used in training classifies as drawings", +1, 2
    ),
    Column(
        "evaluator_likeness",
        "evaluator: anime-likeness",
        "probability of art rather than photo, by a linear probe on the evaluator's features",
        +1,
    ),
    Column(
        "judged_kernel_art",
        "evaluator: kernel distance to art",
        "kernel distance to the art in the evaluator's features, x 1000",
        -1,
        1,
    ),
    Column("judged_frechet_art", "evaluator: Fréchet to art", "Fréchet distance in the evaluator's features", -1, 1),
    Column("kernel_art", "kernel distance to art", f"to the art, x 1000; {_NOT_INCEPTION}, no KID", -1, 1),
    Column("kernel_photos", "kernel distance to photos", f"to the photos, x 1000; {_NOT_INCEPTION}, no KID", 0, 1),
    Column("frechet_art", "Fréchet to art", f"Fréchet distance to the art; {_NOT_INCEPTION}, no FID", -1, 1),
    Column("frechet_photos", "Fréchet to photos", f"Fréchet distance to the photos; {_NOT_INCEPTION}, no FID", 0, 1),
    Column("variety", "variety", "exp KL over clusters of the reference's features; higher: more varied", +1, 2),
    Column("line_contrast", "line contrast", "99th percentile of the luma gradient", +1),
    Column("line_sparsity", "line sparsity", "Hoyer: 1 if few pixels carry all edges", +1),
    Column(
        "edge_sharpness", "edge sharpness", "gradient of edges over that of the same edges blurred by 1.5 px", +1, 2
    ),
    Column("total_variation", "total variation", "mean difference of neighbours", 0),
    Column("flatness", "region texture", "texture inside flat regions over the photo's; below 1 is flatter", -1, 2),
    Column("lightness_shift", "lightness shift", "mean |dL| of 16-px blocks, CIE Lab", -1, 1),
    Column("chroma_shift", "chroma shift", "mean |d(a, b)| of 16-px blocks, CIE Lab", -1, 1),
    Column("grid", "grid, dB", "strength of periods of 2, 4, 8 px above the spectrum; 0: no grid", -1, 1),
    Column("flat_texture", "texture on gray", "deviation of the output of a flat gray frame, code values", -1, 2),
    Column("flicker_noise", "flicker (noise)", "change of the output over the photo's under sensor noise", -1, 2),
    Column("flicker_clip", "flicker (clip)", "the same in static areas of a real clip, converted as a clip", -1, 2),
    Column("milliseconds", "ms a frame", f"one {COST_SIZE[1]}x{COST_SIZE[0]} frame on this machine, median", -1, 1),
    Column("parameters", "parameters", "trained numbers", 0, 0),
    Column("mmacs", "MMAC", f"million multiply-accumulates at {COST_SIZE[1]}x{COST_SIZE[0]}", -1, 0),
    Column("kilobytes", "KB", "file size", -1, 0),
)


@dataclass(frozen=True)
class Row:
    """One candidate's figures (NaN if one does not apply) and its images of the shown photos."""

    label: str
    note: str
    figures: dict[str, float]
    images: list[Image] = field(repr=False)
    kind: Kind = "style"


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation and how they were measured. ``warnings``: limits of the figures.

    ``standard``: how FID, KID and the Inception Score were computed, or why they are missing.
    """

    rows: list[Row]
    photos: list[Image] = field(repr=False)
    photo_count: int
    art_count: int
    network: str
    warnings: list[str]
    standard: str = NO_STANDARD


def feature_vectors(images: Iterable[Image], network: Perceptual) -> Features:
    """Compute features (n, d) of squares of each image at 224 px: the deepest layer, averaged over space."""
    layer = network.layers[-1]
    rows: list[Features] = []
    for image in images:
        views = [cv2.resize(view, (_FEATURE_PX, _FEATURE_PX), interpolation=cv2.INTER_AREA) for view in _views(image)]
        with torch.no_grad():
            found = network.features(tensor_of([np.asarray(view, np.uint8) for view in views]), (layer,))[layer]
        rows.append(found.mean((2, 3)).double().numpy())
    return np.concatenate(rows)


def _views(image: Image) -> list[Image]:
    """Return the largest square at each end of the longer side, and the middle at twice the scale."""
    height, width = image.shape[:2]
    side = min(height, width)
    middle = image[(height - side // 2) // 2 :, (width - side // 2) // 2 :][: side // 2, : side // 2]
    return [image[:side, :side], image[height - side :, width - side :], middle]


def content_features(image: Image, network: Perceptual) -> Tensor:
    """Compute the network's default layer, (1, C, h, w), of the image shrunk to a longest side of 384 px."""
    with torch.no_grad():
        return network.features(tensor_of([shrink_to(image, _CONTENT_PX)]))[network.default_layer].float()


def content_distance(photo: Tensor, output: Tensor) -> float:
    """Return mean |F(output) - F(photo)| / mean |F(photo)| of two results of :func:`content_features`."""
    return float((output - photo).abs().mean() / photo.abs().mean())


def evaluate_candidates(
    candidates: Iterable[Candidate],
    photos: Sequence[Image],
    art: Sequence[Image],
    network: Perceptual,
    *,
    clip: Sequence[Image] = (),
    evaluator: Evaluator | None = None,
    inception: Inception | None = None,
    training_photos: Iterable[Image] = (),
    shown_photos: int = 12,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Run every candidate on ``photos`` and measure it. ``clip``: successive frames for flicker, all of one size.

    Fits ``evaluator``'s probe on ``art`` and ``training_photos``, which must not contain any of ``photos``. FID, KID
    and the Inception Score need ``inception``.

    Raises:
        TrainingError: too little art or too few training photos for the probe.
    """
    warnings: list[str] = []
    fewest = min(len(photos), len(art)) if art else len(photos)
    if fewest < ENOUGH_IMAGES:
        warnings.append(
            f"{len(photos)} photos and {len(art)} art images: below {ENOUGH_IMAGES}, Fréchet distances are biased "
            "upwards and comparable only among the candidates of this table; kernel distances are unbiased but noisy"
        )
    photo_features = feature_vectors(photos, network)
    # The kernel's cube and the Fréchet distance depend on the features' scale: normalize it to that of the photos.
    unit = float(np.sqrt((photo_features**2).mean()))
    photo_features /= unit
    art_features = feature_vectors(art, network) / unit if len(art) > 1 else None
    contents = [content_features(photo, network) for photo in photos]
    evaluation = None if evaluator is None else _Evaluation(evaluator, training_photos, art)
    if evaluation is not None:
        warnings.append(evaluation.note)
    standard = None if inception is None else StandardFigures(inception, photos, art)
    rows = []
    for candidate in candidates:
        outputs: list[Image] = []
        for index, photo in enumerate(photos):
            outputs.append(candidate.stylize(photo))
            if on_progress is not None:
                on_progress(candidate.label, index + 1, len(photos))
        measured = _measure_images(photos, outputs, contents, network)
        measured |= _measure_sets(feature_vectors(outputs, network) / unit, photo_features, art_features)
        measured |= {} if evaluation is None else evaluation(outputs)
        measured |= {} if standard is None else standard(outputs)
        cost = _measure_cost(candidate)
        few = cost["milliseconds"] > 1000.0 * _SLOW_SECONDS
        measured |= _measure_stability(candidate, photos[: 2 if few else 8], clip[: 3 if few else None], seed=seed)
        measured |= cost
        rows.append(Row(candidate.label, candidate.note, measured, outputs[:shown_photos], candidate.kind))
    precision = "bf16" if network.compute_dtype == torch.bfloat16 else "fp32"
    described = f"{network.name}, {network.layers[-1]} (content: {network.default_layer}), {precision}"
    for warning in warnings:
        log.warning("%s", warning)
    said = NO_STANDARD if standard is None else standard.note
    return Evaluation(rows, list(photos[:shown_photos]), len(photos), len(art), described, warnings, said)


class _Evaluation:
    """Computes figures with ``evaluator`` for a set of images, compared with art and training photos."""

    def __init__(self, evaluator: Evaluator, training_photos: Iterable[Image], art: Sequence[Image]) -> None:
        self._evaluator = evaluator
        self._art = evaluator(art).features if art else np.empty((0, 1))
        photos = list(training_photos)
        self._probe = fit_probe(evaluator(photos).features if photos else np.empty((0, 1)), self._art)
        self.note = (
            f"evaluator: {evaluator.name}; its probe was fitted on {len(art)} art images and {len(photos)} training "
            f"photos and classifies {self._probe.accuracy:.0%} of unseen ones correctly (cross-validated)"
        )

    def __call__(self, images: Sequence[Image]) -> dict[str, float]:
        opinion = self._evaluator(images)
        return {
            "evaluator_drawn": float(opinion.drawn.mean()),
            "evaluator_likeness": self._probe(opinion.features),
            "judged_kernel_art": 1000.0 * kernel_distance(opinion.features, self._art),
            "judged_frechet_art": frechet_distance(opinion.features, self._art),
        }


def _measure_images(
    photos: Sequence[Image], outputs: Sequence[Image], contents: Sequence[Tensor], network: Perceptual
) -> dict[str, float]:
    each: list[dict[str, float]] = []
    for photo, output, content in zip(photos, outputs, contents, strict=True):
        lightness, chroma = figures.colour_shift(photo, output)
        each.append(
            {
                "content": content_distance(content, content_features(output, network)),
                "line_contrast": figures.line_contrast(output),
                "line_sparsity": figures.line_sparsity(output),
                "edge_sharpness": figures.edge_sharpness(output),
                "total_variation": figures.total_variation(output),
                "flatness": figures.flatness(photo, output),
                "lightness_shift": lightness,
                "chroma_shift": chroma,
                "grid": figures.grid_strength(output),
            }
        )
    return {key: float(np.mean([row[key] for row in each])) for key in each[0]}


def _measure_sets(output: Features, photos: Features, art: Features | None) -> dict[str, float]:
    found = {
        "kernel_photos": 1000.0 * kernel_distance(output, photos),
        "frechet_photos": frechet_distance(output, photos),
        "variety": divergence_score(cluster_probabilities(output, photos if art is None else art)),
    }
    if art is not None:
        found |= {
            "kernel_art": 1000.0 * kernel_distance(output, art),
            "frechet_art": frechet_distance(output, art),
            "likeness": likeness(output, photos, art),
        }
    return found


def _measure_stability(
    candidate: Candidate, photos: Sequence[Image], clip: Sequence[Image], *, seed: int
) -> dict[str, float]:
    random = np.random.default_rng(seed)
    under_noise = []
    for photo in photos:
        reference = figures.disturbed(photo, random)
        under_noise.append(figures.flicker(photo, reference, candidate.stylize(photo), candidate.stylize(reference)))
    gray = np.full((*COST_SIZE, 3), 128, np.uint8)
    # Ignore the outermost pixels: artefacts at the border are not texture.
    flat = candidate.stylize(gray)[16:-16, 16:-16].astype(np.float64)
    found = {
        "flicker_noise": float(np.nanmean(under_noise)) if np.isfinite(under_noise).any() else float("nan"),
        "flat_texture": float(flat.reshape(-1, 3).std(0).mean()),
    }
    if len(clip) > 1:
        animate = candidate.animate or (lambda frames: [candidate.stylize(frame) for frame in frames])
        outputs = animate(clip)
        pairs = zip(clip, clip[1:], outputs, outputs[1:], strict=False)
        between = [figures.flicker(*pair) for pair in pairs]
        found["flicker_clip"] = float(np.nanmean(between)) if np.isfinite(between).any() else float("nan")
    return found


def _measure_cost(candidate: Candidate, *, repeats: int = 3) -> dict[str, float]:
    # It has drawn every photo already, so it needs no warm-up.
    frame = np.random.default_rng(0).integers(0, 256, (*COST_SIZE, 3), np.uint8)
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < 4 * _SLOW_SECONDS:
        started = time.perf_counter()
        candidate.stylize(frame)
        seconds.append(time.perf_counter() - started)
    found = {"milliseconds": 1000.0 * float(np.median(seconds))}
    if candidate.parameters is not None:
        found["parameters"] = float(candidate.parameters)
    if candidate.macs is not None:
        found["mmacs"] = candidate.macs / 1e6
    if candidate.file_bytes is not None:
        found["kilobytes"] = candidate.file_bytes / 1000.0
    return found


def read_clip(path: Path, *, frames: int = 12, longest_px: int = 480) -> list[Image]:
    """Read the first ``frames`` frames of a video, uint8 RGB, shrunk to even sides of at most ``longest_px``."""
    import av

    found: list[Image] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            scale = min(1.0, longest_px / max(frame.width, frame.height))
            width, height = (max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height))
            rgb = frame.to_ndarray(format="rgb24")
            found.append(np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
            if len(found) == frames:
                break
    return found
