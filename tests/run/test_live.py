from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from animevid.errors import InputError, LiveError, StyleError
from animevid.frame import Frame
from animevid.io.retry import Backoff
from animevid.io.sources.camera import TEST_PATTERN, Camera, list_cameras, open_feed
from animevid.io.sources.counter import read_counter
from animevid.options import CameraOptions, LiveOptions
from animevid.run.live import BusyError, LiveEngine
from animevid.run.queues import BoundedQueue, WhenFull

PATTERN = CameraOptions(TEST_PATTERN, (96, 160), Fraction(60))


def a_frame(number: int = 0) -> Frame:
    for index, planes in enumerate(open_feed(PATTERN, threading.Event())):
        if index >= number:
            return Frame.captured(planes, index, time.monotonic())
    raise AssertionError


def test_every_result_belongs_to_its_original_and_none_goes_back_in_time(packed_style: Path):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        with Camera(PATTERN, session.offer):
            results = [session.take(timeout_seconds=5) for _ in range(8)]
        numbers = [read_counter(result.stylized.y) for result in results]
        assert numbers == [read_counter(result.frame.planes.y) for result in results]
        assert numbers == sorted(numbers)
        assert any(np.any(result.stylized.y != result.frame.planes.y) for result in results)


def test_a_camera_faster_than_the_network_never_makes_a_queue(packed_style: Path):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        frame = a_frame()
        for number in range(200):
            session.offer(Frame.captured(frame.planes, number, time.monotonic()))
        while (result := session.take(timeout_seconds=5)).frame.index != 199:
            pass
        assert result.frame.index == 199
        assert session.frames_dropped >= 150


def test_strength_zero_shows_the_original(packed_style: Path):
    with LiveEngine() as engine:
        with engine.open_session(LiveOptions(style=str(packed_style), strength=0.0)) as session:
            session.offer(a_frame())
            result = session.take(timeout_seconds=5)
        assert result.stylized is result.frame.planes


def test_a_style_that_does_not_exist_is_reported_and_the_old_one_goes_on(packed_style: Path):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        session.offer(a_frame())
        assert session.take(timeout_seconds=5) is not None
        session.change(style="nowhere.onnx")
        while session.trouble is None:
            session.offer(a_frame())
            assert session.take(timeout_seconds=5) is not None
        assert "nowhere.onnx" in session.trouble
        assert session.style_name == "test-packed"


def test_what_a_viewer_is_told_outlives_the_next_frames(packed_style: Path):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        session.report("strength = 7 is too much")
        for _ in range(3):
            session.offer(a_frame())
            assert session.take(timeout_seconds=5) is not None
        assert session.trouble == "strength = 7 is too much"


def test_a_missing_style_is_refused_at_once(tmp_path: Path):
    with LiveEngine() as engine, pytest.raises(StyleError, match="does not exist"):
        engine.open_session(LiveOptions(style=str(tmp_path / "no.onnx")))


def test_one_viewer_too_many_is_told_to_wait_and_gets_the_next_free_place(packed_style: Path):
    settings = LiveOptions(style=str(packed_style))
    with LiveEngine(max_sessions=2) as engine:
        first, _ = engine.open_session(settings), engine.open_session(settings)
        with pytest.raises(BusyError, match="all 2 places"):
            engine.open_session(settings)
        first.close()
        assert engine.open_session(settings) is not None


def test_a_viewer_who_sends_ten_times_as_much_gets_no_more_turns(packed_style: Path):
    settings = LiveOptions(style=str(packed_style), adaptive=False)
    with LiveEngine() as engine, engine.open_session(settings) as greedy, engine.open_session(settings) as modest:
        frame = a_frame()
        turns = []
        for number in range(20):
            for session in (greedy, modest, greedy, greedy):
                session.offer(Frame.captured(frame.planes, number, time.monotonic()))
            # Each waiting viewer is served before any is served twice.
            turns.append(modest.take(timeout_seconds=5))
        assert [turn.frame.index for turn in turns] == list(range(20))


def test_a_session_adapts_to_the_rate_that_the_camera_really_has(packed_style: Path, monkeypatch: pytest.MonkeyPatch):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        draw = session.renderer.infer
        monkeypatch.setattr(session.renderer, "infer", lambda inputs: [time.sleep(0.05), draw(inputs)][1])
        frames = a_frame(), a_frame(30)
        for number in range(18):  # 10 per second: half of the time is left, although 1/30 s has passed
            session.offer(Frame.captured(frames[number % 2].planes, number, time.monotonic()))
            time.sleep(0.1)
        assert not session.is_reduced
        assert session.held_fps == pytest.approx(10, rel=0.2)


def test_a_file_stands_in_for_a_camera_and_starts_again_at_its_end(make_clip: Callable[..., Path]):
    clip = make_clip("loop.mp4", frames=5, rate=Fraction(50))
    box: BoundedQueue[Frame] = BoundedQueue(1, when_full=WhenFull.KEEP_LATEST)
    with Camera(CameraOptions(str(clip)), box.offer) as camera:
        while camera.frames_read < 12:
            assert box.take(timeout_seconds=5) is not None


def test_a_camera_that_breaks_off_is_opened_again(tmp_path: Path, make_clip: Callable[..., Path]):
    clip = tmp_path / "camera.mp4"
    clip.write_bytes(make_clip("unplugged.mp4", frames=5, rate=Fraction(50)).read_bytes())
    box: BoundedQueue[Frame] = BoundedQueue(1, when_full=WhenFull.KEEP_LATEST)
    with Camera(CameraOptions(str(clip)), box.offer, backoff=Backoff(first_seconds=0.02)) as camera:
        away = clip.rename(tmp_path / "away.mp4")
        while camera.trouble is None:
            box.take(timeout_seconds=0.05)
        assert "trying again" in camera.trouble
        away.rename(clip)
        while camera.trouble is not None:
            assert box.take(timeout_seconds=5) is not None


def test_pauses_between_attempts_grow_to_a_limit_and_start_again():
    backoff = Backoff(first_seconds=1, max_seconds=5)
    assert [backoff.next_pause_seconds() for _ in range(4)] == [1, 2, 4, 5]
    backoff.reset()
    assert backoff.next_pause_seconds() == 1


def test_a_camera_that_does_not_exist_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(LiveError, match="is no camera here"), Camera(CameraOptions(str(tmp_path / "x")), print):
        pass


def test_a_text_file_is_no_camera(tmp_path: Path):
    text = tmp_path / "camera.txt"
    text.write_text("no image")
    with pytest.raises(InputError, match="not a video"), Camera(CameraOptions(str(text)), print):
        pass


def test_cameras_are_listed_without_their_metadata_nodes(tmp_path: Path):
    from animevid.io.sources import camera

    for node, index, name in (
        ("video0", 0, "Front"),
        ("video1", 1, "Front"),
        ("video10", 0, "Desk"),
        ("video2", 0, "B"),
    ):
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")
    found = camera._linux_cameras(tmp_path)
    assert [(device.name, device.title) for device in found] == [
        ("/dev/video0", "Front"),
        ("/dev/video2", "B"),
        ("/dev/video10", "Desk"),
    ]
    assert isinstance(list_cameras(), list)


def test_what_does_not_move_is_not_drawn_again_and_statistics_say_where_the_time_went(packed_style: Path):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        frame = a_frame()
        shown = []
        for number in range(5):
            session.offer(Frame.captured(frame.planes, number, time.monotonic()))
            shown.append(session.take(timeout_seconds=5))
        assert session.renderer.frames_reused == 4
        assert all(np.array_equal(result.stylized.y, shown[0].stylized.y) for result in shown)
        camera, render = session.statistics().stages
        assert (camera.name, camera.items, render.name, render.items) == ("camera", 5, "render", 5)
        assert render.busy_seconds > 0


def test_another_size_of_the_network_is_drawn_even_where_nothing_moved(packed_style: Path):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style), adaptive=False)) as session:
        for net_pixels, reused in ((0, 0), (0, 1), (80 * 48, 1)):
            session.change(net_pixels=net_pixels)
            session.offer(a_frame())
            assert session.take(timeout_seconds=5) is not None
            assert session.renderer.frames_reused == reused


def test_a_frame_that_fails_is_reported_and_the_next_is_drawn(packed_style: Path, monkeypatch: pytest.MonkeyPatch):
    with LiveEngine() as engine, engine.open_session(LiveOptions(style=str(packed_style))) as session:
        frame, draw = a_frame(), session.renderer.infer
        monkeypatch.setattr(session.renderer, "infer", lambda inputs: [1 / 0])
        session.offer(frame)
        assert session.take(timeout_seconds=0.5) is None
        assert session.trouble == "division by zero"
        monkeypatch.setattr(session.renderer, "infer", draw)
        session.offer(frame)
        assert np.any(session.take(timeout_seconds=5).stylized.y != frame.planes.y)
        assert session.trouble is None
