"""Each figure is correct on images with a known answer; the page is self-contained."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from animevid.errors import UsageError
from animevid_trainer.data.images import read_image, shrink_to
from animevid_trainer.evaluate import images as figures
from animevid_trainer.evaluate.candidates import (
    Candidate,
    baselines,
    count_macs,
    count_onnx,
    identity,
    open_candidate,
    stylize_with,
)
from animevid_trainer.evaluate.distances import (
    cluster_probabilities,
    divergence_score,
    frechet_distance,
    kernel_distance,
    likeness,
)
from animevid_trainer.evaluate.measure import Evaluation, evaluate_candidates, feature_vectors
from animevid_trainer.evaluate.report import markdown_table, page_of, write_report
from animevid_trainer.generators import make_generator
from animevid_trainer.survey.votes import Vote
from hypothesis import given, settings
from hypothesis import strategies as st
from live_browser import chromium, why_no_chromium, write_camera_video
from small_runs import images, tiny_perceptual
from torch import nn


@pytest.fixture(scope="module")
def photo(shared: Path) -> np.ndarray:
    return shrink_to(read_image(min((shared / "photos").glob("coco-*.jpg"))), 256)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


# ------------------------------------------------------------------------------------------------------------- figures


@pytest.mark.shared
def test_blur_lowers_variation_contrast_and_sharpness(photo: np.ndarray) -> None:
    soft = _blur(photo, 2.0)
    for figure in (figures.total_variation, figures.line_contrast, figures.edge_sharpness):
        assert figure(soft) < 0.8 * figure(photo), figure.__name__


def test_total_variation_of_a_ramp_is_its_slope() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0)
    assert figures.total_variation(ramp) == pytest.approx(1 / 255)


def test_few_strong_lines_are_sparser_than_noise_and_a_flat_image_has_none() -> None:
    lines = np.full((128, 128, 3), 255, np.uint8)
    lines[:, 64] = 0
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    assert figures.line_sparsity(lines) > 0.8 > 0.4 > figures.line_sparsity(noise)
    assert figures.line_sparsity(np.zeros((16, 16, 3), np.uint8)) == 0.0


@pytest.mark.shared
def test_a_smoother_output_is_flatter_than_its_photo_and_an_added_texture_is_not(photo: np.ndarray) -> None:
    texture = np.random.default_rng(0).normal(0, 8, photo.shape)
    grainy = np.clip(photo + texture, 0, 255).astype(np.uint8)
    assert figures.flatness(photo, photo) == pytest.approx(1.0)
    assert figures.flatness(photo, cv2.bilateralFilter(photo, 9, 60, 9)) < 0.8
    assert figures.flatness(photo, grainy) > 1.1


@pytest.mark.shared
def test_colour_shift_tells_lightness_from_hue(photo: np.ndarray) -> None:
    lighter = np.clip(photo.astype(int) + 20, 0, 255).astype(np.uint8)
    swapped = np.ascontiguousarray(photo[..., ::-1])
    assert figures.colour_shift(photo, photo) == (0.0, 0.0)
    lightness, chroma = figures.colour_shift(photo, lighter)
    assert lightness > 2 * chroma
    assert figures.colour_shift(photo, swapped)[1] > 3.0


@pytest.mark.shared
@pytest.mark.parametrize("period_px", [2, 4, 8])
def test_a_faint_grid_stands_out_of_a_real_photo_which_has_none(photo: np.ndarray, period_px: int) -> None:
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    grid = 3.0 * np.cos(2 * np.pi * x / period_px) * np.cos(2 * np.pi * y / period_px)
    patterned = np.clip(np.rint(_blur(photo, 1.0) + grid[..., None]), 0, 255).astype(np.uint8)
    assert figures.grid_strength(_blur(photo, 1.0)) < 6.0
    assert figures.grid_strength(patterned) > figures.grid_strength(_blur(photo, 1.0)) + 4.0


@pytest.mark.shared
def test_flicker_is_one_for_doing_nothing_and_less_for_a_filter_that_damps_noise(photo: np.ndarray) -> None:
    reference = figures.disturbed(photo, np.random.default_rng(1))
    assert figures.flicker(photo, reference, photo, reference) == pytest.approx(1.0)
    assert figures.flicker(photo, reference, _blur(photo, 2.0), _blur(reference, 2.0)) < 0.5


@pytest.mark.shared
def test_flicker_is_unknown_where_nothing_stands_still(photo: np.ndarray) -> None:
    assert math.isnan(figures.flicker(photo, 255 - photo, photo, 255 - photo))


@pytest.mark.shared
def test_flicker_is_unknown_between_equal_frames(photo: np.ndarray) -> None:
    assert math.isnan(figures.flicker(photo, photo, photo, 255 - photo))


# ----------------------------------------------------------------------------------------------------------- distances


def test_frechet_distance_of_gaussians_is_the_formulas() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, (40_000, 3)), random.normal(2, 3, (40_000, 3))
    # |m|^2 = 3 * 4; tr(1 + 9 - 2 * 3) = 3 * 4.
    assert frechet_distance(first, second) == pytest.approx(24.0, rel=0.03)


def test_frechet_distance_matches_the_matrix_root_where_covariances_have_no_full_rank() -> None:
    from scipy.linalg import sqrtm

    random = np.random.default_rng(1)
    first, second = random.normal(size=(6, 20)), random.normal(1, 2, (9, 20))
    covariances = [np.cov(values, rowvar=False) for values in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(3, 20))
def test_frechet_distance_is_symmetric_and_zero_to_itself(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(count, 8)), random.normal(1, 2, (count, 8))
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-8)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


def test_kernel_distance_is_unbiased_between_halves_of_one_set_and_grows_with_a_shift() -> None:
    random = np.random.default_rng(2)
    same = [kernel_distance(*random.normal(size=(2, 30, 16))) for _ in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same)) + 1e-9
    near, far = (kernel_distance(random.normal(size=(30, 16)), random.normal(m, 1, (30, 16))) for m in (0.3, 1.0))
    assert near < far


def test_likeness_is_low_among_photos_and_high_among_art() -> None:
    random = np.random.default_rng(3)
    photos, art = random.normal(0, 1, (60, 16)), random.normal(2, 1, (60, 16))
    assert likeness(random.normal(0, 1, (60, 16)), photos, art) < 0.3
    assert likeness(random.normal(2, 1, (60, 16)), photos, art) > 0.7


def test_the_divergence_score_is_one_when_all_are_alike_and_the_number_of_classes_at_best() -> None:
    assert divergence_score(np.tile([0.2, 0.8], (10, 1))) == pytest.approx(1.0)
    assert divergence_score(np.eye(4).repeat(5, axis=0)) == pytest.approx(4.0, rel=1e-6)


def test_clusters_of_the_reference_serve_as_classes() -> None:
    random = np.random.default_rng(4)
    reference = np.concatenate([random.normal(centre, 0.1, (20, 3)) for centre in (0.0, 5.0, 10.0)])
    probabilities = cluster_probabilities(reference, reference, clusters=3)
    assert probabilities.sum(1) == pytest.approx(np.ones(60))
    one = cluster_probabilities(np.zeros((10, 3)), reference, clusters=3)
    assert divergence_score(one) == pytest.approx(1.0)


# ---------------------------------------------------------------------------------------------------------- candidates


def test_multiply_accumulates_are_those_worked_out_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, stride=2, padding=1, groups=4))
    assert count_macs(network, 16, 32) == 16 * 32 * 8 * 27 + 8 * 16 * 4 * 18


def test_a_network_runs_at_any_size_and_gives_the_same_size() -> None:
    network = make_generator("nano")
    from animevid_trainer.run_networks import as_rgb

    image = images(1, seed=1, side_px=64)[0][:45, :61]
    output = stylize_with(as_rgb(network).eval(), image, multiple=8)
    assert output.shape == image.shape
    # An untrained nano is the identity except for 4:2:0 colour.
    assert np.abs(output.astype(int) - image.astype(int)).mean() < 6


def test_an_exported_style_counts_what_its_network_counts(tmp_path: Path) -> None:
    from animevid_trainer.evaluate.candidates import COST_SIZE
    from animevid_trainer.export import make_card, to_onnx
    from animevid_trainer.run_networks import as_rgb

    network = make_generator("nano", width=8, deep_width=8)
    for parameter in network.parameters():
        nn.init.normal_(parameter)  # equal tensors, such as zeros, would be stored once
    parameters, macs = count_onnx(to_onnx(network, card=make_card(network, name="tiny")))
    assert parameters == pytest.approx(sum(p.numel() for p in network.parameters()), abs=8)
    assert macs == count_macs(as_rgb(network), *COST_SIZE)


def test_a_candidate_can_be_given_a_label_and_a_missing_one_is_named() -> None:
    with open_candidate("nothing=photo") as candidate:
        assert candidate.label == "nothing"
    with pytest.raises(UsageError, match=r"missing.onnx' is not a file; candidates are STYLE.onnx, a style's name"):
        open_candidate("missing.onnx").__enter__()


@pytest.mark.shared
def test_the_engine_runs_a_style_file_as_a_candidate(packed_style: Path, photo: np.ndarray) -> None:
    with open_candidate(str(packed_style)) as candidate:
        odd = photo[:101, :151]
        assert candidate.stylize(odd).shape == odd.shape


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    photos, art = images(4, seed=1, side_px=96), images(3, seed=2, side_px=96)
    candidates = [
        replace(identity(), label="photo"),
        Candidate("soft", lambda image: _blur(image, 2.0), 10, 2_000_000, 1000, "<b>a note</b>"),
    ]
    clip = [np.roll(photos[0], shift, axis=1) for shift in (0, 1, 2)]
    return evaluate_candidates(candidates, photos, art, tiny_perceptual(), clip=clip, shown_photos=2)


def test_doing_nothing_scores_as_nothing_done(evaluation: Evaluation) -> None:
    nothing = evaluation.rows[0].figures
    for key in ("content", "lightness_shift", "chroma_shift", "flat_texture"):
        assert nothing[key] == pytest.approx(0.0, abs=1e-6), key
    for key in ("flatness", "flicker_noise"):
        assert nothing[key] == pytest.approx(1.0), key
    assert nothing["likeness"] < 0.2


def test_a_filter_scores_as_what_it_does(evaluation: Evaluation) -> None:
    soft = evaluation.rows[1].figures
    assert soft["content"] > 0
    assert soft["flicker_noise"] < 0.7
    assert soft["mmacs"] == 2.0


def test_distances_do_not_depend_on_the_unit_of_the_features(evaluation: Evaluation) -> None:
    larger = tiny_perceptual()
    larger.feature_scale = 50.0
    candidates = [Candidate("soft", lambda image: _blur(image, 2.0))]
    photos, art = images(4, seed=1, side_px=96), images(3, seed=2, side_px=96)
    (row,) = evaluate_candidates(candidates, photos, art, larger).rows
    for key in ("kernel_art", "frechet_art", "likeness", "content"):
        assert row.figures[key] == pytest.approx(evaluation.rows[1].figures[key], rel=1e-3), key


def test_few_images_are_warned_of(evaluation: Evaluation) -> None:
    assert len(evaluation.warnings) == 1
    assert evaluation.warnings[0].startswith("4 photos and 3 art images: below 2048, Fréchet distances are biased")


def test_the_page_holds_every_image_and_fetches_nothing(evaluation: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", evaluation)
    page = (tmp_path / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 2 * 2  # two photos, each with one output
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "http" not in page
    assert "&lt;b&gt;a note&lt;/b&gt;" in page
    assert "Fréchet" in page
    assert page == page_of(evaluation, title="animevid evaluation")


def test_the_page_ranks_blind_votes_where_there_are_some(evaluation: Evaluation) -> None:
    votes = [Vote("ann", f"p{n}", "soft", "other", "soft", "soft", "other") for n in range(4)]
    page = page_of(evaluation, title="t", votes=votes)
    assert "4 votes of 1 judges" in page
    kept = page.partition("Which would you rather keep?")[2].partition("</table>")[0]
    assert kept.index("soft") < kept.index("other")
    assert "4 of 4" in kept
    assert "Blind votes" not in page_of(evaluation, title="t")


def test_only_styles_are_marked_as_best_and_baselines_are_told_apart(evaluation: Evaluation) -> None:
    rows = [*evaluation.rows, replace(evaluation.rows[1], label="other", figures={"content": 9.0})]
    page = page_of(replace(evaluation, rows=rows), title="t")
    content = page.partition("content distance")[2].partition("</tr>")[0]
    assert [cell.startswith(" class=best") for cell in content.split("<td")[1:]] == [False, True, False]
    assert content.split("<td")[1].startswith(" class=baseline>0.000")


def test_every_evaluation_stands_beside_doing_nothing_and_filters_alone(photo: np.ndarray) -> None:
    nothing, filters = baselines()
    assert (nothing.label, filters.label) == ("identity", "filters only")
    assert np.array_equal(nothing.stylize(photo), photo)
    assert filters.stylize(photo).shape == photo.shape
    assert not np.array_equal(filters.stylize(photo), photo)


@pytest.mark.slow
@pytest.mark.skipif(why_no_chromium() is not None, reason=why_no_chromium() or "")
def test_in_a_browser_every_figure_is_seen_and_an_image_opens_large(evaluation: Evaluation, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    write_report(tmp_path / "report.html", evaluation)
    video = write_camera_video(tmp_path / "unused.y4m", frames=2)
    with chromium(video, width=1440) as driver:
        driver.get((tmp_path / "report.html").as_uri())
        box = driver.execute_script("const t = document.querySelector('.table'); return [t.scrollWidth, t.clientWidth]")
        assert box[0] <= box[1]
        first, second = driver.find_elements(By.CSS_SELECTOR, "figure button")[:2]
        first.click()
        shown = driver.find_element(By.CSS_SELECTOR, "dialog img")
        assert shown.size["width"] > 1000
        assert driver.find_element(By.CSS_SELECTOR, "dialog span").text == "photo"
        shown.find_element(By.XPATH, "..").send_keys("\ue014")  # the right arrow key
        assert driver.find_element(By.CSS_SELECTOR, "dialog span").text == "soft"
        assert shown.get_attribute("src") == second.find_element(By.TAG_NAME, "img").get_attribute("src")


def test_the_text_table_has_a_row_for_each_figure_and_a_column_for_each_candidate(evaluation: Evaluation) -> None:
    lines = markdown_table(evaluation).splitlines()
    assert lines[0] == "| figure | photo | soft |"
    assert any(line.startswith("| content distance ↓ | 0.000 | 0.") for line in lines)
    assert {line.count("|") for line in lines} == {4}


def test_features_are_those_of_the_named_network_and_depend_on_the_image() -> None:
    vectors = feature_vectors(images(2, seed=1, side_px=64), tiny_perceptual())
    assert vectors.shape == (6, 64)
    assert not np.allclose(vectors[:3], vectors[3:])
    assert torch.get_default_dtype() == torch.float32
