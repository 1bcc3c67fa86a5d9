"""`animevid faces --align`: squares by eyes and mouth, as FFHQ's are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from animevid.errors import TrainingError
from animevid_trainer.cli import main
from animevid_trainer.face_alignment import OrientedSquare, aligned_square, sideways
from animevid_trainer.faces import CutSettings, LeftOut, cut_faces
from animevid_trainer.teachers.faces import Face, Landmarks

_DETECTOR = "weights/face_detection_full_range_sparse.tflite"
#: an upright face: eyes 60 px apart, the mouth 60 px below, so that FFHQ's square has sides of 240 px
_FACE = Landmarks((170, 200), (230, 200), (200, 238), (200, 260))
_SETTINGS = CutSettings(64, align=True)


def _detected(landmarks: Landmarks) -> Face:
    return Face(140, 150, 260, 290, 0.9, landmarks)


def _posed(degrees: float, scale: float = 1.0, move: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """``(2, 3)``: turns by ``degrees`` about (200, 200), scales and moves."""
    matrix = cv2.getRotationMatrix2D((200, 200), degrees, scale)
    matrix[:, 2] += move
    return matrix


def _at(matrix: np.ndarray, landmarks: Landmarks) -> Landmarks:
    return Landmarks(*(tuple(matrix @ (*point, 1)) for point in landmarks))


@pytest.fixture(scope="module")
def drawing() -> np.ndarray:
    """``(400, 400, 3)``: soft blots, different everywhere."""
    blots = np.random.default_rng(3).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    return cv2.resize(blots, (400, 400), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("pose", [(25, 1.0), (-40, 0.9, (8, -5)), (180, 1.0), (10, 1.6, (120, 150))])
def test_a_rotated_scaled_and_moved_face_is_cropped_alike(drawing, pose):
    matrix = _posed(*pose)
    # OpenCV's coordinates are zero at a pixel's centre, ours at its corner
    of_centres = np.column_stack((matrix[:, :2], matrix @ (0.5, 0.5, 1) - 0.5))
    moved = cv2.warpAffine(drawing, of_centres, (700, 700), flags=cv2.INTER_CUBIC)
    (upright,), _ = cut_faces(drawing, [_detected(_FACE)], _SETTINGS)
    (again,), _ = cut_faces(moved, [_detected(_at(matrix, _FACE))], _SETTINGS)
    assert upright.shape == (64, 64, 3)
    assert np.abs(upright.astype(int) - again).mean() < 1.5


@pytest.mark.parametrize("degrees", [0, 30])
def test_eyes_and_mouth_are_where_ffhqs_formula_puts_them(degrees):
    for point, expected in (
        (_FACE.right_eye, (0.375, 0.475)),
        (_FACE.left_eye, (0.625, 0.475)),
        (_FACE.mouth, (0.5, 0.725)),
    ):
        image = np.zeros((400, 400, 3), np.uint8)
        matrix = _posed(degrees)
        x, y = matrix @ (*point, 1)
        cv2.circle(image, (round((x - 0.5) * 16), round((y - 0.5) * 16)), 5 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        (face,), _ = cut_faces(image, [_detected(_at(matrix, _FACE))], CutSettings(256, align=True))
        ys, xs = np.mgrid[:256, :256] + 0.5
        weights = face[..., 0] / face[..., 0].sum(dtype=float)
        assert ((xs * weights).sum(), (ys * weights).sum()) == pytest.approx(np.array(expected) * 256, abs=0.5)


def test_the_longer_of_eye_distance_and_face_length_gives_the_size():
    long = _FACE._replace(mouth=(200, 300))
    assert aligned_square(_FACE).side_px == pytest.approx(2 * 2.0 * 60)
    assert aligned_square(long).side_px == pytest.approx(2 * 1.8 * 100)


def test_a_square_of_whole_pixels_is_copied_exactly(drawing):
    square = OrientedSquare(np.array((150.0, 140.0)), np.array((30.0, 0.0)))
    np.testing.assert_array_equal(square.resampled(drawing, 60), drawing[110:170, 120:180])
    assert square.relative([(120, 110), (180, 140)]).tolist() == [[0, 0], [1, 0.5]]
    lying = OrientedSquare(
        np.array((150.0, 140.0)), np.array((0.0, 30.0))
    )  # its right side is below, its top at the right
    assert lying.relative([(180, 110), (150, 170)]).tolist() == [[0, 0], [1, 0.5]]
    np.testing.assert_array_equal(lying.resampled(drawing, 60), np.rot90(drawing[110:170, 120:180]))


def test_a_shrunk_face_has_no_aliasing():
    checks = (np.indices((400, 400)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    matrix = _posed(17)
    (face,), _ = cut_faces(checks, [_detected(_at(matrix, _FACE))], CutSettings(24, align=True))
    assert np.abs(face.astype(int) - 127).max() < 12


def test_a_little_beyond_the_border_is_mirrored_and_more_is_left_out(drawing):
    for beyond_px, inside in ((20, True), (40, False)):  # of 240
        image = drawing[:, 80 + beyond_px :]
        face = _detected(_at(np.array([(1, 0, -80.0 - beyond_px), (0, 1, 0)]), _FACE))
        faces, left_out = cut_faces(image, [face], CutSettings(240, align=True))
        assert left_out == [] if inside else left_out == [LeftOut.BEYOND]
        if inside:
            np.testing.assert_array_equal(faces[0][:, beyond_px:][:, :beyond_px], faces[0][:, :beyond_px][:, ::-1])
    assert OrientedSquare(np.array((0.0, 400.0)), np.array((9.0, 9.0))).share_beyond((400, 400)) == pytest.approx(0.75)


@pytest.mark.parametrize("roll", [0, 35])
def test_a_face_turned_to_the_side_is_left_out(drawing, roll):
    # millimetres right, down and to the camera, as in a mean adult's head
    head = np.array([(-31, 0, 0), (31, 0, 0), (0, 45, 40), (0, 70, 25)])
    for yaw, is_turned in ((0, False), (-20, False), (20, False), (45, True), (-45, True)):
        c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
        seen = head @ np.array([(c, 0), (0, 1), (s, 0)]) + (200, 200)
        landmarks = _at(_posed(roll), Landmarks(*map(tuple, seen)))
        assert cut_faces(drawing, [_detected(landmarks)], _SETTINGS).left_out == [LeftOut.TURNED] * is_turned
    assert sideways(_FACE) == 0


def test_a_face_is_left_out_if_it_is_not_found_again_in_its_square(drawing):
    in_square = Landmarks(*((x * 192, y * 192) for x, y in aligned_square(_FACE).relative(_FACE)))
    elsewhere = in_square._replace(mouth=(in_square.mouth[0], in_square.mouth[1] - 45))
    looked_at = []

    def look(answer):
        return lambda image: looked_at.append(image) or answer

    for answer, left_out in (
        ([_detected(in_square)], []),
        ([], [LeftOut.UNSURE]),
        ([_detected(elsewhere)], [LeftOut.UNSURE]),
        ([_detected(elsewhere), _detected(in_square)], []),
    ):
        assert cut_faces(drawing, [_detected(_FACE)], _SETTINGS, detect=look(answer)).left_out == left_out
    (square,), _ = cut_faces(drawing, [_detected(_FACE)], replace(_SETTINGS, size_px=192))
    np.testing.assert_array_equal(looked_at[0], square)


def test_what_cannot_be_aligned_is_reported(drawing):
    with pytest.raises(TrainingError, match="gives no eyes and mouth"):
        cut_faces(drawing, [Face(140, 150, 260, 290, 0.9)], _SETTINGS)
    with pytest.raises(TrainingError, match="give --margin or --align"):
        CutSettings(64, margin=1.5, align=True)


@pytest.mark.shared
def test_real_portraits_are_aligned_in_a_style_and_those_left_out_are_counted(shared, tmp_path, capsys):
    photo = cv2.imread(str(shared / "photos/sfhq-accessories-top-10-12.jpg"))
    height, width = photo.shape[:2]
    tilted = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 0.8)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/upright.png"), photo)
    cv2.imwrite(str(tmp_path / "photos/tilted.png"), cv2.warpAffine(photo, tilted, (width, height)))
    smiling = "sfhq-expression-x-sex-top-10-20.jpg"  # in tiles of the square, an ear is found instead
    in_profile, close_up = "sfhq-hair-style-x-sex-top-10-02.jpg", "sfhq-lighting-top-10-02.jpg"  # only lips are found
    for name in (smiling, in_profile, close_up):
        (tmp_path / "photos" / name).symlink_to(shared / "photos" / name)

    def faces(folder: str, *flags: str) -> list[np.ndarray]:
        command = ["faces", str(tmp_path / "photos"), str(tmp_path / folder), "--detector", str(shared / _DETECTOR)]
        assert main([*command, "--size", "64", "--align", *flags]) == 0
        assert "3 faces in" in (said := capsys.readouterr().out)
        assert "left out: 1 turned to the side, 1 not found again in their square; 0 images have none" in said
        return [cv2.imread(str(tmp_path / folder / f"{name}-1.png")) for name in ("upright", "tilted")]

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a[8:56, 8:56].ravel(), b[8:56, 8:56].ravel())[0, 1])

    upright, aligned = faces("plain")
    assert correlation(upright, aligned) > 0.9
    drawn, _ = faces("drawn", "--style", "cel")
    assert drawn.shape == (64, 64, 3)
    assert correlation(upright, drawn) > 0.7
    assert np.abs(upright.astype(int) - drawn).mean() > 2

    for name in ("upright.png", "tilted.png", smiling):
        (tmp_path / "photos" / name).unlink()
    command = ["faces", str(tmp_path / "photos"), str(tmp_path / "none"), "--detector", str(shared / _DETECTOR)]
    assert main([*command, "--align"]) == 8
    assert "(left out: 1 turned to the side, 1 not found again" in capsys.readouterr().err
