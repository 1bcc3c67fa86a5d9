"""Every look on real photos: no lines in skies, letters and eyes kept, grays neutral, stable under grain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from animevid_trainer.teachers import Analyst, Image, LookTeacher, open_looks
from animevid_trainer.teachers.look import LOOKS
from animevid_trainer.teachers.painting import areas, ink

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def looks(shared: Path) -> dict[str, LookTeacher]:
    return open_looks(tuple(LOOKS), shared / "weights")


@pytest.fixture(scope="module")
def analyst(shared: Path) -> Analyst:
    return Analyst(shared / "weights")


@pytest.fixture(scope="module")
def photos(shared: Path) -> dict[str, Image]:
    names = {"sky": "scene-fields7.jpg", "city": "scene-city2.jpg", "portrait": "sfhq-accessories-top-10-03.jpg"}
    found = {}
    for key, name in names.items():
        image = cv2.imread(str(shared / "photos" / name))
        assert image is not None
        scale = 256 / max(image.shape[:2])
        found[key] = np.ascontiguousarray(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1]
        )
    return found


def luma(image: Image) -> np.ndarray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def contrast(image: Image, sigma_px: float) -> np.ndarray:
    light = luma(image)
    return np.asarray(light - cv2.GaussianBlur(light, (0, 0), sigma_px), np.float32)


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("look", LOOKS)
def test_no_ink_lies_in_a_sky(analyst: Analyst, photos: dict[str, Image], look: str) -> None:
    analysis = analyst(photos["sky"])
    lines = ink(analysis, LOOKS[look], analysis.fine[..., 0] / 100)
    assert lines[4:40].max() < 0.1, "clouds have no contours"
    assert lines[40:].max() > 0.5, "but what is below them has"


@pytest.mark.parametrize("look", LOOKS)
def test_letters_of_twelve_pixels_stay_legible(looks: dict[str, LookTeacher], look: str) -> None:
    wall = np.random.default_rng(1).normal((203, 196, 186), 1.5, (48, 176, 3)).clip(0, 255).astype(np.uint8)
    written = cv2.putText(
        wall.copy(), "Open 24 hours", (10, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.62, (40, 44, 60), 1, cv2.LINE_AA
    )
    drawn = looks[look](written)
    assert likeness(contrast(written, 4), contrast(drawn, 4)) > 0.8


@pytest.mark.parametrize("look", LOOKS)
def test_an_even_wall_with_grain_gets_no_strokes(looks: dict[str, LookTeacher], look: str) -> None:
    wall = np.random.default_rng(1).normal((203, 196, 186), 1.5, (64, 96, 3)).clip(0, 255).astype(np.uint8)
    inside = slice(8, -8), slice(8, -8)
    assert contrast(looks[look](wall), 4)[inside].min() > contrast(wall, 4)[inside].min() - 2


@pytest.mark.parametrize("look", LOOKS)
def test_a_face_keeps_its_eyes_and_mouth(looks: dict[str, LookTeacher], photos: dict[str, Image], look: str) -> None:
    portrait = photos["portrait"]
    height, width = portrait.shape[:2]
    face = slice(int(0.25 * height), int(0.7 * height)), slice(int(0.25 * width), int(0.75 * width))
    assert likeness(contrast(portrait, 8)[face], contrast(looks[look](portrait), 8)[face]) > 0.8


@pytest.mark.parametrize("look", LOOKS)
def test_gray_things_stay_nearly_gray(looks: dict[str, LookTeacher], photos: dict[str, Image], look: str) -> None:
    def chroma(image: Image) -> np.ndarray:
        lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 4).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return np.hypot(lab[..., 1], lab[..., 2])

    gray = chroma(photos["city"]) < 4
    assert gray.mean() > 0.1
    assert chroma(looks[look](photos["city"]))[gray].mean() < 7


@pytest.mark.parametrize("look", LOOKS)
def test_nearly_black_has_no_tint(looks: dict[str, LookTeacher], look: str) -> None:
    drawn = np.median(looks[look](np.full((48, 64, 3), 8, np.uint8)), axis=(0, 1))
    assert np.ptp(drawn) <= 3, "shadows are blue, black is not"


def test_cel_flattens_foliage_less_than_the_rest(analyst: Analyst, photos: dict[str, Image]) -> None:
    analysis, cel = analyst(photos["sky"]), LOOKS["cel"]
    drawn, flat = (areas(analysis, look)[..., 0] for look in (cel, replace(cel, leaves=None)))
    leaves = analysis.leafy > 0.5
    assert leaves.mean() > 0.05
    fine, coarse = (np.abs(image - cv2.GaussianBlur(image, (0, 0), 2))[leaves].mean() for image in (drawn, flat))
    assert fine > 1.03 * coarse, "leaves keep their shapes"
    assert np.array_equal(drawn[analysis.leafy == 0], flat[analysis.leafy == 0])


def test_grain_and_a_shift_change_little(looks: dict[str, LookTeacher], photos: dict[str, Image]) -> None:
    city = photos["city"]
    drawn = looks["aozora"](city).astype(int)
    grain = np.random.default_rng(1).normal(0, 2, city.shape)
    noisy = looks["aozora"](np.clip(city + grain, 0, 255).round().astype(np.uint8)).astype(int)
    assert np.abs(noisy - drawn).mean() < 2, "the input has 1.6 codes of grain"
    moved = looks["aozora"](np.ascontiguousarray(city[:, 8:])).astype(int)
    assert np.abs(moved[16:-16, 16:-16] - drawn[16:-16, 24:-16]).mean() < 2
