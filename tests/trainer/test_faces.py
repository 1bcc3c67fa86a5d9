"""`animevid faces`, `train` from noise and `sample`, as used by a user."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from animevid_trainer import faces as cutting
from animevid_trainer.cli import main
from animevid_trainer.faces import CutSettings, LeftOut, cut_faces
from animevid_trainer.sampling import SampleSettings, draw_styles, sample_grid, walk
from animevid_trainer.teachers.faces import Face, Landmarks
from small_runs import images

_DETECTOR = "weights/face_detection_full_range_sparse.tflite"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A DCGAN, trained for three steps on blobs."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "faces").mkdir()
    for index, image in enumerate(images(6, 1, side_px=40)):
        cv2.imwrite(str(folder / "faces" / f"{index}.png"), image)
    assert main(_train(folder / "faces", folder / "run")) == 0
    return folder / "run"


def _train(faces: Path, out: Path, *more: str) -> list[str]:
    numbers = ["data.crop_px=32", "data.batch=4", "generator_options.width=4", "discriminator_options.width=4"]
    sets = [flag for number in numbers for flag in ("--set", number)]
    return ["train", "dcgan", "--art", str(faces), "--out", str(out), "--steps", "3", *sets, *more]


def test_training_takes_faces_alone_draws_a_grid_and_says_what_helps_few(run, tmp_path, capsys):
    assert main(_train(run.parent / "faces", tmp_path / "again")) == 0
    said = capsys.readouterr().out
    assert "faces        6 to learn from" in said
    assert "fewer than 10,000 faces" in said
    assert "+ada" in said
    assert "portraits" not in said
    samples = cv2.imread(str(tmp_path / "again/samples/step-00000003.png"))
    assert samples.shape == (8 * 64 + 7 * 6, 8 * 64 + 7 * 6, 3)  # 64 samples, enlarged twice
    assert not np.array_equal(samples[:64, :64], samples[:64, 70:134])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "run"], "--art is missing: animevid train dcgan --art FACES --out RUN"),
        (["--art", ".", "--out", "run", "--photos", "."], "learns from --art alone: leave --photos out"),
    ],
)
def test_what_is_missing_or_too_much_is_reported(flags, message, capsys):
    assert main(["train", "dcgan", *flags]) == 8
    assert message in capsys.readouterr().err


def test_a_run_starts_from_another_with_both_of_its_networks(run, tmp_path):
    from animevid_trainer.checkpoint import load_checkpoint

    command = _train(run.parent / "faces", tmp_path / "next", "--start-from", str(run))
    command += ["--set", "phases.train.generator_lr=1e-12", "--set", "phases.train.discriminator_lr=1e-12"]
    assert main(command) == 0
    (_, old), (_, new) = (load_checkpoint(folder / "checkpoints/step-00000003") for folder in (run, tmp_path / "next"))
    for network in ("generator", "discriminator"):
        for name, parameter in old["networks"][network].items():
            if name.endswith("weight"):
                torch.testing.assert_close(new["networks"][network][name], parameter, rtol=0, atol=1e-9)


def test_a_seed_draws_the_same_grid_each_time_and_another_seed_another(run, tmp_path, capsys):
    def drawn(name: str, *flags: str) -> np.ndarray:
        assert main(["sample", str(run), str(tmp_path / name), "--grid", "4x2", *flags]) == 0
        return cv2.imread(str(tmp_path / name))

    first = drawn("a.png")
    assert first.shape == (2 * 64, 4 * 64, 3)
    assert np.array_equal(first, drawn("b.png"))
    assert not np.array_equal(first, drawn("c.png", "--seed", "2"))
    mean = drawn("d.png", "--truncation", "0")
    assert np.array_equal(mean[:64, :64], mean[64:, 192:])  # one face
    assert main(["sample", str(run), str(tmp_path / "a.png")]) != 0
    assert "exists" in capsys.readouterr().err


def test_a_walk_becomes_a_video_of_the_frames_that_were_asked_for(run, tmp_path):
    out = tmp_path / "walk.mp4"
    command = ["sample", str(run), str(out), "--grid", "2x1", "--samples", "3", "--interpolate", "4", "--fps", "12"]
    assert main(command) == 0
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 12
    assert len(frames) == 3 * 4
    assert frames[0].shape == (64, 128, 3)


def test_a_walk_goes_through_its_samples_and_comes_back(run):
    from animevid_trainer.stored_runs import load_any_generator

    generator = load_any_generator(run)
    settings = SampleSettings(3, columns=2, rows=1, scale=1, interpolate=5)
    frames = list(walk(generator, settings, samples=2))
    still = SampleSettings(3, columns=2, rows=2, scale=1)
    samples = sample_grid(generator, still)
    assert np.array_equal(np.concatenate((frames[0], frames[5])), samples)
    steps = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert max(steps) < 3 * np.mean(steps)  # no jump, also not at the end
    assert torch.equal(draw_styles(generator, 2, still), draw_styles(generator, 4, still)[:2])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--grid", "0x3"], "--grid '0x3': give columns x rows"),
        (["--truncation", "-1"], "truncation = -1.0: give 0"),
        (["--scale", "0"], "scale 0: give 1 or more"),
        (["--step", "77"], "has no checkpoint of step 77; there are 3"),
    ],
)
def test_what_sample_cannot_do_is_reported_and_nothing_is_written(run, tmp_path, flags, message, capsys):
    assert main(["sample", str(run), str(tmp_path / "out.png"), *flags]) == 8
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_generator_from_noise_is_no_style_and_a_style_draws_nothing(run, tmp_path, capsys):
    assert main(["export", str(run), str(tmp_path / "x.onnx")]) == 8
    assert "animevid sample" in capsys.readouterr().err
    assert main(["sample", str(tmp_path), str(tmp_path / "x.png")]) == 8
    assert "holds no checkpoint" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- faces


def test_a_face_is_cut_as_a_square_around_its_box_or_left_out():
    image = np.zeros((100, 120, 3), np.uint8)
    image[40:60, 50:70] = 255
    (face,), _ = cut_faces(image, [Face(50, 40, 70, 60, 0.9)], CutSettings(64, margin=2.0, smallest_px=10))
    assert face.shape == (64, 64, 3)
    white = np.argwhere(face[..., 0] > 127)
    assert white.min(0).tolist() == [16, 16]
    assert white.max(0).tolist() == [47, 47]
    settings = CutSettings(0, margin=2.0, smallest_px=30)
    at_the_edge, too_small = Face(5, 5, 45, 45, 0.9), Face(50, 40, 70, 60, 0.9)
    faces, left_out = cut_faces(image, [at_the_edge, too_small], settings)
    assert [face.shape for face in faces] == [(80, 80, 3)]
    assert left_out == [LeftOut.SMALL]
    assert cut_faces(image, [Face(-30, 5, 10, 45, 0.9)], settings) == ([], [LeftOut.BEYOND])
    close = Face(20, 10, 100, 90, 0.9)  # twice its box exceeds the image: the crop is limited to it
    assert [face.shape for face in cut_faces(image, [close], settings).faces] == [(100, 100, 3)]


@pytest.mark.shared
def test_faces_are_found_in_photos_and_cut_from_their_drawings(shared, tmp_path, capsys):
    names = ("sfhq-accessories-top-10-00", "sfhq-accessories-top-10-12")
    photos = [*(shared / "photos" / f"{name}.jpg" for name in names), next((shared / "photos").glob("budgie-*"))]
    (tmp_path / "photos").mkdir()
    for photo in photos:
        (tmp_path / "photos" / photo.name).symlink_to(photo)
    command = ["faces", str(tmp_path / "photos"), "--detector", str(shared / _DETECTOR), "--size", "64"]
    assert main([*command, str(tmp_path / "plain")]) == 0
    said = capsys.readouterr().out
    assert "1 images have none" in said
    assert main([*command, str(tmp_path / "drawn"), "--style", "cel"]) == 0
    for photo in photos[:2]:
        plain, drawn = (cv2.imread(str(tmp_path / kind / f"{photo.stem}-1.png")) for kind in ("plain", "drawn"))
        assert plain.shape == drawn.shape == (64, 64, 3)
        # the same place, chosen differently
        assert 2 < np.abs(plain.astype(int) - drawn).mean() < 60
        assert np.corrcoef(plain.ravel(), drawn.ravel())[0, 1] > 0.7
    assert main([*command[:2], "--detector", str(tmp_path / "no.tflite"), str(tmp_path / "x")]) == 8
    assert "no such file" in capsys.readouterr().err


def test_yunets_rows_become_boxes_with_eyes_nose_and_mouth(tmp_path, monkeypatch):
    sizes, seen = [], []

    class Network:
        def setInputSize(self, size):  # noqa: N802 (OpenCV's name)
            sizes.append(size)

        def detect(self, bgr):
            seen.append(bgr)
            return 1, None if len(seen) > 1 else np.array([[10, 20, 30, 40, *range(10), 0.9]], np.float32)

    monkeypatch.setattr(cutting.cv2.FaceDetectorYN, "create", lambda *_: Network())
    (tmp_path / "net.onnx").write_bytes(b"x")
    detect = cutting.open_detector(tmp_path / "net.onnx").of_any_size
    image = np.zeros((50, 80, 3), np.uint8)
    image[..., 0] = 255
    points = Landmarks((0, 1), (2, 3), (4, 5), (7, 8))  # the mouth is between its corners (6, 7) and (8, 9)
    assert detect(image) == [Face(10, 20, 40, 60, pytest.approx(0.9), points)]
    assert detect(image) == []
    assert sizes == [(80, 50)] * 2
    assert seen[0][..., 2].min() == 255  # OpenCV's order of colours


def test_a_file_that_is_no_network_is_reported(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"x")
    with pytest.raises(cutting.TrainingError, match="is no network that OpenCV reads"):
        cutting.open_detector(tmp_path / "net.onnx")


def test_a_detector_of_another_kind_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(cutting.TrainingError, match=r"YuNet .*MediaPipe"):
        cutting.open_detector(tmp_path / "net.pt")
