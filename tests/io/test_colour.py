"""Colours are preserved: tags and depth are kept, ranges respected, HDR tone-mapped."""

from __future__ import annotations

import numpy as np
import pytest
from animevid.errors import UnsupportedInputError
from animevid.io import VideoSource
from animevid.io.colour import colour_from_tags
from animevid.io.hdr import ToneMapper, eetf_bt2390, hlg_to_scene, nits_to_pq, pq_to_nits
from animevid.options import EncodeOptions, OutputOptions, SourceOptions
from animevid.pixels.colour import Colour, ColourRange, Matrix
from animevid.pixels.planes import PlanesYUV420
from hypothesis import given, settings
from hypothesis import strategies as st
from passing import corner_colours, pass_through, read_frames

TAGS = {
    "bt709_limited": {"matrix": 1, "colour_range": 1, "primaries": 1, "transfer": 1},
    "bt709_full": {"matrix": 1, "colour_range": 2, "primaries": 1, "transfer": 1},
    "bt601": {"matrix": 6, "colour_range": 1, "primaries": 6, "transfer": 6},
    "pal": {"matrix": 5, "colour_range": 1, "primaries": 5, "transfer": 6},
    "bt2020_sdr": {"matrix": 9, "colour_range": 1, "primaries": 9, "transfer": 14},
}


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_tags_are_written_to_stream_and_container(make_clip, probe, tmp_path, tags, suffix):
    target = tmp_path / f"out{suffix}"
    pass_through(make_clip("tagged.mp4", frames=3, **tags), target)
    with VideoSource(target) as source:
        colour = source.info.colour
    assert (int(colour.matrix), int(colour.range), colour.primaries, colour.transfer) == (
        tags["matrix"],
        tags["colour_range"],
        tags["primaries"],
        tags["transfer"],
    )
    stream = probe(target)["streams"][0]
    assert stream["color_range"] == {1: "tv", 2: "pc"}[tags["colour_range"]]
    names = {1: "bt709", 6: "smpte170m", 5: "bt470bg", 9: "bt2020nc"}
    assert stream["color_space"] == names[tags["matrix"]]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_full_range_stays_full_range(make_clip, tmp_path, suffix):
    clip = make_clip("full.mp4", frames=2, matrix=1, colour_range=2)
    target = tmp_path / f"out{suffix}"
    pass_through(clip, target)
    before, after = read_frames(clip)[0].planes, read_frames(target)[0].planes
    assert after.colour.range is ColourRange.FULL
    assert abs(float(before.y.mean()) - float(after.y.mean())) < 1


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuvj444p", "yuvj420p", "yuv444p10le"])
def test_bringing_chroma_down_leaves_luma_alone(make_clip, pix_fmt):
    """There is no hidden range conversion: only the chroma planes are resized."""
    import av

    full = 2 if "yuvj" in pix_fmt else 1
    codec = "mjpeg" if "yuvj" in pix_fmt else "ffv1"
    clip = make_clip("chroma.mkv", codec=codec, options={}, pix_fmt=pix_fmt, colour_range=full, frames=2)
    with av.open(str(clip)) as container:
        raw = next(container.decode(video=0))
        deep = "10" in pix_fmt
        luma = np.frombuffer(raw.planes[0], np.uint16 if deep else np.uint8)
        luma = luma.reshape(raw.height, -1)[:, : raw.width]
        planes = read_frames(clip)[0].planes
        np.testing.assert_array_equal(planes.y, luma)
    assert planes.bit_depth == (10 if deep else 8)
    assert corner_colours(planes) == ("red", "green", "blue", "grey")


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_ten_bits_stay_ten_bits(make_clip, tmp_path, codec):
    clip = make_clip("ten.mkv", codec="ffv1", options={}, pix_fmt="yuv420p10le", frames=3)
    target = tmp_path / "out.mp4"
    pass_through(clip, target, settings=OutputOptions(encoder=EncodeOptions(codec=codec, crf=10)))
    planes = read_frames(target)[0].planes
    assert planes.bit_depth == 10
    assert np.mean(np.abs(planes.y.astype(int) - read_frames(clip)[0].planes.y.astype(int))) < 8


def test_a_codec_without_ten_bits_says_so(make_clip, tmp_path):
    clip = make_clip("ten.mkv", codec="ffv1", options={}, pix_fmt="yuv420p10le", frames=3)
    report = pass_through(clip, tmp_path / "out.webm")
    assert any("8 bits" in notice for notice in report.notices)


def test_rgb_video_becomes_bt709(make_clip):
    clip = make_clip("rgb.mov", codec="png", options={}, pix_fmt="rgb24", frames=2)
    planes = read_frames(clip)[0].planes
    assert planes.colour.matrix is Matrix.BT709
    assert planes.colour.range is ColourRange.LIMITED
    assert corner_colours(planes) == ("red", "green", "blue", "grey")
    white = 235  # the moving bar
    assert int(planes.y.max()) == pytest.approx(white, abs=2)


@pytest.mark.parametrize("matrix", [8, 10, 14, 15])
def test_a_matrix_that_cannot_be_honoured_is_refused_in_one_line(matrix):
    with pytest.raises(UnsupportedInputError) as caught:
        colour_from_tags(matrix=matrix, colour_range=1, primaries=2, transfer=2, pixel_format="yuv420p")
    assert "\n" not in str(caught.value)


# --- HDR ----------------------------------------------------------------------------------------------------------


@given(nits=st.floats(0.01, 10_000))
def test_pq_and_its_inverse_agree(nits):
    code = nits_to_pq(np.asarray(nits, np.float64))
    assert float(pq_to_nits(np.asarray(code, np.float64))) == pytest.approx(nits, rel=2e-3)


def test_pq_and_hlg_meet_their_published_points():
    """BT.2100: PQ code 0.5081 is 100 cd/m2, 0.7518 is 1000; HLG code 0.5 is a twelfth of the peak."""
    assert float(nits_to_pq(np.asarray(100.0))) == pytest.approx(0.5081, abs=1e-3)
    assert float(nits_to_pq(np.asarray(1000.0))) == pytest.approx(0.7518, abs=1e-3)
    assert float(hlg_to_scene(np.asarray(0.5))) == pytest.approx(1 / 12, abs=1e-4)
    assert float(hlg_to_scene(np.asarray(1.0))) == pytest.approx(1.0, abs=1e-3)


def test_the_tone_curve_rises_and_ends_at_the_display_peak():
    nits = np.linspace(0.01, 1000, 500, dtype=np.float32)
    mapped = eetf_bt2390(nits, source_peak=1000, target_peak=203)
    assert np.all(np.diff(mapped) > -1e-3)
    assert mapped[-1] == pytest.approx(203, rel=0.01)
    assert mapped[0] == pytest.approx(nits[0], rel=0.05)


def _grey(code: float, transfer: int) -> PlanesYUV420:
    luma = np.full((4, 4), round(64 + 876 * code), np.uint16)
    neutral = np.full((2, 2), 512, np.uint16)
    return PlanesYUV420(luma, neutral, neutral, 10, Colour(Matrix.BT2020, ColourRange.LIMITED, 9, transfer))


@pytest.mark.parametrize(("transfer", "code"), [(16, 0.5806), (18, 0.75)], ids=["PQ", "HLG"])
def test_reference_white_comes_out_bright_and_grey(transfer, code):
    """BT.2408: reference white, 203 cd/m2, is 58 % PQ or 75 % HLG; an SDR frame shows it near its own white."""
    mapped = ToneMapper(_grey(code, transfer).colour)(_grey(code, transfer))
    luma = (float(mapped.y.mean()) - 64) / 876
    assert 0.75 < luma < 0.98
    assert float(mapped.u.mean()) == pytest.approx(512, abs=2)
    assert float(mapped.v.mean()) == pytest.approx(512, abs=2)
    assert mapped.colour == Colour(Matrix.BT709, ColourRange.LIMITED, 1, 1)


@settings(deadline=None, max_examples=30)
@given(code=st.floats(0.02, 0.75))
def test_the_tables_of_the_tone_mapper_equal_the_formulas_they_stand_for(code):
    grey = _grey(code, 16)
    nits = pq_to_nits(np.asarray((grey.y[0, 0] - 64) / 876))
    shown = eetf_bt2390(np.minimum(nits, 1000), source_peak=1000, target_peak=203) / 203
    expected = 64 + 876 * float(np.clip(shown, 0, 1)) ** (1 / 2.4)
    assert float(ToneMapper(grey.colour)(grey).y[0, 0]) == pytest.approx(expected, abs=4)


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_becomes_tagged_sdr_and_says_so(make_clip, probe, tmp_path, transfer):
    clip = make_clip(
        "hdr.mp4",
        codec="libx265",
        options={"x265-params": "log-level=none"},
        pix_fmt="yuv420p10le",
        frames=3,
        matrix=9,
        primaries=9,
        transfer=transfer,
    )
    target = tmp_path / "out.mp4"
    with VideoSource(clip) as source:
        assert any("tone-mapped" in notice for notice in source.info.notices)
        assert source.info.colour == Colour(Matrix.BT709, ColourRange.LIMITED, 1, 1)
    pass_through(clip, target)
    stream = probe(target)["streams"][0]
    assert (stream["color_space"], stream["color_transfer"], stream["color_primaries"]) == ("bt709",) * 3
    assert corner_colours(read_frames(target)[0].planes) == ("red", "green", "blue", "grey")


def test_hdr_is_refused_in_one_line_where_mapping_is_not_wanted(make_clip):
    clip = make_clip(
        "hdr.mp4",
        codec="libx265",
        options={"x265-params": "log-level=none"},
        pix_fmt="yuv420p10le",
        frames=3,
        matrix=9,
        primaries=9,
        transfer=16,
    )
    with pytest.raises(UnsupportedInputError, match="HDR") as caught:
        VideoSource(clip, SourceOptions(tone_map=False))
    assert "\n" not in str(caught.value)


# --- alpha --------------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_alpha_is_kept_where_the_container_has_it(clips, tmp_path):
    source = clips / "transparent_vp9.webm"
    before = read_frames(source)[0].planes
    assert before.alpha is not None
    assert int(before.alpha.min()) == 0
    target = tmp_path / "out.webm"
    pass_through(source, target, frames=3)
    after = read_frames(target)[0].planes
    assert np.mean(np.abs(after.alpha.astype(int) - before.alpha.astype(int))) < 3


@pytest.mark.shared
def test_prores_4444_keeps_alpha(clips, tmp_path):
    target = tmp_path / "out.mov"
    settings = OutputOptions(encoder=EncodeOptions(codec="prores"))
    pass_through(clips / "transparent_vp9.webm", target, frames=3, settings=settings)
    planes = read_frames(target)[0].planes
    assert planes.alpha is not None
    assert int(planes.alpha.min()) == 0


@pytest.mark.shared
def test_alpha_over_black_is_reported_in_one_line(clips, tmp_path):
    source, target = clips / "transparent_vp9.webm", tmp_path / "out.mp4"
    report = pass_through(source, target, frames=3)
    assert any("alpha" in notice for notice in report.notices)
    before, after = read_frames(source)[0].planes, read_frames(target)[0].planes
    assert after.alpha is None
    hidden = before.alpha == 0
    assert np.mean(np.abs(after.y[hidden].astype(int) - 16)) < 2
