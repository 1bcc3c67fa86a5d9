"""A recording continues when the microphone or the camera changes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from animevid.frame import Frame
from animevid.io.sinks.recording import RecordingSink
from animevid.pixels.planes import PlanesYUV420


def grey(height: int, width: int, luma: int = 128) -> PlanesYUV420:
    chroma = (height // 2, width // 2)
    return PlanesYUV420(np.full((height, width), luma, np.uint8), *(np.full(chroma, 128, np.uint8) for _ in range(2)))


def hum(hertz: float, rate: int, layout: str, kind: str) -> av.AudioFrame:
    """A tone of a tenth of a second."""
    tone = np.sin(2 * np.pi * hertz * np.arange(rate // 10) / rate) * 0.5
    if kind == "s16":
        samples = np.repeat((tone * 32767).astype(np.int16), 2)[None]
    else:
        samples = tone.astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
    frame.sample_rate = rate
    return frame


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_changes_its_rate_and_channels_keeps_its_pitch_and_place(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with RecordingSink(path, first=Frame.captured(grey(48, 64), 0, 100.0), sound=True) as recorder:
        for tenth in range(20):
            recorder.write(Frame.captured(grey(48, 64), tenth, 100 + tenth / 10))
            sound = hum(500, 16_000, "mono", "fltp") if tenth < 10 else hum(1000, 44_100, "stereo", "s16")
            recorder.offer_sound(sound, 100 + (tenth + 1) / 10)
        recorder.finish()
    with av.open(str(path)) as container:
        parts = [(part.time, part.to_ndarray()[0]) for part in container.decode(audio=0)]
    moments = [moment for moment, _ in parts]
    assert moments == sorted(moments)
    assert moments[-1] + len(parts[-1][1]) / 48000 == pytest.approx(2, abs=0.1)

    def pitch_hz(begin: float, end: float) -> float:
        heard = np.concatenate([samples for moment, samples in parts if begin <= moment < end])
        return float(np.count_nonzero(np.diff(heard > 0)) / 2 / len(heard) * 48000)

    assert pitch_hz(0.3, 0.8) == pytest.approx(500, rel=0.05)
    assert pitch_hz(1.3, 1.8) == pytest.approx(1000, rel=0.05)


def test_frames_of_another_size_are_fitted_into_the_first_ones_with_bars(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with RecordingSink(path, first=Frame.captured(grey(48, 96), 0, 100.0)) as recorder:
        for index, planes in enumerate([grey(48, 96), grey(48, 96), grey(96, 96, 200), grey(96, 192, 200)]):
            recorder.write(Frame.captured(planes, index, 100 + index / 30))
        assert recorder.finish().frames_written == 4
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]
    assert {frame.shape for frame in shown} == {(48, 96)}
    square, large = shown[2:]
    assert square[:, :20].max() < 40  # a rotated camera: bars, nothing stretched
    assert square[:, 76:].max() < 40
    assert square[4:44, 32:64].min() > 180
    assert large.min() > 180  # the same shape: no bars
