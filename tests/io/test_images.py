"""Images, folders and animations, read and written upright and in correct colours."""

from __future__ import annotations

import shutil
import struct
import time
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from animevid.errors import InputError, OutputError, UsageError
from animevid.io import ImageSource, VideoSource, open_sink, open_source
from animevid.io.sinks.images import encode_image
from animevid.options import OutputOptions, SourceOptions
from animevid.pixels import planes_to_rgb, rgb_to_planes
from passing import corner_colours, pass_through, read_frames, times
from small_clips import test_card

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
UPRIGHT = ("red", "green", "blue", "grey")


@pytest.fixture
def card(tmp_path):
    """A function that writes the test card as an image file with OpenCV."""

    def write(name, *, width=96, height=64, number=0, deep=False, alpha=False):
        rgb = test_card(width, height, number)
        image = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA if alpha else cv2.COLOR_RGB2BGR)
        if alpha:
            image[: height // 2, :, 3] = 0
        if deep:
            image = image.astype(np.uint16) * 257
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image)
        return path

    return write


def _bgr(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR).astype(int)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".bmp", ".tiff"])
def test_an_image_is_read(card, suffix):
    if suffix == ".avif" and not cv2.haveImageWriter(".avif"):
        pytest.skip("this OpenCV writes no AVIF")
    path = card(f"card{suffix}")
    with open_source(path) as source:
        (frame,) = source
        assert source.info.is_still
        assert (source.info.display_width, source.info.display_height) == (96, 64)
    assert corner_colours(frame.planes) == UPRIGHT
    assert frame.planes.alpha is None


@pytest.mark.parametrize("source", [".png", ".jpg"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".avif"])
def test_an_image_passes_in_its_own_colours(card, tmp_path, source, target):
    path, written = card(f"in{source}"), tmp_path / f"out{target}"
    pass_through(path, written)
    if target == ".avif":
        assert corner_colours(read_frames(written)[0].planes) == UPRIGHT
        return
    before, after = _bgr(path), _bgr(written)
    assert before.shape == after.shape
    inner = np.abs(before - after)
    assert np.median(inner) <= 2
    assert np.mean(inner) < 6  # chroma is halved, so edges differ


@pytest.mark.shared
def test_a_photo_passes_without_a_cast(shared, tmp_path):
    path = sorted((shared / "photos").glob("scene-fields*.jpg"))[0]
    for suffix in (".png", ".jpg", ".webp"):
        written = tmp_path / f"out{suffix}"
        pass_through(path, written)
        assert np.abs((_bgr(path) - _bgr(written)).mean(axis=(0, 1))).max() < 1
        assert np.mean(np.abs(_bgr(path) - _bgr(written))) < 4


def _with_exif(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_opencv_applies_it(card, tmp_path, orientation):
    path = tmp_path / "turned.jpg"
    path.write_bytes(_with_exif(card("plain.jpg").read_bytes(), orientation))
    expected = cv2.imread(str(path), cv2.IMREAD_COLOR)  # OpenCV honours EXIF
    written = tmp_path / "out.png"
    pass_through(path, written)
    assert _bgr(written).shape == expected.shape
    assert np.median(np.abs(_bgr(written) - expected.astype(int))) <= 3


def test_a_wrong_suffix_is_no_obstacle(card, tmp_path):
    path = tmp_path / "really_a_jpeg.png"
    shutil.copy(card("card.jpg"), path)
    assert corner_colours(read_frames(path)[0].planes) == UPRIGHT


def test_a_percent_sign_in_a_name_is_no_pattern(card):
    assert len(read_frames(card("50%d off.png"))) == 1


def test_alpha_is_kept_in_png_and_webp_and_reported_to_be_lost_in_jpeg(card, tmp_path):
    path = card("see_through.png", alpha=True)
    for suffix in (".png", ".webp"):
        pass_through(path, tmp_path / f"out{suffix}")
        alpha = cv2.imread(str(tmp_path / f"out{suffix}"), cv2.IMREAD_UNCHANGED)[:, :, 3]
        assert (int(alpha[0, 0]), int(alpha[-1, -1])) == (0, 255)
    report = pass_through(path, tmp_path / "out.jpg")
    assert any("alpha" in notice for notice in report.notices)
    assert _bgr(tmp_path / "out.jpg")[5, 5].max() < 5


def test_sixteen_bits_come_out_as_sixteen(card, tmp_path):
    path = card("deep.png", deep=True)
    assert read_frames(path)[0].planes.bit_depth == 10
    pass_through(path, tmp_path / "out.png")
    written = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    before = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.median(np.abs(written.astype(int) - before.astype(int))) < 257


def test_an_odd_image_keeps_its_size(card, tmp_path):
    for suffix in (".png", ".jpg", ".webp"):
        pass_through(card("odd.png", width=97, height=63), tmp_path / f"out{suffix}")
        assert _bgr(tmp_path / f"out{suffix}").shape == (63, 97, 3)


def test_a_folder_becomes_a_folder_with_the_same_names(card, tmp_path):
    for number in (1, 2, 10):
        card(f"album/card{number}.jpg", number=number)
    (tmp_path / "album" / "notes.txt").write_text("not an image")
    with open_source(tmp_path / "album") as source:
        assert list(source.image_names) == ["card1.jpg", "card2.jpg", "card10.jpg"]
    pass_through(tmp_path / "album", tmp_path / "done")
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["card1.jpg", "card10.jpg", "card2.jpg"]


def test_a_glob_takes_what_it_matches(card, tmp_path):
    card("album/a1.png"), card("album/a2.png"), card("album/b1.png")
    assert len(read_frames(str(tmp_path / "album" / "a*.png"))) == 2


def test_a_folder_of_images_becomes_a_video_at_the_rate_asked_for(card, tmp_path):
    for number in range(5):
        card(f"album/{number}.png", number=number)
    pass_through(tmp_path / "album", tmp_path / "video.mp4", image_rate=Fraction(10))
    assert times(tmp_path / "video.mp4") == [Fraction(i, 10) for i in range(5)]
    frames = read_frames(tmp_path / "album", image_rate=Fraction(10))
    assert [frame.pts_seconds for frame in frames] == [Fraction(i, 10) for i in range(5)]
    assert {frame.duration_seconds for frame in frames} == {Fraction(1, 10)}


def test_a_video_becomes_a_folder_of_images(make_clip, tmp_path):
    pass_through(make_clip("even.mp4"), tmp_path / "frames")
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"{number:06d}.png" for number in range(1, 11)]


def test_a_pattern_names_the_images(make_clip, tmp_path):
    pass_through(make_clip("even.mp4"), tmp_path / "frames" / "f%03d.jpg")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir())[::9] == ["f001.jpg", "f010.jpg"]


def test_one_unreadable_image_among_many_is_skipped_and_counted(card, tmp_path):
    for number in range(4):
        card(f"album/{number}.png", number=number)
    damaged = tmp_path / "album" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with open_source(tmp_path / "album") as source:
        assert [frame.index for frame in source] == [0, 2, 3]
        assert source.frames_concealed == 1


def test_a_single_damaged_image_is_an_error(card):
    path = card("card.png")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"card\.png"):
        open_source(path)


def test_one_image_is_asked_of_a_video(make_clip, tmp_path):
    with pytest.raises(UsageError, match="the source is a video"):
        pass_through(make_clip("even.mp4"), tmp_path / "out.png")


def test_an_image_that_exists_needs_leave(card, tmp_path):
    path, target = card("in.png"), tmp_path / "out.png"
    target.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        pass_through(path, target)
    pass_through(path, target, settings=OutputOptions(overwrite=True))
    assert corner_colours(read_frames(target)[0].planes) == UPRIGHT


def test_a_folder_is_not_written_into_itself(card, tmp_path):
    card("album/1.png")
    with pytest.raises(OutputError, match="input"):
        pass_through(tmp_path / "album", tmp_path / "album", settings=OutputOptions(overwrite=True))


def test_a_folder_with_files_in_it_needs_leave(card, tmp_path):
    card("album/1.png"), card("full/old.png")
    with pytest.raises(OutputError, match="files"):
        pass_through(tmp_path / "album", tmp_path / "full")
    pass_through(tmp_path / "album", tmp_path / "full", settings=OutputOptions(overwrite=True))
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["1.png", "old.png"]


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_out_of_range_is_refused(card, quality):
    planes = read_frames(card("card.png"))[0].planes
    with pytest.raises(UsageError, match="quality"):
        encode_image(planes, ".jpg", quality=quality)


def test_a_lower_quality_makes_a_smaller_jpeg(card):
    planes = read_frames(card("card.png", width=400, height=300))[0].planes
    sizes = [len(encode_image(planes, ".jpg", quality=quality)) for quality in (30, 75, 92, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


# --- animations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".apng"])
def test_an_animation_keeps_its_times_and_colours(make_clip, tmp_path, suffix):
    clip = make_clip("even.mp4", width=96, height=64)
    target = tmp_path / f"out{suffix}"
    report = pass_through(clip, target)
    assert report.frames_written == 10
    frames = read_frames(target)
    assert [frame.pts_seconds for frame in frames] == times(clip)
    assert corner_colours(frames[3].planes) == UPRIGHT


def test_a_gif_becomes_a_video_and_a_gif_again(make_clip, tmp_path):
    first, video, second = tmp_path / "a.gif", tmp_path / "b.mp4", tmp_path / "c.gif"
    pass_through(make_clip("uneven.mp4", pts=(0, 1280, 5120, 6400)), first)
    pass_through(first, video)
    pass_through(video, second)
    assert times(video) == times(first)
    assert times(second) == times(first) == [0, Fraction(1, 10), Fraction(2, 5), Fraction(1, 2)]


def test_an_opaque_gif_has_no_alpha(make_clip, tmp_path):
    pass_through(make_clip("even.mp4"), tmp_path / "a.gif")
    with VideoSource(tmp_path / "a.gif") as source:
        assert not source.info.has_alpha


@pytest.mark.shared
def test_a_see_through_gif_stays_see_through(clips, tmp_path):
    pass_through(clips / "transparent_vp9.webm", tmp_path / "a.gif", frames=5)
    planes = read_frames(tmp_path / "a.gif")[0].planes
    assert planes.alpha is not None
    assert int(planes.alpha.min()) == 0


def test_a_gif_is_thinned_to_what_viewers_show(make_clip, tmp_path):
    clip = make_clip("fast.mp4", rate=Fraction(100), frames=20)
    report = pass_through(clip, tmp_path / "a.gif")
    assert report.frames_written == 10
    assert any("50 a second" in notice for notice in report.notices)


def test_the_sound_that_a_gif_leaves_out_is_named(make_clip, tmp_path):
    report = pass_through(make_clip("a.mp4", audio_codec="aac"), tmp_path / "a.gif")
    assert any("audio" in line for line in report.decisions)


def test_an_animated_webp_is_written(make_clip, tmp_path):
    pass_through(make_clip("even.mp4"), tmp_path / "a.webp")
    assert b"ANIM" in (tmp_path / "a.webp").read_bytes()[:64]


def test_an_animated_webp_is_read_whole(make_clip, tmp_path):
    pass_through(make_clip("even.mp4"), tmp_path / "a.webp")
    assert len(read_frames(tmp_path / "a.webp")) == 10


def test_apng_is_not_taken_for_a_still(make_clip, tmp_path):
    pass_through(make_clip("even.mp4"), tmp_path / "a.apng")
    shutil.copy(tmp_path / "a.apng", tmp_path / "a.png")
    assert len(read_frames(tmp_path / "a.png")) == 10


def test_a_png_is_checked_against_an_independent_reader(card, tmp_path):
    """The chunks of our files have correct checksums."""
    pass_through(card("in.png"), tmp_path / "out.png")
    data, position = (tmp_path / "out.png").read_bytes(), 8
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        (checksum,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert zlib.crc32(data[position + 4 : position + 8 + length]) == checksum, kind
        position += 12 + length


def test_a_frame_becomes_png_about_as_fast_as_opencv_writes_it(tmp_path):
    planes = rgb_to_planes(cv2.imread(str(GALLERY / "mountain20-aozora.jpg"), cv2.IMREAD_COLOR_RGB)[:360, :640])
    image = planes_to_rgb(planes, order="BGR")

    def cpu_seconds(write):
        before = time.process_time()
        write()
        return time.process_time() - before

    # Alternating, so that other load affects both; FFmpeg's encoder takes twice as long.
    pairs = [
        (cpu_seconds(lambda: encode_image(planes, ".png")), cpu_seconds(lambda: cv2.imencode(".png", image)))
        for _ in range(12)
    ]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours < 1.75 * theirs


def test_images_have_no_streams(card):
    with pytest.raises(UsageError, match="stream"):
        open_source(card("card.png"), SourceOptions(stream_index=1))
    with ImageSource(card("card.png")) as source:
        assert source.media_streams == ()


def test_a_sink_without_a_template_names_images_by_number(tmp_path, make_clip):
    frames = read_frames(make_clip("even.mp4"))
    with open_sink(tmp_path / "frames/") as sink:
        sink.write(frames[0])
        sink.finish()
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["000001.png"]


def test_pyav_reads_what_we_write(card, tmp_path):
    pass_through(card("in.png"), tmp_path / "out.webp")
    with av.open(str(tmp_path / "out.webp")) as container:
        assert next(container.decode(video=0)).width == 96
