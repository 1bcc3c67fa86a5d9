"""Students: pixel weights, damaged inputs, and resumed runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.cli import main
from animevid_trainer.colourspace import rgb_to_packed
from animevid_trainer.distill.damage import as_next_frame, damaged
from animevid_trainer.distill.losses import StudentWeights, line_weight, perceptual_term, pixel_terms, steady_term
from animevid_trainer.distill.pairs import (
    HELD_OUT,
    Emphasis,
    _painted,
    held_out,
    in_training_order,
    paint_pairs,
    read_pairs,
)
from animevid_trainer.distill.run import SIZES, DistillSettings, distill
from animevid_trainer.distill.widen import widen
from animevid_trainer.generators.luma_unet import LumaUNet
from safetensors.torch import load_file

SHIPPED = Path(__file__).parents[2] / "trainer/styles/aozora-fast.safetensors"
PIXELS = StudentWeights(perceptual=0.0, adversarial=0.0)


def packed(luma: float, chroma: float = 0.0) -> torch.Tensor:
    return torch.cat((torch.full((1, 16, 8, 8), luma), torch.full((1, 8, 8, 8), chroma)), 1)


def test_chroma_counts_twice_as_much_as_luma() -> None:
    grey = packed(0.0)
    assert pixel_terms(packed(0.1), grey, grey)[0].item() == pytest.approx(0.1, rel=1e-5)
    assert pixel_terms(packed(0.0, 0.1), grey, grey)[0].item() == pytest.approx(0.2, rel=1e-5)


def test_a_line_that_only_the_teacher_drew_counts_most() -> None:
    plain = torch.zeros(1, 1, 32, 32)
    lined = plain.clone()
    lined[..., 16] = -0.5
    weight = line_weight(lined, plain)
    assert weight[..., 16].min() == pytest.approx(8.5)  # deeper than LINE_MAX
    assert weight[..., 4].max() == 1.0
    assert line_weight(lined, lined).max() == 1.0, "a line of the photo needs no weight"


def test_steps_count_where_the_teacher_is_flat_and_nowhere_else() -> None:
    stripes = torch.zeros(1, 24, 8, 8)
    stripes[:, 0:16:2] = 0.2
    flat = packed(0.0)
    assert pixel_terms(stripes, flat, flat)[2].item() > 0.05
    assert pixel_terms(stripes, stripes, flat)[2].item() == 0.0
    assert pixel_terms(flat, stripes, flat)[2].item() == 0.0, "a flatter result is no error"


def test_damage_keeps_the_photo_recognizable_and_differs_each_time() -> None:
    photo = np.repeat(np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    random = np.random.default_rng(1)
    versions = [damaged(photo, random) for _ in range(30)]
    assert all(version.shape == photo.shape and version.dtype == np.float32 for version in versions)
    off = [float(np.abs(version * 255 - photo).mean()) for version in versions]
    assert max(off) < 14
    assert sum(value > 0.5 for value in off) > 10
    assert len(set(off)) > 14


def test_held_out_photos_are_the_same_each_time_and_never_painted(tmp_path: Path) -> None:
    paths = [tmp_path / f"{group}-{index}.jpg" for group in ("scene", "coco", "sfhq") for index in range(60)]
    kept = held_out(paths)
    assert kept == held_out(list(reversed(paths)))
    assert len(kept) == HELD_OUT
    assert not set(kept) & set(in_training_order(paths)[:-HELD_OUT])


def test_too_few_photos_are_refused(tmp_path: Path, shared: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.png"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(TrainingError, match="are all held out"):
        paint_pairs(photos, shared / "weights", tmp_path / "pairs", looks=["aozora"])


def test_a_uniform_photo_is_painted_uniformly_and_black_and_white_stay() -> None:
    def uneven(photo: np.ndarray) -> np.ndarray:
        drawn = photo + np.uint8(9)
        drawn[:2] = 77  # a border, as networks leave one
        return drawn

    for code, expected in ((0, 0), (255, 255), (30, 39)):
        assert (_painted(np.full((12, 12, 3), code, np.uint8), uneven) == expected).all()  # type: ignore[arg-type]
    ramp = np.arange(144, dtype=np.uint8).repeat(3).reshape(12, 12, 3)
    assert np.array_equal(_painted(ramp, uneven), uneven(ramp))  # type: ignore[arg-type]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two photos of noise, and brighter versions as targets."""
    folder = tmp_path / "pairs"
    random = np.random.default_rng(2)
    for name in ("photos", "aozora"):
        (folder / name).mkdir(parents=True)
    for name in ("one", "flat0"):
        photo = cv2.resize(random.integers(0, 200, (12, 12, 3), np.uint8), (96, 96))
        cv2.imwrite(str(folder / "photos" / f"{name}.png"), photo)
        cv2.imwrite(str(folder / "aozora" / f"{name}.png"), photo + 40)
    return folder


def test_a_student_learns_and_the_run_goes_on_where_it_stopped(pairs: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "run", []
    settings = DistillSettings("aozora", batch=1, crop_px=64, steps=40, rate=0.05, weights=PIXELS)
    assert distill(pairs, out, settings, on_line=lines.append) == 40
    weights = load_file(out / "student.safetensors")
    student = LumaUNet()
    student.load_state_dict({name: value.float() for name, value in weights.items()})
    assert student(packed(0.0))[:, :16].mean() > 0.005, "brighter, like its teacher"
    longer = DistillSettings("aozora", batch=1, crop_px=64, steps=42, weights=PIXELS)
    assert distill(pairs, out, longer, on_line=lines.append) == 42
    assert any("step 40" in line for line in lines)


def test_a_run_of_the_earlier_optimizer_goes_on_with_a_fresh_one(pairs: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "run", []
    settings = DistillSettings("aozora", batch=1, crop_px=64, steps=2, weights=PIXELS)
    distill(pairs, out, settings)
    state = torch.load(out / "state.pt", weights_only=True)
    torch.save(state | {"optimizer": {"state": {}, "param_groups": []}}, out / "state.pt")
    assert distill(pairs, out, replace(settings, steps=3), on_line=lines.append) == 3
    assert "the saved run used AdamW; the optimizer starts anew" in lines


def test_a_run_reads_exaggerated_targets(pairs: Path) -> None:
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    read_pairs(pairs, "aozora", crop_px=64, known=known, emphasis=Emphasis(boldness=1.5))
    photo, target = known["one"]
    assert (target.astype(int) - photo == 60).all(), "the teacher is 40 brighter"


def test_all_terms_take_part(pairs: Path, tmp_path: Path, shared: Path) -> None:
    vgg = str(shared / "weights/vgg16_conv1_1-conv4_3_fp16.safetensors")
    settings = DistillSettings("aozora", batch=1, crop_px=64, steps=3)
    assert distill(pairs, tmp_path / "run", settings, perceptual_weights=vgg) == 3
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["their_optimizer"]["state"], "the discriminator has learned"


@pytest.mark.parametrize("weight", ["-1", "nan", "inf"])
def test_a_weight_below_zero_or_without_bound_is_one_line(weight: str, pairs: Path, capsys: Any) -> None:
    command = ["distill", "aozora", "--pairs", str(pairs), "--out", str(pairs / "run"), "--pixels-only", "--steps=1"]
    assert main([*command, f"--steady={weight}"]) == 8
    said = capsys.readouterr().err
    assert f"steady = {float(weight)}: a weight is 0 (left out) or more" in said
    assert len(said.splitlines()) == 1
    assert not (pairs / "run").exists()


def test_features_are_compared_at_both_scales() -> None:
    """A checkerboard vanishes at half scale, so the term is 0 there and large at full scale."""

    class Pixels:
        def features(self, image: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
            return dict.fromkeys(layers, image)

    board = (np.indices((32, 32)).sum(0) % 2 * 0.2).astype(np.float32)
    teacher = rgb_to_packed(torch.from_numpy(board).expand(1, 3, 32, 32).contiguous())
    random = np.random.default_rng(1)
    terms = {round(float(perceptual_term(Pixels(), packed(0.1), teacher, random)), 1) for _ in range(12)}
    assert terms == {0.0, 2.0}


def test_weights_of_another_size_are_refused(pairs: Path, tmp_path: Path) -> None:
    settings = DistillSettings("aozora", batch=1, crop_px=64, steps=1, weights=PIXELS)
    high = DistillSettings("aozora", size="high", batch=1, crop_px=64, steps=1, weights=PIXELS)
    distill(pairs, tmp_path / "high", high)
    with pytest.raises(TrainingError, match=r"is of another network \(64 channels do not fit into 32\)"):
        distill(pairs, tmp_path / "new", settings, start_from=tmp_path / "high" / "student.safetensors")
    with pytest.raises(TrainingError, match="is of another network"):
        distill(pairs, tmp_path / "high", settings)


def test_a_large_run_starts_from_a_small_one(pairs: Path, tmp_path: Path) -> None:
    settings = DistillSettings("aozora", batch=1, crop_px=64, steps=1, rate=1e-9, weights=PIXELS)
    fast = tmp_path / "fast" / "student.safetensors"
    distill(pairs, fast.parent, settings, start_from=SHIPPED)
    distill(pairs, tmp_path / "high", replace(settings, size="high"), start_from=fast)
    high = LumaUNet(**SIZES["high"], line_convs=1)
    high.load_state_dict({name: v.float() for name, v in load_file(tmp_path / "high/student.safetensors").items()})
    small = LumaUNet(line_convs=1)
    small.load_state_dict({name: v.float() for name, v in load_file(fast).items()})
    assert (high(packed(0.2)) - small(packed(0.2))).abs().max() < 0.01


def test_the_target_exaggerates_the_teacher() -> None:
    photo = np.full((32, 32, 3), 100, np.uint8)
    even = np.full((32, 32, 3), (120, 80, 100), np.uint8)
    assert (Emphasis(sharpness=1.0, boldness=1.5)(photo, even) == (130, 70, 100)).all()
    edge = photo.copy()
    edge[:, 16:] = (160, 130, 190)
    assert (Emphasis(sharpness=0.0, boldness=1.0)(photo, edge) == edge).all()
    sharp = Emphasis(sharpness=1.0, boldness=1.0)(photo, edge).astype(int) - edge
    assert (sharp[:, 15] < -10).all()
    assert (sharp[:, 16] > 10).all()
    assert (sharp[:, 16, :1] == sharp[:, 16]).all()  # in luma only
    assert (sharp[:, :10] == 0).all()
    assert (sharp[:, 22:] == 0).all()


@pytest.mark.parametrize("given", [{"sharpness": -0.1}, {"sharpness": 4.1}, {"boldness": 0.4}, {"boldness": 2.1}])
def test_an_emphasis_out_of_range_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="allowed is 0"):
        Emphasis(**given)


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", "huge"), ("crop_px", 100), ("batch", 0), ("rate", 0.0), ("rate", -1.0), ("rate", float("nan"))],
)
def test_settings_that_no_run_can_have_are_refused(field: str, value: object) -> None:
    with pytest.raises(TrainingError, match=field):
        DistillSettings("aozora", **{field: value})


def test_a_still_scene_drawn_twice_costs_what_moves() -> None:
    still = packed(0.1)
    assert steady_term(still, still).item() == 0.0
    assert steady_term(packed(0.1), packed(0.2)).item() == pytest.approx(0.1, rel=1e-4)
    moving = still.clone()
    moving[:, 0] += 0.2  # one pixel of each cell: its gradients count, too
    assert steady_term(still, moving).item() > 0.2 / 16 * 1.5


def test_the_next_frame_has_other_grain_and_hardly_other_light() -> None:
    random = np.random.default_rng(1)
    photo = np.full((64, 64, 3), 0.5, np.float32)
    first, second = as_next_frame(photo, random), as_next_frame(photo, random)
    assert 0.004 < np.abs(first - second).mean() < 0.04
    assert abs(first.mean() - 0.5) < 0.012


def test_a_quarter_of_a_batch_is_seen_twice() -> None:
    assert DistillSettings("aozora", batch=8).repeated == 2
    assert DistillSettings("aozora", batch=8, weights=StudentWeights(steady=0.0)).repeated == 0


def test_an_equalized_student_draws_the_same_and_feeds_lines_in_the_photos_range() -> None:
    torch.manual_seed(1)
    student = LumaUNet()
    torch.nn.init.normal_(student.feed.weight, std=0.5)
    torch.nn.init.normal_(student.tail.weight, std=0.05)
    photo = torch.rand(1, 24, 16, 16) * 2 - 1
    before = student(photo)
    seen: list[float] = []
    student.enter.register_forward_hook(lambda module, given, output: seen.append(float(given[0].detach().abs().max())))
    student(photo)
    spread = [_range_spread(layer, student, photo) for layer in (student.head, student.chroma)]
    student.equalize([photo])
    after = student(photo)
    equalized = [_range_spread(layer, student, photo) for layer in (student.head, student.chroma)]
    assert equalized == pytest.approx(np.sqrt(spread), rel=0.02)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
    assert seen[0] > 1.5
    assert seen[-1] == pytest.approx(1.0, abs=1e-4)


def _range_spread(layer: torch.nn.Module, student: LumaUNet, photo: torch.Tensor) -> float:
    """The largest range of an input channel of ``layer``, relative to the median."""
    tops: list[torch.Tensor] = []
    handle = layer.register_forward_hook(
        lambda module, given, output: tops.append(given[0].detach().abs().amax((0, 2, 3)))
    )
    student(photo)
    handle.remove()
    return float(tops[0].max() / tops[0].median())


def test_a_widened_student_draws_the_same_and_its_copies_part() -> None:
    narrow = LumaUNet(line_convs=1)
    weights = {name: value.float() for name, value in load_file(SHIPPED).items()}
    narrow.load_state_dict(weights)
    wide = LumaUNet(**SIZES["high"], line_convs=1)
    widen(weights, wide)
    photo = torch.rand(1, 24, 32, 48) * 2 - 1
    drawn = wide(photo)
    assert (drawn - narrow(photo)).abs().max() < 1e-4
    drawn.square().mean().backward()
    gradient = wide.head.weight.grad
    assert gradient is not None
    copied = len(gradient) - 64
    assert (gradient[64:] - gradient[:copied]).abs().amax((1, 2, 3)).min() > 0, "copied weights must diverge"
