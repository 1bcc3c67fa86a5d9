"""Animations converted to videos play at the speed of browsers; as animations they keep their timing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from animevid.io import open_sink, open_source
from animevid.io.sinks.browser_pace import BrowserPace
from PIL import Image, features


@pytest.mark.shared
def test_frames_of_ten_milliseconds_last_a_hundred_in_a_video(shared: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.mp4"
    with open_source(shared / "faults" / "fast.gif") as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        report = sink.finish()
    with av.open(str(target)) as container:
        moments = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None)
    assert moments == pytest.approx([0, 0.1, 0.2, 0.22, 0.25, 0.28, 0.31, 0.41])
    assert any("2 frames of 10 ms or less" in line for line in report.notices)


def test_videos_keep_their_times_however_fast() -> None:
    video, animation = (BrowserPace(SimpleNamespace(info=SimpleNamespace(container=name))) for name in ("mov", "webp"))  # type: ignore[arg-type]
    steps = [(Fraction(0), Fraction(1, 120)), (Fraction(1, 120), Fraction(1, 120)), (Fraction(1, 60), None)]
    assert [video(*step) for step in steps] == steps
    assert [animation(*step)[0] for step in steps] == [0, Fraction(1, 10), Fraction(1, 5)]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_the_still_image_of_an_avif_sequence_is_no_second_video(tmp_path: Path) -> None:
    first, *others = (Image.new("RGB", (64, 48), (40 * n, 90, 200 - 40 * n)) for n in range(4))
    first.save(tmp_path / "a.avif", save_all=True, append_images=others, duration=100, speed=10)
    with open_source(tmp_path / "a.avif") as source, open_sink(tmp_path / "o.mp4", template=source) as sink:
        for frame in source:
            sink.write(frame)
        (line,) = sink.finish().decisions
    assert line.endswith("dropped, it is the still image of the video")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264"]
