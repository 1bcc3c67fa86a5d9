"""Images become batches: read correctly, sampled reproducibly, edge-smoothed as in the papers."""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from animevid.errors import TrainingError
from animevid_trainer.data.batches import CropCache, Prefetcher, images_of, tensor_of
from animevid_trainer.data.brightness import balance, brightness_of, compensate_exposure, measure_style
from animevid_trainer.data.crops import CropSettings, draw_crop, prepare
from animevid_trainer.data.edge_smoothing import EdgeSmoothing, edge_band, edge_smooth, edge_smooth_ref, gray_of
from animevid_trainer.data.images import (
    UnreadableImageError,
    content_key,
    enlarge_to,
    find_images,
    open_images,
    read_image,
)
from animevid_trainer.data.sampler import SeededSampler
from animevid_trainer.data.split import split_by_name
from animevid_trainer.data.targets import target_of, target_path
from animevid_trainer.recipes import load_recipe, with_lengths, with_overrides
from animevid_trainer.run_data import DataSettings, make_plan_of, make_source, open_data
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import images, tiny_plan, tiny_source


def _save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def _exif_rotated(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF block that has only an orientation."""
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes((0, orientation, 0, 0)) + bytes(4)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


# ---------------------------------------------------------------------------------------------------- reading images


@pytest.mark.shared
def test_every_shared_photo_name_is_found_recursively_in_one_order(shared: Path, tmp_path: Path) -> None:
    first, second = sorted((shared / "photos").glob("*.jpg"))[:2]
    for name, photo in (("b/c/2.jpg", second), ("a/1.JPG", first)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).symlink_to(photo)
    (tmp_path / "a/notes.txt").write_text("no image")
    assert [path.name for path in find_images(tmp_path)] == ["1.JPG", "2.jpg"]


@pytest.mark.shared
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(shared: Path, tmp_path: Path, orientation: int, turns: int) -> None:
    photo = min((shared / "photos").glob("*.jpg"))
    turned = tmp_path / "turned.jpg"
    turned.write_bytes(_exif_rotated(photo.read_bytes(), orientation))
    assert (read_image(turned) == np.rot90(read_image(photo), turns)).all()


def test_gray_sixteen_bit_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    cv2.imwrite(str(tmp_path / "gray.png"), ramp)
    cv2.imwrite(str(tmp_path / "deep.png"), ramp.astype(np.uint16) * 257)
    transparent = np.dstack([np.zeros((64, 64, 3), np.uint8), ramp])
    cv2.imwrite(str(tmp_path / "sprite.png"), transparent)
    assert (read_image(tmp_path / "gray.png") == ramp[..., None]).all()
    assert (read_image(tmp_path / "deep.png") == ramp[..., None]).all()
    # Black at opacity a over white is 255 - a.
    assert (read_image(tmp_path / "sprite.png") == 255 - ramp[..., None]).all()


@pytest.mark.shared
@pytest.mark.parametrize("fault", ["empty", "cut short", "not an image"])
def test_a_file_that_is_no_whole_image_is_refused_by_name_and_fault(shared: Path, tmp_path: Path, fault: str) -> None:
    data = min((shared / "photos").glob("*.jpg")).read_bytes()
    bad = tmp_path / "bad.jpg"
    bad.write_bytes({"empty": b"", "cut short": data[: len(data) // 2], "not an image": b"<html>" * 99}[fault])
    with pytest.raises(UnreadableImageError, match=f"bad.jpg: {fault}"):
        read_image(bad)


def test_three_unreadable_files_in_forty_are_left_out_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index, image in enumerate(images(40, seed=5)):
        _save(tmp_path / f"{index:02d}.png", image)
    for index in (3, 17, 30):
        (tmp_path / f"{index:02d}.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        store = open_images(find_images(tmp_path), what="photos")
    assert len(store) == 37
    assert caplog.messages == [
        "left out 3 of 40 photos that cannot be read: 03.png: not an image; 17.png: not an image; 30.png: not an image"
    ]
    assert (store[3] == read_image(tmp_path / "04.png")).all()


def test_an_empty_folder_a_missing_one_and_one_of_rubbish_are_each_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no images .* give a folder with some"):
        find_images(tmp_path)
    with pytest.raises(TrainingError, match="is not a folder; give a folder of images"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "a.jpg").write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match=r"none of the 1 photos can be read \(a.jpg: not an image\); give images"):
        open_images(find_images(tmp_path), what="photos")


def test_images_beyond_the_memory_budget_are_read_again_and_are_the_same(tmp_path: Path) -> None:
    made = images(4, seed=6)
    paths = [_save(tmp_path / f"{index}.png", image) for index, image in enumerate(made)]
    store = open_images(paths, what="photos", budget_bytes=2 * made[0].nbytes)
    assert len(store._kept) == 2
    assert all((store[index] == made[index]).all() for index in range(4))


# --------------------------------------------------------------------------------------------------------------- split


def test_the_split_depends_on_names_alone() -> None:
    names = [Path(f"folder/photo{index}.jpg") for index in range(400)]
    training, validation = split_by_name(names, validation_fraction=0.1)
    assert 20 <= len(validation) <= 60
    assert not {path.name for path in training} & {path.name for path in validation}
    moved = [Path("elsewhere") / path.name for path in reversed(names)] + [Path("new.jpg")]
    again = split_by_name(moved, validation_fraction=0.1)[1]
    assert {path.name for path in again} - {"new.jpg"} == {path.name for path in validation}


def test_a_larger_validation_fraction_only_adds() -> None:
    names = [Path(f"{index}.jpg") for index in range(200)]
    small, large = (set(split_by_name(names, validation_fraction=fraction)[1]) for fraction in (0.05, 0.2))
    assert small < large


# ------------------------------------------------------------------------------------------------------ edge smoothing


@st.composite
def _drawings(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(12, 40)), draw(st.integers(12, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        start, end = (tuple(int(v) for v in random.integers(0, (width, height))) for _ in range(2))
        cv2.line(image, start, end, [int(v) for v in random.integers(0, 256, 3)], int(random.integers(1, 4)))
    return image


@settings(max_examples=30, deadline=None)
@given(image=_drawings(), kernel_px=st.sampled_from([3, 5, 7]))
def test_fast_edge_smoothing_is_the_pixel_loop_within_one_code(image: np.ndarray, kernel_px: int) -> None:
    smoothing = EdgeSmoothing(kernel_px=kernel_px)
    fast, slow = edge_smooth(image, smoothing), edge_smooth_ref(image, smoothing)
    assert np.abs(fast.astype(int) - slow.astype(int)).max() <= 1


@pytest.mark.shared
def test_edge_smoothing_softens_lines_of_art_and_leaves_everything_else_untouched(shared: Path) -> None:
    art = read_image(shared / "art/amica-bg-town1.jpg")[:256, :256]
    smooth, band = edge_smooth(art), edge_band(art) > 0
    assert 0.01 < band.mean() < 0.95
    assert (smooth[~band] == art[~band]).all()

    def steepness(image: np.ndarray) -> float:
        return float(np.abs(cv2.Laplacian(image, cv2.CV_32F))[band].mean())

    assert steepness(smooth) < 0.6 * steepness(art)


def test_gray_art_has_three_equal_channels_of_bt601_luma() -> None:
    gray = gray_of(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8))
    assert gray.tolist() == [[[76] * 3, [150] * 3, [29] * 3]]


# ---------------------------------------------------------------------------------------------------------- brightness


def test_balancing_removes_the_cast_of_a_whole_style() -> None:
    random = np.random.default_rng(0)
    style = [np.clip(random.normal((150, 120, 90), 10, (20, 20, 3)), 0, 255).astype(np.uint8) for _ in range(5)]
    statistics = measure_style(style)
    assert statistics.channel_offset == pytest.approx((-30, 0, 30), abs=1.5)
    after = measure_style([balance(image, statistics) for image in style])
    assert max(after.mean_rgb) - min(after.mean_rgb) < 1.0


@settings(deadline=None, max_examples=50)
@given(level=st.integers(5, 200))
def test_exposure_is_brightened_to_the_asked_brightness_or_as_far_as_the_gain_allows(level: int) -> None:
    image = np.full((8, 8, 3), level, np.uint8)
    image[0] = (0, 0, 0)
    image[1] = (255, 255, 255)
    before = brightness_of(image)
    brightened = compensate_exposure(image, lowest_brightness=110.0)
    wanted = before if before >= 110.0 else min(110.0, 2.0 * before)
    assert brightness_of(brightened) == pytest.approx(wanted, abs=1.5)
    assert (brightened[0] == 0).all()
    assert (brightened[1] == 255).all()


# ------------------------------------------------------------------------------------------------------ crops, samples


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), height=st.integers(10, 90), width=st.integers(10, 90), low=st.floats(0.1, 2.0))
def test_a_crop_lies_inside_its_image_and_has_its_size(seed: int, height: int, width: int, low: float) -> None:
    crop_settings = CropSettings(32, (low, low * 1.5))
    image = prepare(np.zeros((height, width, 3), np.uint8), crop_settings)
    crop = draw_crop(image, np.random.default_rng(seed), crop_settings)
    assert crop.top_px + crop.side_px <= image.shape[0]
    assert crop.left_px + crop.side_px <= image.shape[1]
    assert crop.of(image).shape == (32, 32, 3)


def test_scale_one_shows_the_images_own_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    crop = draw_crop(image, np.random.default_rng(2), CropSettings(32, (1.0, 1.0), flip=False))
    assert (crop.of(image) == image[crop.top_px :, crop.left_px :][:32, :32]).all()


def test_an_image_smaller_than_a_crop_is_enlarged_just_enough() -> None:
    assert enlarge_to(np.zeros((20, 50, 3), np.uint8), 32).shape == (32, 80, 3)
    assert enlarge_to(np.zeros((32, 50, 3), np.uint8), 32).shape == (32, 50, 3)


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    sampler = SeededSampler(50, 5, 1, "photos")
    epochs = [[sampler.index_of(n) for n in itertools.chain(*itertools.islice(sampler, 10))] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]


@settings(deadline=None, max_examples=50)
@given(position=st.integers(0, 10**9), seed=st.integers(0, 2**32))
def test_a_sampler_put_at_a_position_draws_what_it_would_have_drawn(position: int, seed: int) -> None:
    first, second = (SeededSampler(17, 4, seed, "art") for _ in range(2))
    first.load_state_dict({"position": position})
    numbers = first.draw()
    second.load_state_dict({"position": first.state_dict()["position"] - 4})
    assert [first.index_of(n) for n in numbers] == [second.index_of(n) for n in second.draw()]
    assert first.random_of(numbers[0]).random() == second.random_of(numbers[0]).random()


def test_photos_and_art_are_drawn_independently_and_seeds_differ() -> None:
    orders = {
        tuple(SeededSampler(40, 4, seed, stream).index_of(n) for n in range(40))
        for seed, stream in ((1, "photos"), (1, "art"), (2, "photos"))
    }
    assert len(orders) == 3


# ------------------------------------------------------------------------------------------------------------- batches


def test_a_batch_depends_on_its_step_alone() -> None:
    plan = tiny_plan("animegan", 30)
    forwards, backwards = tiny_source(plan), tiny_source(plan)
    steps = range(6)
    seen = {step: forwards.batch(step) for step in steps}
    for step in reversed(steps):
        again = backwards.batch(step)
        for name in ("photo", "target", "art", "art_gray", "smooth", "smooth_gray"):
            assert torch.equal(getattr(again, name), getattr(seen[step], name)), (step, name)


def test_a_target_is_cropped_exactly_as_its_photo() -> None:
    batch = tiny_source(tiny_plan("distill", 4)).batch(2)
    assert batch.target is not None
    # The targets are the photos' negatives; resampling may change a value by one code.
    assert float((batch.photo + batch.target).abs().max()) <= 2.1 / 127.5


def test_batches_are_float_in_minus_one_to_one_and_channels_last() -> None:
    batch = tiny_source(tiny_plan("animegan", 4)).batch(3)
    assert batch.photo.dtype == torch.float32
    assert batch.photo.is_contiguous(memory_format=torch.channels_last)
    assert -1.0 <= float(batch.photo.min()) < float(batch.photo.max()) <= 1.0
    assert batch.art_gray is not None
    assert torch.equal(batch.art_gray[:, 0], batch.art_gray[:, 2])


def test_images_survive_the_way_to_a_tensor_and_back() -> None:
    made = images(3, seed=8)
    assert all((back == image).all() for back, image in zip(images_of(tensor_of(made)), made, strict=True))


def test_phases_have_their_own_batch_and_crop_and_no_sample_is_skipped_between_them() -> None:
    plan = tiny_plan("animegan", 8)
    assert [len(tiny_source(plan).batch(step).photo) for step in (0, 1, 2)] == [2, 2, 4]
    assert [plan.at(step).sample_at(step) for step in range(5)] == [0, 2, 4, 8, 12]


def test_fixed_crops_return_under_their_names() -> None:
    source = tiny_source(tiny_plan("animegan", 40), art_crops=2)
    seen: dict[tuple[int, int], torch.Tensor] = {}
    for step in range(2, 12):
        batch = source.batch(step)
        assert batch.art is not None
        assert batch.art_keys is not None
        for key, art in zip(batch.art_keys, batch.art, strict=True):
            assert torch.equal(seen.setdefault(key, art), art)
    assert len(seen) == 6  # three drawings, two crops each


def test_the_crop_cache_stays_within_its_budget() -> None:
    cache = CropCache(3 * 300)
    for index in range(10):
        cache.put((index, 0, 10), (np.zeros((10, 10, 3), np.uint8),))
    assert len(cache._kept) == 3
    assert cache.get((9, 0, 10)) is not None
    assert cache.get((0, 0, 10)) is None


def test_the_prefetcher_gives_the_sources_batches_in_order_and_ends_its_thread() -> None:
    source = tiny_source(tiny_plan("animegan", 8))
    with Prefetcher(source, first_step=3, depth=2) as batches:
        got = list(itertools.islice(batches, 4))
        thread = batches._thread
    assert [batch.step for batch in got] == [3, 4, 5, 6]
    assert not thread.is_alive()


def test_an_error_while_preparing_a_batch_reaches_the_loop() -> None:
    source = tiny_source(tiny_plan("animegan", 8))
    source.photos.photos = []
    with Prefetcher(source, first_step=0) as batches, pytest.raises(IndexError):
        next(iter(batches))


# ------------------------------------------------------------------------------------------------------------- targets


def test_a_teacher_draws_each_photo_once_and_again_when_its_settings_change(tmp_path: Path) -> None:
    photo = images(1, seed=3)[0]
    calls: list[str] = []

    def negative(image: np.ndarray) -> np.ndarray:
        calls.append("drawn")
        return 255 - image

    for key in ("a", "a", "b"):
        assert (target_of(photo, negative, teacher_key=key, cache_folder=tmp_path) == 255 - photo).all()
    assert len(calls) == 2
    assert target_path(tmp_path, photo, "a") != target_path(tmp_path, photo, "b")


def test_a_damaged_target_is_drawn_again(tmp_path: Path) -> None:
    photo = images(1, seed=3)[0]
    path = target_path(tmp_path, photo, "a")
    path.parent.mkdir()
    path.write_bytes(b"half a file")
    assert (target_of(photo, lambda p: 255 - p, teacher_key="a", cache_folder=tmp_path) == 255 - photo).all()
    assert (read_image(path) == 255 - photo).all()


def test_what_an_image_shows_names_it_not_where_it_lies() -> None:
    image = images(1, seed=3)[0]
    assert content_key(image) == content_key(np.asfortranarray(image))
    assert content_key(image) != content_key(np.ascontiguousarray(image[:, ::-1]))


# ------------------------------------------------------------------------------------------------- folders to a source


def _folders(folder: Path, *, art: int = 3, side_px: int = 80) -> DataSettings:
    for index, image in enumerate(images(12, seed=1, side_px=side_px)):
        _save(folder / "photos" / f"{index}.png", image)
    for index, image in enumerate(images(art, seed=2, side_px=80)):
        _save(folder / "art" / f"{index}.png", image)
    return DataSettings(folder / "photos", folder / "art", validation_fraction=0.2, art_crops=2)


_RECIPE = with_lengths(with_overrides(load_recipe("animegan"), {"data.crop_px": 64}), steps=4, init_steps=2)


def test_validation_photos_are_never_trained_on(tmp_path: Path) -> None:
    data = open_data(_RECIPE, _folders(tmp_path))
    validation = {content_key(data.validation[index]) for index in range(len(data.validation))}
    training = {content_key(data.photos[index]) for index in range(len(data.photos))}
    assert validation
    assert training
    assert not validation & training


def test_a_recipe_and_two_folders_make_batches(tmp_path: Path) -> None:
    folders = _folders(tmp_path)
    data = open_data(_RECIPE, folders)
    plan = make_plan_of(_RECIPE, photos=len(data.photos))
    batch = make_source(_RECIPE, data, plan, folders).batch(3)
    assert batch.photo.shape == (4, 3, 64, 64)
    assert batch.smooth_gray is not None
    assert batch.smooth_gray.shape == batch.photo.shape


def test_one_art_image_and_photos_smaller_than_a_crop_are_each_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        open_data(_RECIPE, _folders(tmp_path, art=1, side_px=40))
    assert len(caplog.messages) == 2
    assert "photos are smaller than a crop (64 px) and are enlarged" in caplog.messages[0]
    assert caplog.messages[1].startswith("one art image only: the style will be that image's; give a few dozen")


def test_missing_art_and_a_missing_teacher_are_each_one_clear_line(tmp_path: Path) -> None:
    folders = replace(_folders(tmp_path), art=None)
    with pytest.raises(TrainingError, match="recipe 'animegan' learns from art; give a folder of drawings with --art"):
        open_data(_RECIPE, folders)
    with pytest.raises(TrainingError, match="recipe 'distill' learns from a teacher; give one with --teacher"):
        open_data(load_recipe("distill"), folders)


def test_photos_that_all_fall_into_the_validation_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"all 12 photos .* fall into the validation split"):
        open_data(_RECIPE, replace(_folders(tmp_path), validation_fraction=1.0))


def test_a_teacher_sees_each_photo_at_each_size(tmp_path: Path) -> None:
    folders = replace(_folders(tmp_path), target_sizes_px=(80, 48), target_cache=tmp_path / "targets")
    recipe = with_overrides(load_recipe("distill"), {"data.flat_images": 0})
    data = open_data(recipe, folders, teacher=lambda photo: 255 - photo, teacher_key="negative")
    assert data.targets is not None
    assert len(data.targets) == len(data.photos)
    assert sorted({image.shape[0] for image in data.targets}) == [48, 80]
    assert all((data.targets[i] == 255 - data.photos[i]).all() for i in range(len(data.targets)))
    assert len(os.listdir(next((tmp_path / "targets").iterdir()))) == len(data.targets)


def test_a_whole_crop_is_the_largest_square_of_the_image() -> None:
    settings = CropSettings(64, (0.9, 1.0), flip=False, whole=True)
    image = np.random.default_rng(1).integers(0, 256, (100, 140, 3), np.uint8)
    for seed in range(8):
        crop = draw_crop(image, np.random.default_rng(seed), settings)
        assert (crop.side_px, crop.top_px, crop.flipped) == (100, 0, False)
        assert crop.of(image).shape == (64, 64, 3)
