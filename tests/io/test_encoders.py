"""The requested encoder is used, or a notice names its replacement."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np
import pytest
from animevid.errors import OutputError, UsageError
from animevid.io import FrameFormat, VideoSource, encoders
from animevid.io.encoders import HARDWARE_FAMILIES, choose_encoder
from animevid.options import EncodeOptions, OutputOptions
from passing import pass_through, read_frames, times

SMALL = FrameFormat(64, 48, rate=Fraction(25))


@pytest.mark.parametrize(
    ("codec", "suffix", "written"),
    [
        ("auto", ".mp4", "h264"),
        ("auto", ".webm", "vp9"),
        ("h264", ".mkv", "h264"),
        ("hevc", ".mp4", "hevc"),
        ("av1", ".mp4", "av1"),
        ("av1", ".webm", "av1"),
        ("vp9", ".webm", "vp9"),
        ("prores", ".mov", "prores"),
        ("ffv1", ".mkv", "ffv1"),
    ],
)
def test_each_codec_writes_what_it_says(make_clip, probe, tmp_path, codec, suffix, written):
    clip, target = make_clip("even.mp4", width=128, height=96), tmp_path / f"out{suffix}"
    pass_through(clip, target, settings=OutputOptions(encoder=EncodeOptions(codec=codec)))
    assert probe(target)["streams"][0]["codec_name"] == written
    assert times(target) == times(clip)


def test_hevc_in_mp4_is_tagged_as_apple_players_want_it(make_clip, probe, tmp_path):
    target = tmp_path / "out.mp4"
    settings = OutputOptions(encoder=EncodeOptions(codec="hevc"))
    pass_through(make_clip("even.mp4"), target, settings=settings)
    assert probe(target)["streams"][0]["codec_tag_string"] == "hvc1"


def test_a_lower_crf_makes_a_larger_file(make_clip, tmp_path):
    clip = make_clip("even.mp4", width=320, height=240)
    sizes = [
        pass_through(
            clip, tmp_path / f"{crf}.mp4", settings=OutputOptions(encoder=EncodeOptions(crf=crf))
        ).bytes_written
        for crf in (10, 45)
    ]
    assert sizes[0] > sizes[1]


def test_a_bitrate_replaces_the_constant_quality():
    plan = choose_encoder(EncodeOptions(bitrate_bps=300_000), SMALL, container="mp4")
    assert "crf" not in plan.options
    assert plan.bitrate_bps == 300_000


@pytest.mark.parametrize("family", ["auto", *HARDWARE_FAMILIES])
def test_hardware_is_used_where_it_opens_and_else_replaced_in_so_many_words(make_clip, tmp_path, family):
    settings = OutputOptions(encoder=EncodeOptions(hardware=family))
    report = pass_through(make_clip("even.mp4", width=320, height=240), tmp_path / "out.mp4", settings=settings)
    if report.encoder.startswith("libx264"):
        assert any("libx264 is used instead" in notice for notice in report.notices)
    else:
        assert report.encoder.startswith("h264_")


@pytest.mark.parametrize(
    ("settings", "container", "word"),
    [
        (EncodeOptions(codec="h264"), "webm", "vp9"),
        (EncodeOptions(codec="prores"), "mp4", "h264"),
        (EncodeOptions(crf=60), "mp4", "51"),
        (EncodeOptions(crf=20, bitrate_bps=1000), "mp4", "exclude"),
        (EncodeOptions(preset="warp"), "mp4", "warp"),
        (EncodeOptions(codec="prores", crf=20), "mov", "crf"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(settings, container, word):
    with pytest.raises(UsageError, match=word) as caught:
        choose_encoder(settings, SMALL, container=container)
    assert "\n" not in str(caught.value)


def test_a_frame_the_encoder_refuses_is_an_output_error():
    with pytest.raises(OutputError, match="libx265"):
        choose_encoder(EncodeOptions(codec="hevc"), FrameFormat(2, 2, rate=Fraction(25)), container="mp4")


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (63, 47)])
def test_odd_sizes_are_extended_by_their_last_row_and_column(make_clip, tmp_path, width, height):
    clip = make_clip("odd.mkv", codec="ffv1", options={}, width=width, height=height, frames=3)
    target = tmp_path / "out.mp4"
    report = pass_through(clip, target, settings=OutputOptions(encoder=EncodeOptions(crf=1)))
    assert any("odd" in notice for notice in report.notices)
    before, after = read_frames(clip)[0].planes, read_frames(target)[0].planes
    assert (after.width, after.height) == (width + width % 2, height + height % 2)
    inner = after.y[:height, :width].astype(int)
    assert np.mean(np.abs(inner - before.y.astype(int))) < 3
    if width % 2:
        assert np.mean(np.abs(after.y[:, -1].astype(int) - after.y[:, -2].astype(int))) < 4


@pytest.mark.parametrize("codec", ["vp9", "ffv1"])
def test_codecs_that_know_odd_sizes_keep_them(make_clip, tmp_path, codec):
    clip = make_clip("odd.mkv", codec="ffv1", options={}, width=63, height=47, frames=3)
    target = tmp_path / "out.mkv"
    pass_through(clip, target, settings=OutputOptions(encoder=EncodeOptions(codec=codec)))
    with VideoSource(target) as source:
        assert (source.info.width, source.info.height) == (63, 47)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_the_shape_of_the_pixels_is_carried(make_clip, probe, tmp_path, suffix):
    clip, target = make_clip("wide.mp4", sample_aspect_ratio=Fraction(4, 3)), tmp_path / f"out{suffix}"
    pass_through(clip, target)
    assert probe(target)["streams"][0]["sample_aspect_ratio"] == "4:3"


def test_the_shape_of_the_pixels_turns_with_the_frame(make_clip, probe, tmp_path):
    clip = make_clip("wide.mp4", sample_aspect_ratio=Fraction(4, 3), display_rotation=-90)
    target = tmp_path / "out.mp4"
    pass_through(clip, target)
    stream = probe(target)["streams"][0]
    assert (stream["width"], stream["height"], stream["sample_aspect_ratio"]) == (48, 64, "3:4")


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_the_index_comes_first_so_that_players_can_start_at_once(make_clip, tmp_path, suffix):
    target = tmp_path / f"out{suffix}"
    pass_through(make_clip("even.mp4"), target)
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_the_encoders_keep_quiet(make_clip, tmp_path, capfd):
    for codec in ("h264", "hevc", "av1"):
        settings = OutputOptions(encoder=EncodeOptions(codec=codec))
        pass_through(make_clip("even.mp4", width=128, height=96), tmp_path / f"{codec}.mp4", settings=settings)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_pyav_has_the_software_encoders_we_name():
    assert {"libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "ffv1"} <= set(av.codecs_available)


@pytest.mark.parametrize(
    ("codec", "settings", "expected"),
    [
        ("h264", {}, {"rc": "vbr", "cq": "20", "b": "0", "preset": "p5"}),
        ("hevc", {}, {"rc": "vbr", "cq": "23", "b": "0"}),
        ("av1", {"crf": 0}, {"rc": "vbr", "cq": "1", "b": "0"}),
        ("h264", {"crf": 27.5, "preset": "p6"}, {"rc": "vbr", "cq": "27.5", "b": "0", "preset": "p6"}),
        ("h264", {"bitrate_bps": 9_000_000}, {"rc": "vbr", "cq": None, "b": None}),
    ],
)
def test_nvenc_is_never_left_to_its_two_megabits(monkeypatch, codec, settings, expected):
    monkeypatch.setattr(encoders, "opening_failure", lambda plan, frame_format: None)
    plan = choose_encoder(EncodeOptions(codec=codec, hardware="nvenc", **settings), SMALL, container="mp4")
    assert plan.encoder == f"{codec}_nvenc"
    assert {name: plan.options.get(name) for name in expected} == expected
    assert plan.bitrate_bps == settings.get("bitrate_bps")


@pytest.mark.skipif(sys.platform != "linux", reason="asks the libraries of PyAV's wheel for Linux")
@pytest.mark.parametrize("settings", [{}, {"crf": 0}, {"crf": 51}, {"preset": "p6"}, {"bitrate_bps": 9_000_000}])
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_ffmpeg_knows_every_option_that_nvenc_is_given_and_takes_its_value(monkeypatch, codec, settings):
    """FFmpeg sets each option on a context of that encoder, which needs no GPU."""
    libraries = {path.name.partition("-")[0]: path for path in Path(av.__file__).parents[1].glob("av.libs/lib*")}
    if not {"libavcodec", "libavutil"} <= libraries.keys():
        pytest.skip("this PyAV has its FFmpeg elsewhere")
    codecs, utilities = (ctypes.CDLL(str(libraries[name])) for name in ("libavcodec", "libavutil"))
    codecs.avcodec_find_encoder_by_name.restype = codecs.avcodec_alloc_context3.restype = ctypes.c_void_p
    monkeypatch.setattr(encoders, "opening_failure", lambda plan, frame_format: None)
    plan = choose_encoder(EncodeOptions(codec=codec, hardware="nvenc", **settings), SMALL, container="mp4")
    encoder = codecs.avcodec_find_encoder_by_name(plan.encoder.encode())
    context = ctypes.c_void_p(codecs.avcodec_alloc_context3(ctypes.c_void_p(encoder)))
    search_children = 1  # AV_OPT_SEARCH_CHILDREN: the encoder's own options, too
    refused = {
        name: value
        for name, value in plan.options.items()
        if utilities.av_opt_set(context, name.encode(), value.encode(), search_children) != 0
    }
    codecs.avcodec_free_context(ctypes.byref(context))
    assert refused == {}


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
@pytest.mark.parametrize("hardware", ["nvenc", "auto"])
def test_why_nvenc_does_not_open_is_reported_in_ffmpegs_words_where_an_nvidia_driver_is(monkeypatch, hardware):
    """An error number ("Operation not permitted") would not tell users to update the driver."""
    assert "Cannot load" in encoders.ffmpegs_words(encoders._plan(
        "h264_nvenc", "h264", EncodeOptions(), SMALL, container="mp4"), SMALL)  # fmt: skip
    assert av.logging.get_level() is None
    (notice,) = choose_encoder(EncodeOptions(hardware="auto"), SMALL, container="mp4").notices
    assert notice == "no hardware encoder opens: libx264 is used instead"
    needed = "The minimum required Nvidia driver for nvenc is 570.0 or newer"
    monkeypatch.setattr(encoders, "ffmpegs_words", lambda plan, frame_format: needed)
    (notice,) = choose_encoder(EncodeOptions(hardware=hardware), SMALL, container="mp4").notices
    assert needed in notice
    assert notice.endswith("libx264 is used instead")


def test_the_driver_that_nvenc_needs_is_the_one_that_the_docs_name():
    """It is built into PyAV's FFmpeg, and a newer PyAV may ask for more."""
    (library,) = [*Path(av.__file__).parents[1].glob("av.libs/libavcodec-*")] or [None]
    if library is None:
        pytest.skip("this PyAV has its FFmpeg elsewhere")
    docs = (Path(__file__).resolve().parents[2] / "docs" / "gpu.md").read_text()
    (named,) = re.findall(r"NVENC of PyAV's FFmpeg needs driver (\d+) or later", docs)
    assert f"\0{named}.0\0".encode() in library.read_bytes()


def test_a_quality_that_nvenc_does_not_know_is_refused():
    assert encoders._options("av1_nvenc", EncodeOptions(crf=60), has_alpha=False)["cq"] == "60"
    with pytest.raises(UsageError, match=r"0 \(best\) to 51"):
        choose_encoder(EncodeOptions(crf=60, hardware="nvenc"), SMALL, container="mp4")


def test_the_same_frames_give_the_same_bytes_whatever_the_memory_held(make_clip):
    """x264's AVX-512 code reads uninitialized memory, which changed the bytes of one video in three."""
    clip = make_clip("busy.mp4", width=160, height=96, options={"crf": "10"})
    plan = choose_encoder(EncodeOptions(threads=1), SMALL, container="mp4")
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    noise, videos, kept = np.random.default_rng(0), set(), []
    for _ in range(40):
        context = av.CodecContext.create(plan.encoder, "w")
        encoders.open_context(context, replace(plan, width=160, height=96), SMALL)
        coded = []
        for number, frame in enumerate([*frames, None]):
            if frame is not None:
                frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 25), 0
            coded += [bytes(packet) for packet in context.encode(frame)]
        videos.add(b"".join(coded))
        kept.append(noise.integers(0, 255, noise.integers(1000, 300_000), dtype=np.uint8))
        del kept[:-20:3]  # fragment the heap
    assert len(videos) == 1


def test_a_callers_parameters_of_x264_come_after_ours():
    settings = EncodeOptions(options=(("x264-params", "keyint=7"),))
    plan = choose_encoder(settings, SMALL, container="mp4")
    assert plan.options["x264-params"] == "cpu-independent=1:keyint=7"
