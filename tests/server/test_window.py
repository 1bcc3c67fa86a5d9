"""The webcam command with a real window, a synthetic camera, and its output read back from the window's pixels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from animevid.cli import main
from animevid.errors import LiveError, OutputError
from animevid.frame import Frame, StylizedFrame
from animevid.io.sink import Sink, SinkReport
from animevid.io.sinks import window
from animevid.io.sinks.recording import RecordingSink
from animevid.io.sinks.virtual_camera import VirtualCamera
from animevid.io.sinks.window import View, Window, pressed
from animevid.io.sources.camera import TEST_PATTERN
from animevid.io.sources.counter import read_counter
from animevid.options import CameraOptions, LiveOptions, WebcamOptions
from animevid.pixels import PlanesYUV420
from animevid.run.webcam import Webcam

PATTERN = CameraOptions(TEST_PATTERN, (180, 320), Fraction(30))


def press(name: str) -> None:
    import pygame

    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(name), mod=0))


def webcam(style: Path, folder: Path, **changes: Any) -> Webcam:
    options = {"camera": PATTERN, "live": LiveOptions(style=str(style)), "styles": (str(style),), "microphone": None}
    return Webcam(WebcamOptions(folder=folder, **{**options, **changes}))


@pytest.mark.usefixtures("no_monitor")
def test_the_number_drawn_into_the_camera_is_read_from_the_window_soon_after(packed_style: Path, tmp_path: Path):
    show = webcam(packed_style, tmp_path)
    lags: list[int] = []

    def seen(result: StylizedFrame, window: Window | None) -> None:
        assert window is not None
        if len(lags) == 0:
            press("i")  # the figures would cover the number
        number = read_counter(window.pixels()[..., 1])
        lags.append(-1 if number is None else result.frame.index - number)
        if len(lags) >= 12:
            show.stop()

    figures = show.run(on_result=seen)
    assert lags[3:] == [0] * len(lags[3:])
    assert figures.latency_median_seconds > 0


@pytest.mark.usefixtures("no_monitor")
def test_keys_take_a_snapshot_and_record_what_is_seen(packed_style: Path, tmp_path: Path):
    show = webcam(packed_style, tmp_path)
    keys = {2: "c", 3: "p", 4: "r", 16: "r", 18: "q"}
    count = 0

    def seen(result: StylizedFrame, window: Window | None) -> None:
        nonlocal count
        count += 1
        if count in keys:
            press(keys[count])

    show.run(on_result=seen)
    snapshot, recording = show.files
    with av.open(str(snapshot)) as still:
        assert (still.streams.video[0].width, still.streams.video[0].height) == (320, 180)
    with av.open(str(recording)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) >= 8
    numbers = [read_counter(frame.to_ndarray(format="gray")) for frame in frames]
    assert numbers == sorted(numbers)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in show.files)


class _Numbers(Sink):
    """The numbers drawn into the frames that it gets, until it has eight."""

    path = "numbers"
    description = "numbers"

    def __init__(self) -> None:
        self.read: list[int | None] = []
        self.report: SinkReport | None = None

    def _write(self, frame: Frame) -> None:
        self.read.append(read_counter(frame.planes.y))
        self._count(frame.pts_seconds)

    def _finish(self) -> SinkReport:
        self.report = self._report()
        return self.report

    def abort(self) -> None:
        self._done = True


def test_a_sink_of_ones_own_gets_the_frames_of_a_camera_and_is_finished(packed_style: Path, tmp_path: Path):
    numbers = _Numbers()
    options = WebcamOptions(
        camera=PATTERN, live=LiveOptions(style=str(packed_style)), window=False, folder=tmp_path, seconds=30
    )
    show = Webcam(options, sinks=[numbers])
    show.run(on_result=lambda result, window: show.stop() if len(numbers.read) >= 8 else None)
    assert len(numbers.read) == len(set(numbers.read)) == 8
    assert numbers.read == sorted(numbers.read)
    assert numbers.report is not None
    assert numbers.report.frames_written == 8
    assert numbers.report.duration_seconds > 0


@pytest.mark.shared
@pytest.mark.usefixtures("no_monitor")
def test_a_recording_has_the_microphones_sound_beside_the_video(packed_style: Path, tmp_path: Path, clips: Path):
    sound = str(clips / "bbb_480p_30s_aac.mp4")
    show = webcam(packed_style, tmp_path, record=True, microphone=sound, window=False, seconds=1.5)
    show.run()
    with av.open(str(show.files[0])) as container:
        video, audio = (
            float(stream.duration * stream.time_base) for stream in (container.streams[0], container.streams[1])
        )
    assert [stream.type for stream in av.open(str(show.files[0])).streams] == ["video", "audio"]
    assert abs(video - audio) < 0.5


def test_sound_and_video_are_placed_by_the_clock_however_many_frames_are_missing(tmp_path: Path):
    planes = PlanesYUV420(np.zeros((48, 64), np.uint8), *(np.full((24, 32), 128, np.uint8) for _ in range(2)))
    with RecordingSink(tmp_path / "a.mp4", first=Frame.captured(planes, 0, 100.0), sound=True) as recorder:
        moments = [100.0, 100.1, 100.9, 101.5, 102.0]
        for index in range(100):
            for moment in [moment for moment in moments if 100 + index / 50 <= moment < 100 + (index + 1) / 50]:
                recorder.write(Frame.captured(planes, 0, moment))
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48000
            recorder.offer_sound(frame, 100 + (index + 1) / 50)
        recorder.finish()
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    with av.open(str(tmp_path / "a.mp4")) as container:
        sound = [(frame.time, frame.samples) for frame in container.decode(audio=0)]
    assert times == pytest.approx([moment - 100 for moment in moments if moment < 102], abs=0.001)
    assert abs(sound[-1][0] + sound[-1][1] / 48000 - 2.0) < 0.04


@pytest.mark.parametrize("fault", [1.001, 0.999], ids=["fast", "slow"])
def test_a_microphone_whose_clock_is_off_stays_with_the_video(fault: float, tmp_path: Path):
    planes = PlanesYUV420(np.zeros((48, 64), np.uint8), *(np.full((24, 32), 128, np.uint8) for _ in range(2)))
    rate, seconds = 16_000, 120  # a thousandth: 120 ms in two minutes
    with RecordingSink(
        tmp_path / "a.mkv", first=Frame.captured(planes, 0, 100.0), sound=True, fps=Fraction(2)
    ) as recorder:
        for index in range(seconds * 10):
            now = 100 + index / 10
            if index % 5 == 0:
                recorder.write(Frame.captured(planes, 0, now))
            begin, end = (round((index + step) * rate * fault / 10) for step in (0, 1))
            moments = (begin + np.arange(end - begin)) / rate / fault
            sound = np.where((moments + 5) % 10 < 0.02, np.sin(2 * np.pi * 1000 * moments), 0)
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            recorder.offer_sound(frame, now + 0.1)
        recorder.finish()
    clicks = []
    with av.open(str(tmp_path / "a.mkv")) as container:
        for part in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(part.to_ndarray()[0]) > 0.3)
            heard = part.time + loud[0] / part.sample_rate if len(loud) else 0
            if len(loud) and (not clicks or heard - clicks[-1] > 1):
                clicks.append(heard)
    assert len(clicks) == seconds // 10
    assert max(abs(heard - 10 * index - 5) for index, heard in enumerate(clicks)) < 0.04, clicks


def test_a_recording_whose_sound_cannot_be_written_says_so_with_the_next_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    planes = PlanesYUV420(np.zeros((48, 64), np.uint8), *(np.full((24, 32), 128, np.uint8) for _ in range(2)))
    with RecordingSink(tmp_path / "a.mp4", first=Frame.captured(planes, 0, 100.0), sound=True) as recorder:
        recorder.write(Frame.captured(planes, 0, 100))

        def full() -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(recorder._sound, "take", full)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        recorder.offer_sound(frame, 101)
        with pytest.raises(OutputError, match="disk is full"):
            recorder.write(Frame.captured(planes, 0, 101))
    assert list(tmp_path.iterdir()) == []


def test_sound_that_comes_in_bursts_is_written_all_the_same(tmp_path: Path):
    planes = PlanesYUV420(np.zeros((48, 64), np.uint8), *(np.full((24, 32), 128, np.uint8) for _ in range(2)))
    random = np.random.default_rng(7)
    with RecordingSink(tmp_path / "a.mp4", first=Frame.captured(planes, 0, 100.0), sound=True) as recorder:
        recorder.write(Frame.captured(planes, 0, 100))
        arrived = 100.0
        for index in range(400):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44100
            # As from a busy machine: late by up to 50 ms, then two at once.
            arrived = max(arrived, 100.1 + index * 1024 / 44100 + random.uniform(0, 0.05))
            recorder.offer_sound(frame, arrived)
        recorder.write(Frame.captured(planes, 0, 110))
        recorder.finish()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == pytest.approx(
            9.3, abs=0.3
        )


def test_a_recording_that_is_not_finished_leaves_nothing(tmp_path: Path):
    planes = PlanesYUV420(np.zeros((48, 64), np.uint8), *(np.full((24, 32), 128, np.uint8) for _ in range(2)))
    with RecordingSink(tmp_path / "a.mp4", first=Frame.captured(planes, 0, 100.0)) as recorder:
        recorder.write(Frame.captured(planes, 0, time.monotonic()))
    assert list(tmp_path.iterdir()) == []


def test_each_key_does_one_thing():
    view = View()
    assert pressed(view, "c", styles=1).compare
    assert pressed(view, "left", styles=1).split_position == 0.45
    assert pressed(view, "down", styles=1).strength == 0.9
    assert pressed(view, "up", styles=1).strength == 1.0
    assert pressed(view, "s", styles=3, shift=True).style_index == 2
    assert pressed(view, "m", styles=1).mirror
    assert not pressed(view, "escape", styles=1).open
    assert pressed(view, "x", styles=1) == view


def test_without_a_screen_the_error_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "no such driver")
    with pytest.raises(LiveError, match="animevid serve"):
        Window(size=(48, 64))


@pytest.mark.parametrize("found", [[], ["card0"]], ids=["no graphics card", "a graphics card without a desktop"])
def test_without_a_display_it_says_so_instead_of_running_unseen(
    found: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "SDL_VIDEO_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    pygame = pytest.importorskip("pygame")
    if found:  # then SDL decides, which draws into memory if it finds no screen
        monkeypatch.setattr(window, "_has_screen", lambda: True)
        pygame.display.quit()
        monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
        monkeypatch.setattr(pygame.display, "set_mode", lambda *args: None)
    with pytest.raises(LiveError, match="there is no display here") as caught:
        Window(size=(48, 64))
    assert "\n" not in str(caught.value)


def test_a_missing_virtual_camera_driver_is_one_line_with_the_command_that_installs_it():
    pytest.importorskip("pyvirtualcam")
    if os.path.exists("/dev/video0"):
        pytest.skip("this machine may have the driver")
    with pytest.raises(LiveError, match=r"modprobe v4l2loopback|brew install|winget") as caught:
        VirtualCamera(size=(48, 64), fps=Fraction(30))
    assert "\n" not in str(caught.value)


def test_a_missing_pyvirtualcam_is_one_line_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(LiveError, match="pip install"):
        VirtualCamera(size=(48, 64), fps=Fraction(30))


def test_the_command_lists_devices_and_refuses_to_show_nothing(capsys: pytest.CaptureFixture[str]):
    assert main(["webcam", "--list-devices"]) == 0
    assert main(["webcam", "--no-window"]) == 2
    assert "--virtual-camera" in capsys.readouterr().err


@pytest.fixture
def screen() -> Iterator[dict[str, str]]:
    """Environment variables for a program on a private X server."""
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    try:
        yield {**os.environ, "DISPLAY": f":{os.read(read, 16).decode().strip()}"}
    finally:
        server.terminate()
        server.wait()
        os.close(read)
        os.close(write)


def test_the_command_runs_in_an_x_window_and_says_what_it_did(
    screen: dict[str, str], packed_style: Path, tmp_path: Path
):
    command = [sys.executable, "-m", "animevid", "webcam", "--device", "testpattern", "--size", "160x96"]
    command += ["--style", str(packed_style), "--duration", "1.5", "--folder", str(tmp_path)]
    done = subprocess.run(command, env=screen, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "latency" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xdotool") is None, reason="xdotool is not installed: apt-get install xdotool")
def test_keys_pressed_on_a_real_keyboard_take_a_snapshot_record_and_quit(
    screen: dict[str, str], packed_style: Path, tmp_path: Path
):
    def xdotool(*arguments: str) -> str:
        command = ["xdotool", *arguments]
        return subprocess.run(command, env=screen, capture_output=True, text=True, timeout=60, check=True).stdout

    def until(pattern: str) -> Path:
        end = time.monotonic() + 60
        while (found := next(tmp_path.glob(pattern), None)) is None:
            assert time.monotonic() < end, f"no {pattern}: {sorted(tmp_path.iterdir())}"
            time.sleep(0.1)
        return found

    command = [sys.executable, "-m", "animevid", "webcam", "--device", "testpattern", "--size", "320x180"]
    command += ["--style", str(packed_style), "--microphone", "none", "--folder", str(tmp_path)]
    process = subprocess.Popen(command, env=screen, stdout=subprocess.PIPE, text=True)
    try:
        window = xdotool("search", "--sync", "--onlyvisible", "--class", "^animevid$").split()[0]
        xdotool("windowfocus", "--sync", window)
        for key in ("c", "Left", "m", "Down", "shift+s", "i", "h", "h", "p"):
            xdotool("key", key)
        snapshot = until("*.png")
        xdotool("key", "r")
        until(".*.part.mp4")
        time.sleep(2)
        xdotool("key", "r")
        recording = until("animevid-*.mp4")
        xdotool("key", "q")
        said, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert said.split()[:2] == [str(snapshot), str(recording)]
    with av.open(str(snapshot)) as still:
        assert (still.streams.video[0].width, still.streams.video[0].height) == (320, 180)
    with av.open(str(recording)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 3
