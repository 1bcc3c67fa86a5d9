"""FID, KID and the Inception Score equal torch-fidelity's, on its network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from animevid.cli import main
from animevid.errors import TrainingError
from animevid_trainer.evaluate import inception as module
from animevid_trainer.evaluate.candidates import Candidate, identity
from animevid_trainer.evaluate.distances import (
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_of_subsets,
)
from animevid_trainer.evaluate.inception import Inception, open_inception, resize_like_tensorflow1
from animevid_trainer.evaluate.measure import evaluate_candidates
from animevid_trainer.evaluate.report import markdown_table, page_of
from animevid_trainer.evaluate.standard import square_of
from animevid_trainer.weight_files import PublishedWeights
from small_runs import images, tiny_perceptual

#: Written by torch-fidelity 0.4.0 for `made_weights` and the images of `sets` (torch 2.13 on a CPU).
GOLDEN = {
    "features": [0.440391, 0.0, 2.329017, 2.9645, 0.340198, 0.0, 2.241504, 3.163485],
    "logits": [15.705587, -4.58261, -12.87296, 5.20432, 17.227375, -5.710751, -15.316384, 5.82326],
    "fid": [111.578468],
    "kid": [-6.88037, 18.52811],
    "inception_score": [1.017617470, 0.013295756],
}


def made_weights() -> dict[str, torch.Tensor]:
    """Random weights with the published names and shapes; features neither vanish nor explode."""
    random = np.random.default_rng(20151205)
    state = {}
    for key, value in sorted(Inception().state_dict().items()):
        shape = tuple(value.shape)
        if key.endswith("num_batches_tracked"):
            made = np.zeros(())
        elif key.endswith("conv.weight"):
            made = random.standard_normal(shape, np.float32) * np.sqrt(2.0 / np.prod(shape[1:]))
        elif key.endswith(("bn.weight", "running_var")):
            made = random.uniform(0.5, 1.5, shape)
        else:
            made = random.standard_normal(shape, np.float32) * 0.1
        state[key] = torch.from_numpy(np.asarray(made)).to(value.dtype)
    return state


def sets() -> tuple[np.ndarray, np.ndarray]:
    """Two sets of uint8 RGB images, (12, 40, 56, 3) and (10, 40, 56, 3)."""
    random = np.random.default_rng(7)
    first = random.integers(0, 256, (12, 5, 7, 3)).repeat(8, 1).repeat(8, 2)
    second = random.integers(60, 256, (10, 10, 14, 3)).repeat(4, 1).repeat(4, 2)
    return first.astype(np.uint8), second.astype(np.uint8)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05.pth"
    torch.save(made_weights(), path)
    return path


@pytest.fixture(scope="module")
def network(weights_file: Path) -> Inception:
    return open_inception(weights_file)


@pytest.fixture(scope="module")
def looked_at(network: Inception) -> list[tuple[np.ndarray, np.ndarray]]:
    return [network.look_at(part) for part in sets()]


def figures_of(looked_at: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[float]]:
    (first, logits), (second, _) = [(f.astype(np.float64), g.astype(np.float64)) for f, g in looked_at]
    return {
        "features": [float(value) for value in first[:2, ::512].ravel()],
        "logits": [float(value) for value in logits[:2, ::252].ravel()],
        "fid": [frechet_distance(first, second)],
        "kid": list(kernel_distance_of_subsets(first, second, size=8)),
        "inception_score": list(inception_score(logits, splits=3)),
    }


def torch_fidelity() -> ModuleType:
    """The package itself, which needs a torchvision that matches torch."""
    try:
        import torch_fidelity as package
    except Exception as error:  # a torchvision that does not match torch raises RuntimeError
        pytest.skip(f"torch-fidelity cannot be imported: {error}")
    return package


def figures_of_the_package(weights_file: Path) -> dict[str, list[float]]:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    extract = FeatureExtractorInceptionV3("made", ["2048", "logits_unbiased"], str(weights_file))
    with torch.no_grad():
        first, logits = extract(torch.from_numpy(sets()[0]).permute(0, 3, 1, 2))
        second, _ = extract(torch.from_numpy(sets()[1]).permute(0, 3, 1, 2))
    statistics = [fid_features_to_statistics(features) for features in (first, second)]
    return {
        "features": first[:2, ::512].ravel().tolist(),
        "logits": logits[:2, ::252].ravel().tolist(),
        "fid": list(fid_statistics_to_metric(*statistics, verbose=False).values()),
        "kid": list(kid_features_to_metric(first, second, kid_subset_size=8, verbose=False).values()),
        "inception_score": list(isc_features_to_metric(logits, splits=3).values()),
    }


def assert_equal_figures(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=2e-4, abs=1e-6), key


def test_features_and_figures_are_those_that_torch_fidelity_wrote(looked_at: list) -> None:
    assert_equal_figures(figures_of(looked_at), GOLDEN)


@pytest.mark.slow
def test_features_and_figures_are_those_of_torch_fidelity_where_it_is_installed(
    looked_at: list, weights_file: Path
) -> None:
    torch_fidelity()
    assert_equal_figures(figures_of(looked_at), figures_of_the_package(weights_file))


def test_images_are_resized_from_the_corner_of_the_first_pixel_without_antialiasing() -> None:
    row = torch.tensor([0.0, 30.0, 90.0])
    image = row.expand(1, 1, 2, 3).clone()
    image[:, :, 1] += 100.0
    # Columns at 0, 0.6, 1.2, 1.8, 2.4 of three (the last one is repeated); rows at 0, 0.4, 0.8, 1.2, 1.6 of two.
    across = torch.tensor([0.0, 18.0, 42.0, 78.0, 90.0])
    down = torch.tensor([0.0, 40.0, 80.0, 100.0, 100.0])
    torch.testing.assert_close(resize_like_tensorflow1(image, 5)[0, 0], across[None] + down[:, None])


def test_an_image_is_shrunk_by_its_shorter_side_and_cut_in_the_middle() -> None:
    ramp = np.broadcast_to(np.arange(512, dtype=np.uint16)[None, :, None], (128, 512, 3)) // 2
    wide = square_of(ramp.astype(np.uint8), side_px=64)
    assert wide.shape == (64, 64, 3)
    # Half the size, and the middle quarter of the width: 48 to 80 of 128, in steps of slightly more than one code.
    assert wide[0, 0, 0] == pytest.approx(96, abs=1)
    assert wide[0, -1, 0] == pytest.approx(159, abs=1)
    assert np.array_equal(square_of(ramp.astype(np.uint8).transpose(1, 0, 2), side_px=64), wide.transpose(1, 0, 2))
    small = images(1, seed=1, side_px=64)[0]
    assert np.array_equal(square_of(small, side_px=64), small)


def test_frechet_distance_of_two_points_each_is_the_closed_form() -> None:
    # Means (0, 0) and (3, 4); covariances diag(2, 0) and diag(8, 0): 25 + 2 + 8 - 2 * 4.
    first = np.array([[-1.0, 0.0], [1.0, 0.0]])
    second = np.array([[1.0, 4.0], [5.0, 4.0]])
    assert frechet_distance(first, second) == pytest.approx(27.0)


def test_kernel_distance_leaves_out_what_an_image_has_with_itself() -> None:
    first, second = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    # (xy + 1)^3: within 27 and 1; between 1, 64, 1 and 343, whose mean is 102.25.
    assert kernel_distance(first, second) == pytest.approx(27.0 + 1.0 - 2 * 102.25)


def test_subsets_are_as_large_as_the_smaller_set_and_none_where_both_are_whole() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(6, 4)), random.normal(0.5, 1.0, (9, 4))
    assert kernel_distance_of_subsets(first, second[:6]) == (kernel_distance(first, second[:6]), 0.0)
    mean, deviation = kernel_distance_of_subsets(first, second, subsets=400)
    assert deviation > 0
    assert mean == pytest.approx(kernel_distance(first, second), abs=4 * deviation / 20)


def test_inception_score_of_hand_made_probabilities_is_the_formulas() -> None:
    sure = np.log(np.array([[0.999999, 5e-7, 5e-7]]))
    # All alike: 1. One of each of three classes, with certainty: 3. Undecided: 1.
    assert inception_score(sure.repeat(6, 0), splits=2)[0] == pytest.approx(1.0)
    each = np.concatenate([np.roll(sure, shift, 1) for shift in range(3)])
    assert inception_score(each, splits=1)[0] == pytest.approx(3.0, rel=1e-4)
    assert inception_score(np.zeros((4, 3)), splits=1)[0] == pytest.approx(1.0)
    # (3/4, 1/4) and (1/4, 3/4): KL to (1/2, 1/2) is 3/4 ln(3/2) + 1/4 ln(1/2).
    mixed = np.log(np.array([[0.75, 0.25], [0.25, 0.75]]))
    assert inception_score(mixed, splits=1)[0] == pytest.approx(np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5)))


def test_the_report_has_the_standard_figures_by_their_names_and_only_with_inception(network: Inception) -> None:
    photos, art = images(3, seed=1, side_px=64), images(2, seed=2, side_px=64)
    soft = Candidate("inverted", lambda image: 255 - image)
    evaluation = evaluate_candidates([identity(), soft], photos, art, tiny_perceptual(), inception=network)
    nothing, inverted = (row.figures for row in evaluation.rows)
    assert nothing["fid_photo"] == pytest.approx(0.0, abs=1e-6)
    assert inverted["fid_photo"] > 1e-3
    table = markdown_table(evaluation)
    for title in ("FID with ani", "FID with photo", "KID with ani", "KID with photo", "Inception Score"):
        assert f"| {title}" in table
        assert title in page_of(evaluation, title="t")
    assert "torch-fidelity's protocol on middle squares of 256 px; published figures use 2,048" in evaluation.standard


def test_without_inception_nothing_is_called_fid_or_kid() -> None:
    photos, art = images(2, seed=1, side_px=64), images(2, seed=2, side_px=64)
    evaluation = evaluate_candidates([identity()], photos, art, tiny_perceptual())
    table = markdown_table(evaluation)
    assert "Fréchet to art" in table
    for name in ("FID", "KID", "Inception", "IS-style"):
        assert name not in table
    assert "No FID, KID or Inception Score: they need Inception" in page_of(evaluation, title="t")


def test_another_network_and_a_missing_file_are_one_line(tmp_path: Path, weights_file: Path) -> None:
    state = torch.load(weights_file)
    state["fc.weight"] = state["fc.weight"][:1000]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(TrainingError, match=r"'fc.weight': \(1000, 2048\) found, \(1008, 2048\) needed.*torchvision's"):
        open_inception(tmp_path / "other.pth")
    command = ["evaluate", "photo", "--photos", str(tmp_path), "--out", str(tmp_path / "report.html")]
    assert main([*command, "--inception-weights", str(tmp_path / "none.pth")]) == 8
    assert not (tmp_path / "report.html").exists()


def test_weights_are_downloaded_once_and_checked(
    tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    monkeypatch.setenv("ANIMEVID_CACHE", str(tmp_path / "cache"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(weights_file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{weights_file.name}"
        monkeypatch.setattr(module, "PUBLISHED_INCEPTION", PublishedWeights(url, digest[:8], 96))
        assert isinstance(open_inception("download"), Inception)
        server.shutdown()
    assert (tmp_path / "cache" / weights_file.name).is_file()
    absent = PublishedWeights("http://127.0.0.1:9/absent.pth", "00000000", 96)
    monkeypatch.setattr(module, "PUBLISHED_INCEPTION", absent)
    with pytest.raises(TrainingError, match=r"cannot be downloaded.*absent.pth \(96 MB\) elsewhere and give"):
        open_inception("download")


if __name__ == "__main__":  # python tests/trainer/test_inception.py, where torch-fidelity can be imported
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        torch.save(made_weights(), file)
        print(figures_of_the_package(file))
