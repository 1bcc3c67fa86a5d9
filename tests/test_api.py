"""Tests of the Python API: conversion, iteration, progress and cancellation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import animevid
import av
import cv2
import numpy as np
import pytest
from animevid.errors import Cancelled, OptionError, OutputError, UsageError
from animevid.io import open_source
from animevid.options import ConversionOptions, SourceOptions
from animevid.pixels import Matrix, planes_to_rgb
from animevid.render.stylizer import Stylizer
from animevid.render.temporal import TemporalFilter
from animevid.run.conversion import Conversion
from animevid.run.report import Progress
from media import audio_packets, frame_times, loop_clip, write_clip
from PIL import Image


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("api") / "clip.mp4", frames=36)


def test_everything_but_the_video_stays(clip, packed_style, tmp_path):
    report = animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style)
    assert report.frames_in == report.frames_out == 36
    assert report.frames_concealed == 0
    assert frame_times(tmp_path / "out.mp4") == frame_times(clip)
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(clip)
    assert [stage.name for stage in report.statistics.stages] == [
        "decode",
        "preprocess",
        "infer",
        "network",
        "postprocess",
        "encode",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": 720}, "size = 720 is not a size; give '1280x720', '720p', '1280x' or '50%', or (height, width)"),
        ({"size": (0, 320)}, "size = (0, 320) is not a size"),
        ({"size": "big"}, "'big' is not a size; give 1280x720"),
        ({"size": (1080, 1920, 3)}, "size = (1080, 1920, 3) is not a size"),
    ],
)
def test_an_invalid_size_is_reported(clip, tmp_path, options, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        animevid.stylize(clip, tmp_path / "out.mp4", **options)


def test_an_unknown_option_is_reported_with_a_suggestion(clip, tmp_path):
    with pytest.raises(TypeError, match=re.escape("stylize() has no option 'stile'; did you mean 'style'?")):
        animevid.stylize(clip, tmp_path / "out.mp4", stile="cel")


@pytest.mark.parametrize("deflicker", [True, False])
def test_the_output_is_what_the_stylizer_gives_frame_by_frame(clip, packed_style, tmp_path, deflicker):
    how = {"encoder": _lossless(), "skip_static": False, "deflicker": deflicker}
    animevid.stylize(clip, tmp_path / "out.mkv", style=packed_style, **how)
    with Stylizer(packed_style) as stylizer, open_source(clip) as source, open_source(tmp_path / "out.mkv") as output:
        steps = TemporalFilter(stylizer) if deflicker else stylizer
        for before, after in zip(source, output, strict=True):
            np.testing.assert_array_equal(steps.stylize_planes(before.planes).y, after.planes.y)


@pytest.mark.parametrize(("quality", "high"), [(None, True), ("fast", False)])
def test_images_are_drawn_in_high_quality_unless_asked_otherwise(clip, packed_style, tmp_path, quality, high):
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((720, 1280, 3), 99, np.uint8))
    for src, dst, pixels in (("photo.png", "out.png", 4 if high else 1), (clip, "out.mp4", 1)):
        with Conversion(tmp_path / src, tmp_path / dst, ConversionOptions(packed_style, quality=quality)) as conversion:
            stylizer = conversion.stylizer
            assert stylizer.net_pixels == pixels * stylizer.card.net_pixels


def test_frames_come_one_by_one_with_their_exact_time(clip, packed_style):
    frames = list(animevid.stylized_frames(clip, style=packed_style))
    assert [frame.pts_seconds for frame in frames] == [Fraction(index, 24) for index in range(36)]
    assert [frame.index for frame in frames] == list(range(36))
    rgb = planes_to_rgb(frames[0].planes)
    assert (rgb.dtype, rgb.shape) == (np.uint8, (96, 160, 3))


def test_a_frame_gives_rgb_upright_and_is_shown_by_a_notebook(clip, packed_style):
    frame = next(animevid.stylized_frames(clip, style=packed_style))
    np.testing.assert_array_equal(frame.to_rgb(), planes_to_rgb(frame.planes))
    turned = replace(frame, rotation_degrees=90)
    np.testing.assert_array_equal(turned.to_rgb(), cv2.rotate(planes_to_rgb(frame.planes), cv2.ROTATE_90_CLOCKWISE))
    shown = cv2.imdecode(np.frombuffer(turned._repr_png_(), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(shown, turned.to_rgb())


def test_a_size_is_reported_as_on_the_command_line_too():
    assert ConversionOptions(size="1280x720").size(90, 160) == (720, 1280)
    with pytest.raises(UsageError, match="'1280:720' is not a size; give 1280x720, 720p"):
        ConversionOptions(size="1280:720")


def test_leaving_the_frames_early_leaves_no_thread(clip, packed_style):
    for frame in animevid.stylized_frames(clip, style=packed_style):
        if frame.index == 3:
            break
    del frame
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("animevid-")]


def test_a_cut_and_another_size(clip, packed_style, tmp_path):
    report = animevid.stylize(
        clip, tmp_path / "out.mp4", style=packed_style, start_seconds=0.5, end_seconds=1.0, size=(48, 80)
    )
    assert report.frames_out == 12
    with open_source(tmp_path / "out.mp4") as output:
        assert (output.info.display_height, output.info.display_width) == (48, 80)
        assert output.info.sample_aspect_ratio == 1


def test_another_shape_keeps_its_look_on_the_screen(clip, packed_style, tmp_path):
    animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style, size=(96, 96))
    with open_source(tmp_path / "out.mp4") as output:
        assert output.info.sample_aspect_ratio == Fraction(160, 96)


def test_an_untagged_matrix_is_named_where_another_size_would_change_its_meaning(packed_style, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=3, height=720, width=320, audio=False)
    with open_source(clip) as source:
        assert source.info.colour.matrix is Matrix.UNSPECIFIED
    for height, matrix in ((720, Matrix.UNSPECIFIED), (360, Matrix.BT709)):
        target = tmp_path / f"{height}.mp4"
        animevid.stylize(clip, target, style=packed_style, size=(height, 160))
        with open_source(target) as output:
            assert output.info.colour.matrix is matrix


@pytest.mark.parametrize(("mode", "width"), [("side", 320), ("split", 160)])
def test_a_comparison_shows_the_original_too(clip, packed_style, tmp_path, mode, width):
    animevid.stylize(clip, tmp_path / "out.mkv", style=packed_style, compare=mode, encoder=_lossless())
    with open_source(clip) as source, open_source(tmp_path / "out.mkv") as output:
        assert output.info.display_width == width
        before, after = next(iter(source)).planes, next(iter(output)).planes
        np.testing.assert_array_equal(before.y[:, :70], after.y[:, :70])
        assert (before.y[:, 90:160] != after.y[:, -70:]).any()


def test_an_unknown_comparison_is_refused(clip, packed_style, tmp_path):
    with pytest.raises(UsageError, match="compare"):
        animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style, compare="up")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"codec": "h265", "crf": 99},
            r"codec = 'h265' must be one of auto, h264, hevc, .*; did you mean 'hevc'\?; "
            r"crf = 99 must be 0 \(best\) to 51, for av1 and vp9 to 63$",
        ),
        ({"crf": "20"}, "crf = '20' must be 0"),
        ({"codec": "av1", "encoder": animevid.EncodeOptions(codec="hevc")}, "codec = 'av1' is given in encoder too"),
        ({"quality": "hihg"}, "quality = 'hihg' must be one of None, fast, high; did you mean 'high'"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_a_value_error_before_any_file_is_opened(tmp_path, wrong, told):
    with pytest.raises(ValueError, match=told) as caught:
        animevid.stylize(tmp_path / "missing.mp4", tmp_path / "out.mp4", **wrong)
    assert isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)


def test_a_quality_that_the_codec_does_not_know_is_refused_before_anything_is_written(clip, packed_style, tmp_path):
    with pytest.raises(ValueError, match=r"crf = 60 is out of range for libx264: 0 .* 51"):
        animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style, crf=60)
    assert os.listdir(tmp_path) == []


def test_codec_and_quality_may_be_given_directly(clip, packed_style, tmp_path):
    report = animevid.stylize(clip, tmp_path / "out.mkv", style=packed_style, codec="ffv1")
    assert report.frames_out == 36
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].codec_context.name == "ffv1"
    for crf in (10, 45):
        animevid.stylize(clip, tmp_path / f"{crf}.mp4", style=packed_style, crf=crf)
    assert (tmp_path / "10.mp4").stat().st_size > 1.5 * (tmp_path / "45.mp4").stat().st_size


def test_two_codecs_are_refused(clip, packed_style, tmp_path):
    encoder = animevid.EncodeOptions(codec="hevc")
    with pytest.raises(OptionError, match="codec = 'ffv1' is given in encoder too"):
        animevid.stylize(clip, tmp_path / "out.mkv", style=packed_style, codec="ffv1", encoder=encoder)


def test_a_codec_may_be_given_for_a_video_made_from_images(packed_style, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 48), (90, 120, 150)).save(photos / name)
    animevid.stylize(photos, tmp_path / "out.mkv", style=packed_style, codec="ffv1")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].codec_context.name == "ffv1"


def test_a_still_clip_runs_the_network_once(packed_style, tmp_path):
    clip = write_clip(tmp_path / "still.mp4", frames=24, still=True, audio=False)
    report = animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style)
    assert report.frames_out == 24
    assert report.frames_reused >= 20
    every = animevid.stylize(clip, tmp_path / "every.mp4", style=packed_style, skip_static=False)
    assert every.frames_reused == 0


def test_a_noisy_still_clip_flickers_less_than_frame_by_frame(packed_style, tmp_path):
    still = np.full((96, 160), 100, np.uint8)
    generator = np.random.default_rng(3)
    clip = tmp_path / "noisy.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(20):
            frame = av.VideoFrame(160, 96, "yuv420p")
            luma = np.clip(still + np.arange(160) // 2 + generator.normal(0, 2, still.shape), 0, 255)
            for plane, values in zip(frame.planes, (luma, still[::2, ::2] + 28, still[::2, ::2] + 28), strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : plane.width] = values
                plane.update(rows)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    flicker = []
    for deflicker in (False, True):
        frames = list(animevid.stylized_frames(clip, style=packed_style, deflicker=deflicker, skip_static=False))
        shown = np.stack([frame.planes.y.astype(int) for frame in frames[8:]])
        flicker.append(float(np.abs(np.diff(shown, axis=0)).mean()))
    assert flicker[1] < 0.4 * flicker[0]


def test_separate_images_are_not_mixed(packed_style, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    generator = np.random.default_rng(4)
    for number in range(3):
        grain = np.clip(100 + np.arange(160) // 2 + generator.normal(0, 2, (96, 160)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), np.dstack([grain] * 3))
    for name, deflicker in (("with", True), ("without", False)):
        animevid.stylize(folder, tmp_path / name, style=packed_style, deflicker=deflicker)
    for number in range(3):
        with_, without = (cv2.imread(str(tmp_path / name / f"{number}.png")) for name in ("with", "without"))
        np.testing.assert_array_equal(with_, without)


def test_progress_is_reported_in_the_callers_thread(clip, packed_style, tmp_path):
    told: list[Progress] = []
    threads = set()

    def on_progress(progress: Progress) -> None:
        told.append(progress)
        threads.add(threading.current_thread())

    long = write_clip(tmp_path / "long.mp4", frames=240, height=240, width=320, audio=False)
    animevid.stylize(long, tmp_path / "out.mp4", style=packed_style, on_progress=on_progress)
    assert threads == {threading.current_thread()}
    assert [progress.frames_done for progress in told] == sorted(progress.frames_done for progress in told)
    assert {progress.frames_total for progress in told} == {240}
    assert told[-1].frames_done == 240, "the last call tells the end"


def test_an_open_stylizer_serves_several_conversions_and_stays_open(clip, packed_style, tmp_path):
    with Stylizer(packed_style) as stylizer:
        for name in ("one.mp4", "two.mp4"):
            animevid.stylize(clip, tmp_path / name, style=stylizer, encoder=_lossless())
        stylizer(np.zeros((8, 8, 3), np.uint8))
    # Compare frames, not bytes: an encoder with several threads may write different files.
    with open_source(tmp_path / "one.mp4") as one, open_source(tmp_path / "two.mp4") as two:
        for first, second in zip(one, two, strict=True):
            np.testing.assert_array_equal(first.planes.y, second.planes.y)


def test_an_existing_output_needs_leave(clip, packed_style, tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"exists already: .* \(-y\)"):
        animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style)
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    animevid.stylize(clip, tmp_path / "out.mp4", style=packed_style, overwrite=True)
    assert frame_times(tmp_path / "out.mp4")


def test_an_error_in_the_middle_leaves_nothing_behind(clip, packed_style, tmp_path):
    def on_progress(_: Progress) -> None:
        raise Cancelled("the caller has had enough")

    long = write_clip(tmp_path / "long.mp4", frames=400, height=240, width=320, audio=False)
    with pytest.raises(Cancelled):
        animevid.stylize(long, tmp_path / "out.mp4", style=packed_style, on_progress=on_progress)
    assert os.listdir(tmp_path) == ["long.mp4"]


def test_stopping_finishes_the_file_early(packed_style, tmp_path):
    long = write_clip(tmp_path / "long.mp4", frames=400, height=240, width=320, audio=False)
    with Conversion(long, tmp_path / "out.mp4", ConversionOptions(style=packed_style)) as conversion:
        report = conversion.run(on_progress=lambda _: conversion.stop())
    assert 0 < report.frames_out < 400
    assert len(frame_times(tmp_path / "out.mp4")) == report.frames_out


def test_a_plan_says_what_will_happen_and_writes_nothing(clip, packed_style, tmp_path):
    options = ConversionOptions(style=packed_style, compare="side")
    with Conversion(clip, tmp_path / "out.mp4", options) as conversion:
        plan = conversion.plan
    assert (plan.size, plan.output_size, plan.net_size) == ((96, 160), (96, 320), (96, 160))
    assert (plan.style, plan.quality) == ("test-packed", "fast")
    assert plan.frames_total == 36
    assert len(plan.decisions) == 1
    assert not plan.losses
    assert os.listdir(tmp_path) == []


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "av1.mkv",
        "bt709_full_range.mp4",
        "hevc_10bit.mp4",
        "no_duration.webm",
        "phone_vfr_rotated180_aac.mp4",
        "portrait_540x960_aac.mp4",
        "transparent_vp9.webm",
    ],
)
def test_real_clips_keep_their_times(clips, packed_style, tmp_path, name):
    suffix = ".webm" if name.endswith(".webm") else ".mkv" if name.endswith(".mkv") else ".mp4"
    target = tmp_path / f"out{suffix}"
    report = animevid.stylize(clips / name, target, style=packed_style, end_seconds=1, size=(90, 160))
    with open_source(clips / name, SourceOptions(end_seconds=Fraction(1))) as source:
        wanted = [frame.pts_seconds - source.origin_seconds for frame in source]
    with open_source(target) as output:
        written = [frame.pts_seconds - output.origin_seconds for frame in output]
    assert report.frames_out == len(wanted) == len(written)
    for before, after in zip(wanted, written, strict=True):
        assert abs(before - after) <= Fraction(1, 1000)  # Matroska counts in milliseconds


def test_names_are_loaded_when_they_are_used():
    """``import animevid`` loads no codec, no runtime and no array library."""
    code = (
        "import sys, animevid\n"
        "heavy = {'numpy', 'av', 'onnxruntime', 'cv2', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(animevid.__all__) <= set(dir(animevid))\n"
        "animevid.EncodeOptions\n"
        "assert 'numpy' not in sys.modules\n"
        "animevid.Stylizer\n"
        "assert {'torch', 'PIL'}.isdisjoint(sys.modules)\n"
        "assert 'aozora' in {style.card.name for style in animevid.list_styles()}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'stilize'"):
        animevid.stilize  # noqa: B018


def test_the_version_is_that_of_the_package():
    import tomllib

    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert animevid.__version__ == project["version"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(packed_style, tmp_path):
    """A clip 20 times as long takes as much memory as the short one, up to a few buffers."""
    short = write_clip(tmp_path / "short.mp4", frames=100, height=180, width=320, audio=False)
    long = loop_clip(short, tmp_path / "long.mp4", times=20)
    code = (
        "import sys, animevid\n"
        "animevid.stylize(sys.argv[1], sys.argv[2], style=sys.argv[3], overwrite=True, skip_static=False)\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )

    def peak_megabytes(clip: Path) -> float:
        command = [sys.executable, "-c", code, clip, tmp_path / "out.mp4", packed_style]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024

    # 2000 frames of 320x180 would be 170 MB if they piled up.
    assert peak_megabytes(long) < peak_megabytes(short) + 30


def _lossless():
    from animevid.options import EncodeOptions

    return EncodeOptions(codec="h264", crf=0, preset="ultrafast")
