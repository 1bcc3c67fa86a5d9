"""Photos of every kind: correct colours, metadata kept, nothing missing."""

from __future__ import annotations

import io
import shlex
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from animevid.errors import UnsupportedInputError
from animevid.io import open_source
from animevid.io.sinks.images import encode_image
from animevid.io.sources.images import ImageReader
from animevid.pixels import planes_to_rgb
from passing import corner_colours, pass_through, read_frames
from PIL import Image, ImageCms
from small_clips import test_card

UPRIGHT = ("red", "green", "blue", "grey")
#: Columns of Display P3's matrix to the profile connection space (D50), as its published profile has them.
_P3_COLUMNS = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}


def rgb_of(source: Path | bytes) -> np.ndarray:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def display_p3() -> bytes:
    """An ICC profile: sRGB's with the primaries of Display P3."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for n in range(int.from_bytes(profile[128:132], "big")):
        name, at = bytes(profile[132 + 12 * n : 136 + 12 * n]), int.from_bytes(profile[136 + 12 * n : 140 + 12 * n])
        for axis, value in enumerate(_P3_COLUMNS.get(name, ())):
            profile[at + 8 + 4 * axis : at + 12 + 4 * axis] = round(value * 65536).to_bytes(4, "big", signed=True)
    return bytes(profile)


def smooth(width: int = 96, height: int = 64) -> Image.Image:
    """Smooth, saturated colours, which chroma subsampling does not change."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    return Image.fromarray((np.stack([x, y, 1 - x], axis=2) * 180 + 40).astype(np.uint8))


def in_srgb(image: Image.Image, profile: bytes) -> np.ndarray:
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, own, srgb, renderingIntent=1, outputMode="RGB")
    return np.asarray(converted).astype(int)


@pytest.mark.shared
def test_a98_jpg_comes_out_in_the_colours_that_its_profile_means(shared: Path, tmp_path: Path) -> None:
    source = shared / "faults" / "a98.jpg"
    with Image.open(source) as image:
        wanted = in_srgb(image, image.info["icc_profile"])
    report_lines = said(source)
    pass_through(source, tmp_path / "o.jpg")
    written = rgb_of(tmp_path / "o.jpg")
    assert np.abs(rgb_of(source) - wanted).mean() > 5  # the profile is not sRGB
    assert np.abs(written.mean((0, 1)) - wanted.mean((0, 1))).max() < 3
    assert np.median(np.abs(written - wanted)) <= 3
    assert any("converted to sRGB" in line and "A98" in line for line in report_lines)


def said(path: Path) -> tuple[str, ...]:
    with open_source(path) as source:
        list(source)
        return (*source.info.notices, *source.notices_so_far)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_display_p3_is_shown_as_it_is_meant(tmp_path: Path, suffix: str) -> None:
    path, profile = tmp_path / f"p3{suffix}", display_p3()
    smooth().save(path, icc_profile=profile, quality=98, subsampling=0)
    wanted = in_srgb(smooth(), profile)
    assert np.abs(wanted - np.asarray(smooth()).astype(int)).mean() > 5
    shown = planes_to_rgb(read_frames(path)[0].planes).astype(int)
    assert np.abs(shown - wanted)[2:-2, 2:-2].mean() < 2.5


def test_an_srgb_profile_by_another_name_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "srgb.png"
    smooth().save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert said(path) == ()
    assert np.abs(planes_to_rgb(read_frames(path)[0].planes).astype(int) - np.asarray(smooth()))[2:-2, 2:-2].max() < 6


def test_colours_that_tags_alone_call_display_p3_are_the_profiles_colours(tmp_path: Path) -> None:
    planes = ImageReader().read(png_of(tmp_path / "a.png"))[0]
    tagged = planes.with_planes(planes.y, planes.u, planes.v, colour=type(planes.colour)(
        planes.colour.matrix, planes.colour.range, 12, 13))  # fmt: skip
    wanted = in_srgb(smooth(), display_p3())
    assert np.abs(rgb_of(encode_image(tagged, ".png")) - wanted)[2:-2, 2:-2].mean() < 2.5


def png_of(path: Path) -> Path:
    smooth().save(path)
    return path


def exif_block(**own: object) -> bytes:
    tags = Image.Exif()
    tags[0x010F], tags[0x0110], tags[0x0112] = "Maker", "Model 7", own.pop("orientation", 6)
    inner = tags.get_ifd(0x8769)
    inner[0x9003], inner[0xA001], inner[0xA002] = "2024:05:01 03:00:00", 65535, 96
    tags.get_ifd(0x8825)[1] = "N"
    return tags.tobytes()


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("source", [".jpg", ".png", ".webp"])
def test_make_date_and_place_of_a_photo_are_kept_and_true(tmp_path: Path, source: str, target: str) -> None:
    smooth().save(tmp_path / f"in{source}", exif=exif_block())
    pass_through(tmp_path / f"in{source}", tmp_path / f"out{target}")
    with Image.open(tmp_path / f"out{target}") as image:
        tags = image.getexif()
        assert (tags[0x010F], tags[0x0110]) == ("Maker", "Model 7")
        assert tags.get_ifd(0x8769)[0x9003] == "2024:05:01 03:00:00"
        assert tags.get_ifd(0x8825)[1] == "N"
        assert tags.get(0x0112, 1) == 1  # it is upright now
        assert image.size == (64, 96)
        assert 0xA002 not in tags.get_ifd(0x8769)  # the old width
        assert tags.get_ifd(0x8769)[0xA001] == 1  # sRGB


def _adobe_rgb_by_exif() -> bytes:
    """EXIF of a camera: the first directory points to the EXIF directory, and that to interoperability index R03."""

    def directory(tag: int, kind: int, count: int, value: bytes) -> bytes:
        return (1).to_bytes(2, "little") + struct.pack("<HHI4sI", tag, kind, count, value, 0)

    places = [struct.pack("<I", 8 + 18 * n) for n in (1, 2)]
    body = directory(0x8769, 4, 1, places[0]) + directory(0xA005, 4, 1, places[1]) + directory(1, 2, 4, b"R03\0")
    return b"Exif\0\0II*\0\x08\0\0\0" + body


def test_a_camera_that_says_adobe_rgb_by_exif_alone_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "camera.jpg"
    smooth().save(path, exif=_adobe_rgb_by_exif(), quality=98, subsampling=0)
    assert said(path) == ("Adobe RGB is converted to sRGB",)
    shown = planes_to_rgb(read_frames(path)[0].planes).astype(int)
    before = np.asarray(smooth()).astype(int)
    strong = before[..., 0] - before[..., 1] > 60  # reds become redder, greys stay
    assert (shown - before)[strong][:, 0].mean() > 8


@pytest.mark.shared
@pytest.mark.parametrize("target", [".png", ".webp", ".avif"])
def test_alpha_avif_keeps_its_opacity_in(shared: Path, tmp_path: Path, target: str) -> None:
    source = shared / "faults" / "alpha.avif"
    report = pass_through(source, tmp_path / f"o{target}")
    with Image.open(source) as before, Image.open(tmp_path / f"o{target}") as after:
        wanted, written = np.asarray(before).astype(int), np.asarray(after.convert("RGBA")).astype(int)
    assert np.abs(written[..., 3] - wanted[..., 3]).mean() < 2
    seen = wanted[..., 3] > 200
    assert np.abs(written - wanted)[seen].mean() < 8
    assert report.notices == ()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("a.jp2", "RGB"), ("a.tga", "RGB"), ("a.ico", "RGBA"), ("a.gif", "P")),
        *(("a.qoi", "RGB"), ("a.pcx", "RGB"), ("a.ppm", "RGB"), ("a.sgi", "RGB")),
    ],
)
def test_an_image_of_a_rarer_kind_is_a_still(tmp_path: Path, name: str, mode: str) -> None:
    image = Image.fromarray(test_card(96, 64, 0)).convert(mode)
    image.save(tmp_path / name, **({"sizes": [(96, 64)]} if mode == "RGBA" else {}))
    with open_source(tmp_path / name) as source:
        assert source.info.is_still
    pass_through(tmp_path / name, tmp_path / "o.png")
    assert corner_colours(read_frames(tmp_path / "o.png")[0].planes) == UPRIGHT


def test_several_netpbm_images_in_a_file_are_a_video(tmp_path: Path) -> None:
    Image.fromarray(test_card(96, 64, 0)).save(tmp_path / "one.ppm")
    (tmp_path / "video.ppm").write_bytes(2 * (tmp_path / "one.ppm").read_bytes())
    with open_source(tmp_path / "video.ppm") as source:
        assert not source.info.is_still
        assert len(list(source)) == 2


def test_a_profile_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    Image.fromarray(test_card(96, 64, 0)).save(tmp_path / "a.png", icc_profile=b"no profile at all")
    assert any("profile cannot be read" in line for line in said(tmp_path / "a.png"))


def test_ink_becomes_colour(tmp_path: Path) -> None:
    Image.fromarray(test_card(96, 64, 0)).convert("CMYK").save(tmp_path / "ink.jpg", quality=95)
    assert any("CMYK" in line for line in said(tmp_path / "ink.jpg"))
    shown = planes_to_rgb(read_frames(tmp_path / "ink.jpg")[0].planes).astype(int)
    assert np.abs(shown[4:28, 4:44] - (200, 30, 30)).mean() < 12


def test_jpeg_xl_is_read_or_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jxl"
    path.write_bytes(b"\xff\x0a" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(UnsupportedInputError, match="pip install pillow-jxl-plugin"):
        open_source(path)
    monkeypatch.undo()
    pytest.importorskip("pillow_jxl")
    Image.fromarray(test_card(96, 64, 0)).save(path)
    assert corner_colours(read_frames(path)[0].planes) == UPRIGHT


@pytest.mark.shared
def test_a_webp_moves_with_every_duration_and_its_loops(shared: Path, tmp_path: Path) -> None:
    source = shared / "faults" / "a.webp"
    frames = read_frames(source)
    milliseconds = [100, 50, 100, 50, 100, 50, 100, 1500]
    assert [frame.duration_seconds for frame in frames] == [Fraction(ms, 1000) for ms in milliseconds]
    assert [frame.pts_seconds for frame in frames][:3] == [0, Fraction(1, 10), Fraction(3, 20)]
    for target in ("o.gif", "o.webp", "o.apng"):
        pass_through(source, tmp_path / target)
        with Image.open(tmp_path / target) as image:
            assert image.n_frames == 8
            durations = []
            for number in range(8):
                image.seek(number)
                image.load()
                durations.append(image.info["duration"])
        assert durations == milliseconds, target
    assert [f.index for f in read_frames(source, start_seconds=Fraction(1, 10), end_seconds=Fraction(3, 10))] == [
        0,
        1,
        2,
    ]


def _by_standard_input(source: Path, *, as_pipe: bool) -> list[str]:
    """The kind, number of frames and codec of ``open_source("-")``."""
    program = (
        "from animevid.io import open_source\n"
        "with open_source('-') as s: print(s.info.is_still, len(list(s)), s.info.codec)"
    )
    command = f"{f'cat {source} |' if as_pipe else ''} {sys.executable} -c {shlex.quote(program)}"
    command += "" if as_pipe else f" < {source}"
    done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.shared
@pytest.mark.parametrize("as_pipe", [True, False], ids=["pipe", "redirected"])
def test_photos_animations_and_videos_come_by_standard_input(shared: Path, tmp_path: Path, as_pipe: bool) -> None:
    Image.fromarray(test_card(96, 64, 0)).save(tmp_path / "in.jpg")
    assert _by_standard_input(tmp_path / "in.jpg", as_pipe=as_pipe) == ["True", "1", "mjpeg"]
    assert _by_standard_input(shared / "faults" / "b.mjpeg", as_pipe=as_pipe) == ["False", "50", "mjpeg"]
    assert _by_standard_input(shared / "faults" / "a.webp", as_pipe=as_pipe) == ["False", "8", "webp"]
    assert _by_standard_input(shared / "faults" / "loop3.gif", as_pipe=as_pipe) == ["False", "5", "gif"]
    assert _by_standard_input(shared / "faults" / "cover.mkv", as_pipe=as_pipe)[0] == "False"


def test_a_photo_that_is_cut_short_is_shown_and_reported(tmp_path: Path) -> None:
    smooth(320, 240).save(tmp_path / "whole.jpg", quality=95)
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    assert said(tmp_path / "whole.jpg") == ()
    assert any("cut short" in line for line in said(tmp_path / "cut.jpg"))
    with open_source(tmp_path / "cut.jpg") as source:
        assert next(iter(source)).concealed


@pytest.mark.parametrize("opacity", [255, 0])
def test_an_animated_webp_has_alpha_only_where_a_pixel_is_transparent(tmp_path: Path, opacity: int) -> None:
    frames = [Image.new("RGBA", (32, 24), (40 * number, 9, 9, 255)) for number in range(3)]
    frames.append(Image.new("RGBA", (32, 24), (9, 99, 9, opacity)))
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, lossless=True)
    data = bytearray(path.read_bytes())
    data[20] |= 0x10  # the header's flag, which encoders set for opaque animations too
    path.write_bytes(data)
    with open_source(path) as source:
        assert source.info.has_alpha == (opacity == 0)
        assert sum(frame.planes.alpha is not None for frame in source) == 4 * (opacity == 0)


def test_of_a_tiff_with_several_pages_the_first_is_read_and_reported(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "one.tif")
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    for name, count in (("one.tif", 0), ("two.tif", 1)):
        with open_source(tmp_path / name) as source:
            (frame,) = source
            assert planes_to_rgb(frame.planes)[12, 16, 0] > 240
            assert sum("several pages the first is read" in line for line in source.notices_so_far) == count


def test_open_exr_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_bytes(b"v/1\x01" + bytes(200))
    with pytest.raises(UnsupportedInputError, match="OpenEXR, which is not read: save it as TIFF"):
        open_source(tmp_path / "a.exr")
