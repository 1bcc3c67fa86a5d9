"""Teachers stylize photos; bad specifications are one-line errors; uniform images stay uniform."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from animevid.errors import TrainingError
from animevid_trainer.data.flats import dark_images, flat_images
from animevid_trainer.teachers import TEACHER_NAMES, Image, Teacher, open_teacher

CARTOONGAN = "weights/cartoongan_shinkai_fp16.safetensors"


def spec(name: str, shared: Path) -> str:
    """``name``, with its weights if it needs some."""
    if name == "bilateral":
        return name
    return f"{name}:{shared / (CARTOONGAN if name == 'cartoongan' else 'weights')}"


@pytest.fixture(scope="module")
def photo(shared: Path) -> Image:
    """A real photo, odd sides: ``(97, 141, 3)`` uint8 RGB."""
    path = sorted((shared / "photos").glob("*.jpg"))[0]
    image = cv2.imread(str(path))
    assert image is not None
    return np.ascontiguousarray(cv2.resize(image, (141, 97), interpolation=cv2.INTER_AREA)[..., ::-1])


@pytest.fixture(scope="module", params=["cartoongan", "aozora", "bilateral"])
def teacher(request: pytest.FixtureRequest, shared: Path) -> Teacher:
    return open_teacher(spec(str(request.param), shared))


@pytest.mark.shared
def test_a_teacher_draws_another_image_of_the_same_shape(teacher: Teacher, photo: Image) -> None:
    drawn = teacher(photo)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.uint8
    difference = np.abs(drawn.astype(int) - photo).mean()
    assert 2 < difference < 90  # changed, but recognizable


@pytest.mark.shared
def test_a_teacher_draws_the_same_image_each_time_and_leaves_the_photo_alone(teacher: Teacher, photo: Image) -> None:
    before = photo.copy()
    assert np.array_equal(teacher(photo), teacher(photo))
    assert np.array_equal(photo, before)


@pytest.mark.shared
def test_keys_tell_teachers_apart(shared: Path) -> None:
    teachers = [open_teacher(spec(name, shared)) for name in TEACHER_NAMES]
    assert len({teacher.key for teacher in teachers}) == len(TEACHER_NAMES)


@pytest.mark.shared
def test_a_bare_safetensors_file_is_a_cartoongan(shared: Path) -> None:
    assert open_teacher(str(shared / CARTOONGAN)).key == open_teacher(f"cartoongan:{shared / CARTOONGAN}").key


@pytest.mark.shared
def test_ctrl_c_after_networks_were_closed_is_an_interrupt(shared: Path) -> None:
    script = """if True:
        import signal, sys
        from pathlib import Path
        from animevid_trainer.teachers.faces import FaceDetector
        opened = [FaceDetector(Path(sys.argv[1])) for _ in range(2)]
        del opened[0], opened[0]
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
    """
    weights = shared / "weights/face_detection_full_range_sparse.tflite"
    done = subprocess.run(
        [sys.executable, "-c", script, weights], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@pytest.mark.shared
def test_weights_of_another_network_are_refused(shared: Path) -> None:
    with pytest.raises(TrainingError, match="is not a CartoonGAN generator"):
        open_teacher(f"cartoongan:{shared / 'weights/vgg16_conv1_1-conv4_3_fp16.safetensors'}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("monet", "allowed are aozora, ehon, cel, cartoongan, bilateral"),
        ("", "allowed are"),
        ("cartoongan", "needs weights; give cartoongan:FILE.safetensors"),
        ("aozora:", "needs weights; give aozora:FOLDER"),
        ("bilateral:file", "takes no file; give 'bilateral' alone"),
        ("cel:nowhere", "teacher weights in 'nowhere': no hed_bsds500_fp16.safetensors"),
        ("cartoongan:nowhere.safetensors", "'nowhere.safetensors' cannot be read"),
    ],
)
def test_a_specification_that_cannot_be_used_is_reported_in_one_line(given: str, message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        open_teacher(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flat_images_are_colours_and_gradients_and_the_same_for_a_seed() -> None:
    flats = flat_images(12, height=16, width=24, seed=4)
    assert all(flat.shape == (16, 24, 3) and flat.dtype == np.uint8 for flat in flats)
    assert not flats[0].any()
    assert (flats[6] == 255).all()
    assert np.ptp(flats[1].reshape(-1, 3), axis=0).max() == 0
    assert np.ptp(flats[1][0, 0]) == 0  # gray
    assert np.ptp(flats[3]) >= 250  # a ramp from black to white
    assert all(np.array_equal(a, b) for a, b in zip(flats, flat_images(12, height=16, width=24, seed=4), strict=True))
    assert not np.array_equal(flats[2], flat_images(3, height=16, width=24, seed=5)[2])


def test_dark_images_are_uniform_dark_and_half_of_them_gray() -> None:
    darks = np.stack([image.reshape(-1, 3) for image in dark_images(24, height=16, width=24)])
    assert darks.shape == (24, 384, 3)
    assert (darks == darks[:, :1]).all(), "uniform"
    assert darks.min() >= 1
    assert darks.max() <= 48
    assert len({tuple(image[0]) for image in darks}) > 18, "different from each other"
    assert (np.ptp(darks[::2, 0], axis=-1) == 0).all()
    assert (np.ptp(darks[1::2, 0], axis=-1) > 0).all()
