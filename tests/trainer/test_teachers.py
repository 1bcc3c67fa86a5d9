"""Teachers draw photos; bad specifications are told in one line; even pictures stay even."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from animevid.errors import TrainingError
from animevid_trainer.data.flats import flat_pictures
from animevid_trainer.teachers import TEACHER_NAMES, Picture, Teacher, open_teacher
from animevid_trainer.teachers.paint import l0_smooth, match_tones, soft_steps

WEIGHTS = "weights/cartoongan_shinkai_fp16.safetensors"
PAINTERS = ("cel", "bilateral")


@pytest.fixture(scope="module")
def photo(shared: Path) -> Picture:
    """A real photo, odd sides: ``(97, 141, 3)`` uint8 RGB."""
    path = sorted((shared / "photos").glob("*.jpg"))[0]
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.ascontiguousarray(cv2.resize(picture, (141, 97), interpolation=cv2.INTER_AREA)[..., ::-1])


@pytest.fixture(scope="module", params=["cartoongan", "aozora", *PAINTERS])
def teacher(request: pytest.FixtureRequest, shared: Path) -> Teacher:
    name = str(request.param)
    return open_teacher(name if name in PAINTERS else f"{name}:{shared / WEIGHTS}")


@pytest.mark.shared
def test_a_teacher_draws_another_picture_of_the_same_shape(teacher: Teacher, photo: Picture) -> None:
    drawn = teacher(photo)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.uint8
    difference = np.abs(drawn.astype(int) - photo).mean()
    assert 2 < difference < 90  # drawn, and still a picture of this


@pytest.mark.shared
def test_a_teacher_draws_the_same_picture_each_time_and_leaves_the_photo_alone(
    teacher: Teacher, photo: Picture
) -> None:
    before = photo.copy()
    assert np.array_equal(teacher(photo), teacher(photo))
    assert np.array_equal(photo, before)


@pytest.mark.shared
def test_keys_tell_teachers_apart(shared: Path) -> None:
    teachers = [open_teacher(name if name in PAINTERS else f"{name}:{shared / WEIGHTS}") for name in TEACHER_NAMES]
    assert len({teacher.key for teacher in teachers}) == len(TEACHER_NAMES)


@pytest.mark.shared
def test_a_bare_safetensors_file_is_a_cartoongan(shared: Path) -> None:
    assert open_teacher(str(shared / WEIGHTS)).key == open_teacher(f"cartoongan:{shared / WEIGHTS}").key


@pytest.mark.shared
def test_weights_of_another_network_are_refused(shared: Path) -> None:
    with pytest.raises(TrainingError, match="is not a CartoonGAN generator"):
        open_teacher(f"cartoongan:{shared / 'weights/vgg16_conv1_1-conv4_3_fp16.safetensors'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("monet", "allowed are cartoongan, aozora, cel, bilateral"),
        ("", "allowed are"),
        ("cartoongan", "needs weights; give cartoongan:FILE.safetensors"),
        ("aozora:", "needs weights; give aozora:FILE.safetensors"),
        ("cel:file.safetensors", "takes no file; give 'cel' alone"),
        ("cartoongan:nowhere.safetensors", "'nowhere.safetensors' cannot be read"),
    ],
)
def test_a_specification_that_cannot_be_used_is_told_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        open_teacher(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0, 255])
def test_cel_keeps_black_and_white(value: int) -> None:
    even = np.full((48, 64, 3), value, np.uint8)
    assert np.abs(open_teacher("cel")(even).astype(int) - value).max() <= 1


def test_cel_draws_neither_lines_nor_bands_on_even_pictures_and_gradients() -> None:
    cel = open_teacher("cel")
    for flat in flat_pictures(12, height=64, width=96)[::3]:
        drawn = cel(flat).astype(float)
        steps = max(np.abs(np.diff(drawn, axis=axis)).max() for axis in (0, 1))
        own = max(np.abs(np.diff(flat.astype(float), axis=axis)).max() for axis in (0, 1))
        assert steps <= 3 * own + 3


def test_l0_smoothing_flattens_areas_and_keeps_edges() -> None:
    random = np.random.default_rng(5)
    step = np.repeat(np.where(np.arange(64) < 32, 0.2, 0.8).astype(np.float32)[None], 48, 0)
    noisy = np.repeat((step + random.normal(0, 0.02, step.shape).astype(np.float32))[..., None], 3, 2)
    smooth = l0_smooth(noisy, strength=0.02)
    assert smooth[:, :28].std() < 0.5 * noisy[:, :28].std()
    assert smooth[:, 36:].mean() - smooth[:, :28].mean() == pytest.approx(0.6, abs=0.02)
    assert np.abs(smooth[:, 33] - smooth[:, 30]).min() > 0.5


def test_soft_steps_are_monotone_and_keep_the_ends() -> None:
    light = np.linspace(0, 1, 401, dtype=np.float32)
    steps = soft_steps(light, 6)
    assert (np.diff(steps) >= -1e-6).all()
    assert steps[0] == pytest.approx(0, abs=1e-6)
    assert steps[-1] == pytest.approx(1, abs=1e-6)


@pytest.mark.shared
def test_matched_tones_come_nearer_to_the_reference(photo: Picture) -> None:
    darker = (photo * 0.7).astype(np.uint8)
    matched = match_tones(darker, photo, lightness=1.0, chroma=1.0)
    assert abs(float(matched.mean()) - photo.mean()) < 0.4 * abs(float(darker.mean()) - photo.mean())


def test_flat_pictures_are_colours_and_gradients_and_the_same_for_a_seed() -> None:
    flats = flat_pictures(12, height=16, width=24, seed=4)
    assert all(flat.shape == (16, 24, 3) and flat.dtype == np.uint8 for flat in flats)
    assert not flats[0].any()
    assert (flats[6] == 255).all()
    assert np.ptp(flats[1].reshape(-1, 3), axis=0).max() == 0
    assert np.ptp(flats[1][0, 0]) == 0  # gray
    assert np.ptp(flats[3]) >= 250  # a ramp from black to white
    assert all(np.array_equal(a, b) for a, b in zip(flats, flat_pictures(12, height=16, width=24, seed=4), strict=True))
    assert not np.array_equal(flats[2], flat_pictures(3, height=16, width=24, seed=5)[2])
