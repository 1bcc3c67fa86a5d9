"""Projection: the paper's schedule, and recovering a generated image."""

from __future__ import annotations

import math

import cv2
import pytest
import torch
from animevid_trainer.cli import main
from animevid_trainer.data.batches import images_of
from animevid_trainer.generators import make_generator
from animevid_trainer.generators.noise import truncated
from animevid_trainer.projection import (
    ProjectionSettings,
    noise_at,
    perceptual_distance,
    pixel_distance,
    project,
    rate_at,
)  # fmt: skip
from small_runs import tiny_perceptual


def test_the_rate_rises_holds_and_falls_and_the_noise_fades_as_in_the_paper():
    assert [rate_at(share) for share in (0.0, 0.025, 0.05, 0.5, 0.75)] == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0])
    assert rate_at(0.875) == pytest.approx(0.5)
    assert rate_at(0.9375) == pytest.approx(0.5 - 0.5 * math.cos(math.pi / 4))
    assert [noise_at(share) for share in (0.0, 0.375, 0.75, 1.0)] == pytest.approx([0.05, 0.0125, 0.0, 0.0])


def test_distances_are_zero_for_one_image_and_their_equations_for_two():
    first, second = torch.rand(2, 1, 3, 8, 8, dtype=torch.float64)
    halves = [torch.nn.functional.avg_pool2d(image, 2) for image in (first, second)]
    expected = (first - second).square().mean() + (halves[0] - halves[1]).square().mean()
    torch.testing.assert_close(pixel_distance(first, second), expected)
    vgg = tiny_perceptual()
    distance = perceptual_distance(vgg, ("conv1_2",))
    first, second = first.float(), second.float()
    a, b = (vgg.features(image, ("conv1_2",))["conv1_2"] for image in (first, second))
    apart = sum(
        (a[0, :, y, x] / a[0, :, y, x].norm() - b[0, :, y, x] / b[0, :, y, x].norm()).square().sum()
        for y in range(8) for x in range(8)
    ) / 64  # fmt: skip
    torch.testing.assert_close(distance(first, second), apart + pixel_distance(first, second), rtol=1e-4, atol=1e-5)
    assert distance(first, first) == 0.0


@pytest.fixture
def generator():
    torch.manual_seed(0)
    made = make_generator("stylegan2", size_px=16, latent=8, mapping_layers=1, channel_base=128, channel_max=8)
    with torch.no_grad():
        made.mean.copy_(made.map(made.draw_latents(500)).mean(0))
        for to_rgb in made.rgbs:  # an untrained generator exceeds white by far
            to_rgb.weight.mul_(0.3)
    return made.eval()


def drawn(generator):
    """An image near the mean, since an untrained generator is not smooth."""
    with torch.no_grad():
        styles = generator.styles(generator.draw_latents(1))
        return generator.draw(truncated(generator, styles, 0.4))


def test_an_image_that_was_drawn_is_found_again(generator):
    target = drawn(generator)
    with torch.no_grad():
        far = float(pixel_distance(generator.draw(generator.repeated(generator.mean_style[None])), target))
    told = []
    found = project(generator, target, pixel_distance, ProjectionSettings(120), on_step=lambda *step: told.append(step))
    assert found.distance < 0.02 * far
    assert found.w.shape == (1, 8)
    assert [step for step, _ in told] == list(range(1, 121))
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_project_writes_the_image_beside_what_was_found(generator, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("animevid_trainer.cli.project.open_noise_generator", lambda *_, **__: generator)
    (face,) = images_of(drawn(generator))
    cv2.imwrite(str(tmp_path / "face.png"), face[..., ::-1])
    command = ["project", "run", str(tmp_path / "face.png"), str(tmp_path / "out.png"), "--steps", "80", "--scale", "1"]
    assert main(command) == 0
    pair = cv2.imread(str(tmp_path / "out.png"))
    assert pair.shape == (16, 32, 3)
    assert abs(pair[:, :16].astype(int) - pair[:, 16:]).mean() < 12
    assert "at a distance of" in capsys.readouterr().out
    assert main([*command, "-y", "--steps", "0"]) == 8
    assert "steps = 0: give 1 or more" in capsys.readouterr().err
    assert main(["project", "run", str(tmp_path / "no.png"), str(tmp_path / "x.png")]) == 8
    assert "cannot be read" in capsys.readouterr().err
