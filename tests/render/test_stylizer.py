"""An opened style: every layout, size and depth; blending; the network is skipped only without motion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from animevid.errors import AnimevidError, BackendError, StyleError, UsageError
from animevid.pixels import Colour, ColourRange, Matrix, NoiseFloor, PlanesYUV420, planes_to_rgb
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import FrameReuse, TemporalFilter
from animevid.run.session import stylizing_stages
from PIL import Image
from small_styles import LEVELS, NCHW, NHWC, PACKED, save_style


def _frame(height=96, width=160, *, bit_depth=8, seed=0, colour=None, alpha=False) -> PlanesYUV420:
    """Smooth blobs with a little noise, in limited range."""
    generator = np.random.default_rng(seed)
    dtype, unit = (np.uint8, 1) if bit_depth == 8 else (np.uint16, 1 << (bit_depth - 8))

    def plane(h, w, low, high):
        y, x = np.mgrid[0:h, 0:w]
        wave = np.sin(x / 17 + seed) + np.cos(y / 13) + np.sin((x + 2 * y) / 29)
        values = low + (wave + 3) / 6 * (high - low) + generator.normal(0, 1.5, (h, w))
        return np.clip(values * unit, 16 * unit, 235 * unit).astype(dtype)

    chroma = (height + 1) // 2, (width + 1) // 2
    return PlanesYUV420(
        plane(height, width, 40, 210),
        plane(*chroma, 108, 148),
        plane(*chroma, 108, 148),
        bit_depth=bit_depth,
        colour=colour or Colour(Matrix.BT709, ColourRange.LIMITED, 1, 1),
        alpha=plane(height, width, 0, 235) if alpha else None,
    )


@pytest.fixture
def make_style(tmp_path):
    def make(card, effect="posterize", **changes):
        card = replace(card, **changes)
        return save_style(tmp_path / f"{card.name}-{effect}.onnx", card, effect=effect)

    return make


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("size", [(96, 160), (90, 150), (91, 151), (5, 7), (1, 1)])
def test_a_network_that_copies_gives_the_frame_back(make_style, size, bit_depth):
    frame = _frame(*size, bit_depth=bit_depth)
    with Stylizer(make_style(PACKED, "copy", net_pixels=0)) as stylizer:
        result = stylizer.stylize_planes(frame)
    for before, after in ((frame.y, result.y), (frame.u, result.u), (frame.v, result.v)):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("card", [PACKED, NCHW, NHWC], ids=lambda card: card.layout.value)
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("size", [(96, 160), (91, 151), (300, 500)])
def test_every_layout_stylizes_every_size_and_depth_and_keeps_what_belongs_to_the_frame(
    make_style, card, bit_depth, size
):
    frame = _frame(*size, bit_depth=bit_depth, alpha=True)
    with Stylizer(make_style(card)) as stylizer:
        result = stylizer.stylize_planes(frame)
    assert result.y.shape == frame.y.shape
    assert result.u.shape == frame.u.shape
    assert result.y.dtype == frame.y.dtype
    assert (result.bit_depth, result.colour) == (frame.bit_depth, frame.colour)
    assert result.alpha is frame.alpha
    change = np.abs(result.y.astype(int) - frame.y.astype(int)).mean() / (1 << (bit_depth - 8))
    assert 2 < change < 40


def test_posterized_luma_has_few_levels(make_style):
    frame = _frame()
    with Stylizer(make_style(PACKED, net_pixels=0)) as stylizer:
        result = stylizer.stylize_planes(frame)
    # -1..1 in steps of 1 / LEVELS, on 219 codes above black.
    levels = {round(16 + 219 * step / (2 * LEVELS)) for step in range(2 * LEVELS + 1)}
    assert {int(value) for value in np.unique(result.y)} <= levels | {level + 1 for level in levels}


def test_the_colour_order_and_layout_of_the_card_are_honoured(make_style):
    """An identity network in BGR NHWC and one in RGB NCHW show the same frame."""
    frame = _frame()
    results = []
    for card in (NCHW, NHWC):
        with Stylizer(make_style(card, "copy")) as stylizer:
            results.append(stylizer.stylize_planes(frame))
    np.testing.assert_array_equal(results[0].y, results[1].y)
    assert np.abs(results[0].y.astype(int) - frame.y.astype(int)).max() <= 2
    assert np.abs(results[0].u.astype(int) - frame.u.astype(int)).mean() <= 1.5


def test_a_negative_is_one_in_every_layout(make_style):
    frame = _frame()
    for card in (PACKED, NCHW, NHWC):
        with Stylizer(make_style(card, "negative", net_pixels=0)) as stylizer:
            result = stylizer.stylize_planes(frame)
        assert np.abs(result.y.astype(int) - (16 + 235 - frame.y.astype(int))).mean() < 2, card.layout


def test_large_frames_run_near_the_size_of_the_style_and_come_back_at_their_own(make_style):
    with Stylizer(make_style(PACKED, net_pixels=640 * 360)) as stylizer:
        assert stylizer.net_size(720, 1280) == (360, 640)
        assert stylizer.net_size(1080, 1920) == (360, 640)
        assert stylizer.net_size(1920, 1080) == (640, 360)
        assert stylizer.net_size(360, 640) == (360, 640)
        assert stylizer.net_size(362, 646) == (362, 646)
        assert stylizer.net_size(4, 16000 * 100) == (4, 303576)
    with Stylizer(make_style(PACKED, net_pixels=640 * 360), net_pixels=0) as stylizer:
        assert stylizer.net_size(1080, 1920) == (1080, 1920)


def test_in_high_quality_the_network_sees_four_times_as_many_pixels(make_style):
    style = make_style(PACKED, net_pixels=320 * 180)
    with Stylizer(style, quality="high") as stylizer:
        assert stylizer.net_size(1080, 1920) == (360, 640)
    with Stylizer(style, quality="high", net_pixels=160 * 96) as stylizer:
        assert stylizer.net_pixels == 160 * 96, "what was asked for holds"
    with Stylizer(make_style(PACKED, net_pixels=320 * 180, quality="high"), quality="high") as stylizer:
        assert stylizer.net_pixels == 320 * 180, "a large network is worth the work already"


@pytest.mark.shared
def test_enlarged_the_default_style_is_near_to_what_it_draws_at_full_size(shared):
    """In blind votes, only images as crisp as the network at full size were kept; the mode `contour` lost a third."""
    photo = np.asarray(Image.open(sorted((shared / "photos").glob("scene-*.jpg"))[0]).convert("RGB").resize((640, 480)))
    with Stylizer(threads=1) as full, Stylizer(threads=1, net_pixels=320 * 240) as small:
        whole, enlarged = (stylizer(photo).astype(float).mean(2) for stylizer in (full, small))
    edges, found = (np.abs(np.diff(image, axis=1)).mean() for image in (whole, enlarged))
    assert 0.85 < found / edges < 1.1, "neither soft nor rough"
    assert 20 * np.log10(255 / np.sqrt(((whole - enlarged) ** 2).mean())) > 27


@pytest.mark.parametrize("size", [(96, 160), (48, 64), (360, 640)])
def test_a_network_of_one_fixed_size_takes_every_frame(make_style, size):
    frame = _frame(*size, alpha=True)
    with Stylizer(make_style(NCHW, "copy", fixed_size_px=(64, 96))) as stylizer:
        assert stylizer.net_size(*size) == (64, 96)
        result = stylizer.stylize_planes(frame)
    assert result.y.shape == frame.y.shape
    assert result.alpha is frame.alpha
    assert np.abs(result.y.astype(int) - frame.y).mean() < 12


@pytest.mark.parametrize("card", [PACKED, NCHW], ids=lambda card: card.layout.value)
def test_an_upsampled_copy_keeps_the_detail_of_the_full_frame(make_style, card):
    frame = _frame(360, 640)
    with Stylizer(make_style(card, "copy", net_pixels=160 * 90)) as stylizer:
        result = stylizer.stylize_planes(frame)
    small = frame.y[::4, ::4].repeat(4, 0).repeat(4, 1).astype(int)
    error = np.abs(result.y.astype(int) - frame.y).mean()
    assert error < 0.7 * np.abs(small - frame.y).mean()


@pytest.mark.parametrize("fixed_size_px", [None, (360, 640), (720, 1280)])
def test_an_untagged_frame_keeps_its_colours_when_it_runs_at_another_size(make_style, fixed_size_px):
    """Untagged means BT.709 from 720 lines on and BT.601 below: both conversions must use the original height."""
    frame = _frame(720, 640, colour=Colour())
    with Stylizer(make_style(NCHW, "copy", net_pixels=320 * 180, fixed_size_px=fixed_size_px)) as stylizer:
        result = stylizer.stylize_planes(frame)
    assert result.colour == Colour()
    for before, after in ((frame.u, result.u), (frame.v, result.v)):
        assert abs(before.astype(float).mean() - after.mean()) < 0.5
        assert np.abs(before.astype(int) - after).mean() < 2.5


def test_strength_blends_with_the_original_and_may_change_between_frames(make_style):
    frame = _frame()
    with Stylizer(make_style(PACKED, "negative", net_pixels=0)) as stylizer:
        full = stylizer.stylize_planes(frame)
        stylizer.strength = 0.5
        half = stylizer.stylize_planes(frame)
        stylizer.strength = 0.0
        none = stylizer.stylize_planes(frame)
    np.testing.assert_array_equal(none.y, frame.y)
    middle = (full.y.astype(int) + frame.y) / 2
    assert np.abs(half.y - middle).max() <= 1


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_strength_that_is_no_share_is_refused(packed_style, value):
    with pytest.raises(UsageError, match="strength"):
        Stylizer(packed_style, strength=value)
    with Stylizer(packed_style) as stylizer, pytest.raises(UsageError, match="strength"):
        stylizer.strength = value


def test_a_negative_number_of_pixels_is_refused(packed_style):
    with pytest.raises(UsageError, match="net_pixels"):
        Stylizer(packed_style, net_pixels=-1)


def test_tiles_of_a_large_frame_equal_the_whole(make_style, monkeypatch):
    frame = _frame(200, 304)
    path = make_style(PACKED, "blur", net_pixels=0)
    with Stylizer(path) as stylizer:
        whole = stylizer.stylize_planes(frame)
        monkeypatch.setattr("animevid.render.cpu._TILE_PX", 64)
        tiled = stylizer.stylize_planes(frame)
    np.testing.assert_array_equal(whole.y, tiled.y)
    np.testing.assert_array_equal(whole.u, tiled.u)


def test_uint8_rgb_in_and_out(make_style):
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    frames = np.sort(frames, axis=2)  # not pure noise, which 4:2:0 would blur
    with Stylizer(make_style(PACKED, net_pixels=0)) as stylizer:
        batch = stylizer(frames)
        single = stylizer(frames[1])
    assert (batch.dtype, batch.shape) == (np.uint8, frames.shape)
    assert (single.dtype, single.shape) == (np.uint8, frames[1].shape)
    np.testing.assert_array_equal(batch[1], single)


def test_black_white_and_grey_survive_the_rgb_call(make_style):
    frame = np.zeros((16, 48, 3), np.uint8)
    frame[:, 16:32] = 128
    frame[:, 32:] = 255
    for card in (PACKED, NCHW, NHWC):
        with Stylizer(make_style(card, "copy", net_pixels=0)) as stylizer:
            assert np.abs(stylizer(frame).astype(int) - frame).max() <= 1, card.layout


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 1, 8, 8, 3), np.uint8),
    ],
    ids=["float", "grey", "rgba", "empty", "five axes"],
)
def test_what_is_not_uint8_rgb_is_refused(packed_style, frame):
    with Stylizer(packed_style) as stylizer, pytest.raises(UsageError, match="give uint8 RGB"):
        stylizer(frame)


@pytest.mark.parametrize("ask", [Stylizer.__call__, lambda stylizer, image: TemporalFilter(stylizer)(image)])
def test_every_kind_of_image_is_drawn_alike_and_comes_back_as_it_came(packed_style, ask):
    torch = pytest.importorskip("torch")
    rgb = planes_to_rgb(_frame(48, 64))
    with Stylizer(packed_style) as stylizer:
        drawn = ask(stylizer, rgb)
        assert np.any(drawn != rgb)
        channels_first = ask(stylizer, np.moveaxis(rgb, -1, 0))
        image = Image.fromarray(rgb)
        image.putalpha(7)
        image.info["dpi"] = (72, 72)
        pillow = ask(stylizer, image)
        tensor = ask(stylizer, torch.from_numpy(rgb).permute(2, 0, 1))
        tensor_hwc = ask(stylizer, torch.from_numpy(rgb))
    np.testing.assert_array_equal(np.moveaxis(channels_first, 0, -1), drawn)
    assert (pillow.mode, pillow.getextrema()[3], pillow.info) == ("RGBA", (7, 7), {"dpi": (72, 72)})
    np.testing.assert_array_equal(np.asarray(pillow)[..., :3], drawn)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), drawn)
    np.testing.assert_array_equal(tensor_hwc.numpy(), drawn)


def test_a_batch_of_tensors_and_an_image_of_three_columns_keep_their_axes(packed_style):
    torch = pytest.importorskip("torch")
    batch = np.stack([planes_to_rgb(_frame(32, 48, seed=seed)) for seed in range(2)])
    narrow = planes_to_rgb(_frame(3, 3))
    with Stylizer(packed_style) as stylizer:
        drawn = stylizer(torch.from_numpy(batch).permute(0, 3, 1, 2))
        np.testing.assert_array_equal(drawn.permute(0, 2, 3, 1).numpy(), stylizer(batch))
        of_tensor = stylizer(torch.from_numpy(narrow).permute(2, 0, 1))
        np.testing.assert_array_equal(of_tensor.permute(1, 2, 0).numpy(), stylizer(narrow))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (Image.new("I;16", (8, 6)), r"size = \(8, 6\), mode = 'I;16': give one of 8 bits"),
        ([[1, 2, 3]], "list is not an image: give a NumPy array, a PIL.Image or a torch.Tensor"),
        (
            np.zeros((6, 8), np.uint8),
            r"shape = \(6, 8\), dtype = 'uint8': give uint8 RGB of shape \(H, W, 3\), \(3",
        ),
    ],
)
def test_what_arrived_and_what_is_allowed_is_reported_of_an_image(packed_style, image, told):
    with Stylizer(packed_style) as stylizer, pytest.raises(UsageError, match=told):
        stylizer(image)


def test_frames_of_two_sizes_in_one_call_of_infer_keep_their_order(packed_style):
    frames = [_frame(40, 64), _frame(48, 64), _frame(40, 64, seed=1)]
    with Stylizer(packed_style) as stylizer:
        outputs = stylizer.infer([stylizer.preprocess(frame) for frame in frames])
        together = [stylizer.postprocess(frame, output) for frame, output in zip(frames, outputs, strict=True)]
        alone = [stylizer.stylize_planes(frame) for frame in frames]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.y, other.y)


def test_several_threads_may_call_one_stylizer(packed_style):
    frames = [_frame(seed=seed) for seed in range(8)]
    with Stylizer(packed_style) as stylizer, ThreadPoolExecutor(4) as threads:
        expected = [stylizer.stylize_planes(frame) for frame in frames]
        results = list(threads.map(stylizer.stylize_planes, frames))
    for one, other in zip(expected, results, strict=True):
        np.testing.assert_array_equal(one.y, other.y)


def test_a_style_that_does_not_exist_is_an_error_of_the_style():
    with pytest.raises(StyleError):
        Stylizer("no-such-style")
    assert issubclass(StyleError, AnimevidError)


class TestFrameReuse:
    """The network runs only for frames with changes."""

    @staticmethod
    def _show(steps, frames):
        shown = []
        for frame in frames:
            output = steps.infer([steps.preprocess(frame)])[0]
            shown.append(steps.postprocess(frame, output))
        return shown

    def test_a_still_scene_runs_the_network_once(self, packed_style):
        still = _frame()
        with Stylizer(packed_style) as stylizer:
            steps = FrameReuse(stylizer)
            shown = self._show(steps, [still] * 10)
        assert steps.skipped == 9
        for frame in shown[1:]:
            np.testing.assert_array_equal(frame.y, shown[0].y)

    def test_codec_noise_is_still(self, packed_style):
        generator = np.random.default_rng(5)
        still = _frame()
        noisy = [
            still.with_planes((still.y + generator.integers(-1, 2, still.y.shape)).astype(np.uint8), still.u, still.v)
            for _ in range(6)
        ]
        with Stylizer(packed_style) as stylizer:
            steps = FrameReuse(stylizer)
            self._show(steps, [still, *noisy])
        assert steps.skipped == 6

    def test_a_small_thing_that_moves_is_never_frozen(self, make_style):
        """A 4x4 dot crosses a still scene: each frame shows its current position."""
        still = _frame(seed=3)
        with Stylizer(make_style(PACKED, "copy", net_pixels=0)) as stylizer:
            steps = FrameReuse(stylizer)
            for x in range(0, 120, 2):
                y = still.y.copy()
                y[40:44, x : x + 4] = 235
                shown = self._show(steps, [still.with_planes(y, still.u, still.v)])[0]
                assert np.abs(shown.y.astype(int) - y).max() <= 10
        assert steps.skipped == 0

    def test_a_slow_fade_is_followed(self, make_style):
        """A quarter of a code value per frame is far below the noise, and the output still never lags far behind."""
        start = _frame(seed=4).y.astype(np.float32)
        with Stylizer(make_style(PACKED, "copy", net_pixels=0)) as stylizer:
            steps = FrameReuse(stylizer)
            for step in range(120):
                y = np.clip(start - step / 4, 16, 235).astype(np.uint8)
                frame = _frame(seed=4)
                shown = self._show(steps, [frame.with_planes(y, frame.u, frame.v)])[0]
                assert np.abs(shown.y.astype(int) - y).mean() <= 3
        assert 0 < steps.skipped < 119

    def test_strength_takes_effect_on_a_still_scene(self, make_style):
        still = _frame()
        with Stylizer(make_style(PACKED, "negative", net_pixels=0)) as stylizer:
            steps = FrameReuse(stylizer)
            self._show(steps, [still, still])
            stylizer.strength = 0.0
            shown = self._show(steps, [still])[0]
        np.testing.assert_array_equal(shown.y, still.y)
        assert steps.skipped == 2

    def test_each_unchanged_frame_keeps_its_own_alpha(self, packed_style):
        first, second = _frame(alpha=True), _frame(alpha=True)
        with Stylizer(packed_style) as stylizer:
            steps = FrameReuse(stylizer)
            shown = self._show(steps, [first, second])
        assert steps.skipped == 1
        assert shown[1].alpha is second.alpha

    def test_batches_with_unchanged_frames_in_them_stay_in_order(self, packed_style):
        frames = [_frame(seed=seed) for seed in (0, 0, 1, 1, 2)]
        with Stylizer(packed_style) as stylizer:
            steps = FrameReuse(stylizer)
            outputs = steps.infer([steps.preprocess(frame) for frame in frames])
            shown = [steps.postprocess(*pair) for pair in zip(frames, outputs, strict=True)]
            expected = [stylizer.stylize_planes(frame) for frame in frames]
        assert [output is None for output in outputs] == [False, True, False, True, False]
        for one, other in zip(shown, expected, strict=True):
            np.testing.assert_array_equal(one.y, other.y)


def test_concurrent_frames_are_those_of_one_after_another_and_in_their_order():
    frames = [_frame(180, 320, seed=seed) for seed in range(6)]
    with Stylizer(threads=2) as alone, Stylizer(threads=2, concurrency=2) as together:
        expected = [alone.stylize_planes(frame) for frame in frames]
        outputs = together.infer([together.preprocess(frame) for frame in frames])
        drawn = [together.postprocess(*pair) for pair in zip(frames, outputs, strict=True)]
    for one, other in zip(expected, drawn, strict=True):
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_array_equal(one.u, other.u)


def test_a_runtime_that_fails_concurrently_says_so_where_its_frame_is_asked_for(make_style):
    with Stylizer(make_style(PACKED), concurrency=2) as stylizer:
        frame = _frame()
        stylizer._backend.close()
        (output,) = stylizer.infer([stylizer.preprocess(frame)])
        with pytest.raises(BackendError, match="closed"):
            stylizer.postprocess(frame, output)


def test_fewer_than_one_frame_at_once_is_refused(make_style):
    with pytest.raises(UsageError, match=r"concurrency = 0"):
        Stylizer(make_style(PACKED), concurrency=0)


@pytest.mark.parametrize(
    ("style", "options", "taken"),
    [
        ("ink", {}, "int8"),
        ("ink", {"precision": "fp32"}, "fp32"),
        ("ink", {"backend": "openvino"}, "fp32"),
        ("ink.onnx", {}, "fp32"),
        ("old", {}, "fp32"),
    ],
    ids=["by name", "asked for", "backend that is no faster", "by path", "of other weights"],
)
def test_the_int8_file_of_a_name_is_taken_where_it_is_faster(tmp_path, monkeypatch, style, options, taken):
    if options.get("backend") == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setattr("animevid.styles.registry.user_styles_folder", lambda: tmp_path)
    for name, weights in (("ink", "a" * 64), ("old", "b" * 64)):
        save_style(tmp_path / f"{name}.onnx", replace(PACKED, name=name, weights_sha256=weights), effect="copy")
        small = replace(PACKED, name=name, weights_sha256="a" * 64, precision="int8")
        save_style(tmp_path / f"{name}-int8.onnx", small, effect="posterize")
    frame = _frame()
    with Stylizer(str(tmp_path / style) if style.endswith(".onnx") else style, **options) as stylizer:
        drawn = stylizer.stylize_planes(frame)
    # The two files draw different frames, which shows which one ran.
    assert np.array_equal(drawn.y, frame.y) == (taken == "fp32")


def test_concurrent_frames_are_waited_for_by_a_stage_of_their_own(make_style):
    with Stylizer(make_style(PACKED), concurrency=2) as stylizer:
        assert [stage.name for stage in stylizing_stages(stylizer)] == ["preprocess", "infer", "network", "postprocess"]
        stylizer.strength = 0.0  # its result is not shown, but it is waited for, so that no queue grows
        (output,) = stylizer.infer([stylizer.preprocess(_frame())])
        stylizer.wait(output)
        assert output.result.done()


def test_a_frame_that_waits_when_the_stylizer_is_closed_says_so(make_style):
    stylizer = Stylizer(make_style(PACKED), concurrency=2)
    (output,) = stylizer.infer([stylizer.preprocess(_frame())])
    stylizer.wait(output)
    stylizer.close()
    with pytest.raises(BackendError, match="closed"):
        stylizer.infer([stylizer.preprocess(_frame())])


def test_an_int8_file_that_cannot_be_read_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("animevid.styles.registry.user_styles_folder", lambda: tmp_path)
    save_style(tmp_path / "ink.onnx", replace(PACKED, name="ink", weights_sha256="a" * 64), effect="copy")
    (tmp_path / "ink-int8.onnx").write_bytes(b"cut short")
    frame = _frame()
    with Stylizer("ink") as stylizer:
        np.testing.assert_array_equal(stylizer.stylize_planes(frame).y, frame.y)


class TestTemporalFilter:
    """Noise in a still scene does not change the drawing; everything else is drawn as without the filter."""

    @staticmethod
    def _noisy(frame: PlanesYUV420, count: int) -> list[PlanesYUV420]:
        generator = np.random.default_rng(7)
        unit = 1 << (frame.bit_depth - 8)
        grain = [generator.normal(0, 1.2 * unit, frame.y.shape) for _ in range(count)]
        return [
            frame.with_planes(np.clip(frame.y + one, 16 * unit, 235 * unit).astype(frame.y.dtype), frame.u, frame.v)
            for one in grain
        ]

    @staticmethod
    def _flicker(shown: list[PlanesYUV420]) -> float:
        return float(np.mean([np.abs(b.y.astype(int) - a.y).mean() for a, b in pairwise(shown)]))

    @pytest.mark.parametrize("card", [PACKED, NCHW, NHWC], ids=lambda card: card.layout.value)
    @pytest.mark.parametrize("bit_depth", [8, 10])
    @pytest.mark.parametrize("size", [(96, 160), (91, 151)])
    def test_a_noisy_still_scene_hardly_flickers(self, make_style, card, size, bit_depth):
        frames = self._noisy(_frame(*size, bit_depth=bit_depth), 24)
        with Stylizer(make_style(card, "posterize")) as stylizer:
            alone = [stylizer.stylize_planes(frame) for frame in frames][12:]
            steps = TemporalFilter(stylizer)
            steady = [steps.stylize_planes(frame) for frame in frames][12:]
        assert self._flicker(steady) < 0.25 * self._flicker(alone)

    @pytest.mark.parametrize("card", [PACKED, NCHW, NHWC], ids=lambda card: card.layout.value)
    def test_a_cut_is_drawn_as_if_it_were_the_first_frame(self, make_style, card):
        first, second = _frame(), _frame(seed=9)
        second = second.with_planes(255 - second.y, 255 - second.u, 255 - second.v)
        with Stylizer(make_style(card, "posterize")) as stylizer:
            steps = TemporalFilter(stylizer)
            steps.stylize_planes(first)
            shown, alone = steps.stylize_planes(second), stylizer.stylize_planes(second)
        # Where both frames happen to differ by only a few codes, they may be mixed.
        assert np.mean(np.abs(shown.y.astype(int) - alone.y) > 1) < 0.05

    def test_a_dot_that_moves_is_where_it_is(self, make_style):
        still = _frame(seed=3)
        with Stylizer(make_style(PACKED, "copy", net_pixels=0)) as stylizer:
            steps = TemporalFilter(stylizer)
            for x in range(0, 120, 2):
                y = still.y.copy()
                y[40:44, x : x + 4] = 235
                shown = steps.stylize_planes(still.with_planes(y, still.u, still.v))
                assert np.abs(shown.y.astype(int) - y).max() <= 4

    def test_in_batches_and_beside_skipped_frames_it_is_the_same(self, make_style):
        frames = [frame for frame in self._noisy(_frame(), 4) for _ in range(2)]
        with Stylizer(make_style(PACKED, "posterize")) as stylizer:
            one = TemporalFilter(stylizer)
            expected = [one.stylize_planes(frame) for frame in frames[::2]]
            steps = FrameReuse(TemporalFilter(stylizer), floor=NoiseFloor(0, 0, 0))
            outputs = steps.infer([steps.preprocess(frame) for frame in frames])
            shown = [steps.postprocess(*pair) for pair in zip(frames, outputs, strict=True)]
        assert steps.skipped == 4
        for index, frame in enumerate(shown):
            np.testing.assert_array_equal(frame.y, expected[index // 2].y)

    def test_strength_changed_on_a_skipped_frame_shows_the_same_drawing(self, make_style):
        frames = self._noisy(_frame(), 5)
        with Stylizer(make_style(PACKED, "posterize")) as stylizer:
            steps = FrameReuse(TemporalFilter(stylizer), floor=NoiseFloor(0, 0, 0))
            for frame in frames:
                full = steps.postprocess(frame, steps.infer([steps.preprocess(frame)])[0])
            for strength in (0.0, 1.0):
                stylizer.strength = strength
                again = steps.postprocess(frames[-1], steps.infer([steps.preprocess(frames[-1])])[0])
        np.testing.assert_array_equal(again.y, full.y)

    def test_the_network_at_another_size_starts_again(self, make_style):
        frames = self._noisy(_frame(), 3)
        with Stylizer(make_style(PACKED, "posterize", net_pixels=0)) as stylizer:
            steps = TemporalFilter(stylizer)
            steps.stylize_planes(frames[0])
            stylizer.net_pixels = 96 * 160 // 2
            np.testing.assert_array_equal(steps.stylize_planes(frames[1]).y, stylizer.stylize_planes(frames[1]).y)

    def test_frames_of_rgb_go_in_one_by_one(self, make_style):
        frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        with Stylizer(make_style(PACKED, "posterize")) as stylizer:
            steps = TemporalFilter(stylizer)
            np.testing.assert_array_equal(steps(frame), stylizer(frame))
            with pytest.raises(UsageError, match=r"\(H, W, 3\), \(3, H, W\)$"):
                steps(frame[np.newaxis])
