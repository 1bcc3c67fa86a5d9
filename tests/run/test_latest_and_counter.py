from __future__ import annotations

import threading
import time

import numpy as np
from animevid.io.sources.counter import MODULUS, draw_counter, read_counter
from animevid.pixels.resize import resize_plane
from animevid.run.latency import Meter
from animevid.run.queues import BoundedQueue, Turns, WhenFull
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_newest_item_wins_and_the_others_are_counted():
    box: BoundedQueue[int] = BoundedQueue(1, when_full=WhenFull.KEEP_LATEST)
    for number in range(5):
        box.offer(number)
    assert (box.take(timeout_seconds=0), box.dropped) == (4, 4)


def test_of_those_that_wait_the_oldest_goes():
    box: BoundedQueue[int] = BoundedQueue(2, when_full=WhenFull.KEEP_LATEST)
    for number in range(4):
        box.offer(number)
    assert box.get_batch(9) == [2, 3]


def test_taking_from_an_empty_box_ends_when_it_is_closed():
    box: BoundedQueue[int] = BoundedQueue(1, when_full=WhenFull.KEEP_LATEST)
    threading.Timer(0.05, box.cancel).start()
    assert box.take(timeout_seconds=10) is None
    assert box.is_cancelled


def test_a_closed_box_keeps_nothing():
    box: BoundedQueue[int] = BoundedQueue(1, when_full=WhenFull.KEEP_LATEST)
    box.cancel()
    box.offer(1)
    assert box.take(timeout_seconds=0) is None


@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, MODULUS - 1), width=st.integers(80, 500), scale=st.sampled_from([0.5, 1.0, 1.7]))
def test_a_frame_number_is_read_back_at_any_size_and_through_noise(number: int, width: int, scale: float):
    luma = np.full((width, width), 128, np.uint8)
    draw_counter(luma, number)
    seen = resize_plane(luma, (max(60, round(width * scale)),) * 2)
    noise = np.random.default_rng(number).integers(-40, 41, seen.shape)
    assert read_counter(np.clip(seen.astype(int) + noise, 0, 255).astype(np.uint8)) == number


def test_a_frame_without_a_number_reads_as_none():
    assert read_counter(np.full((90, 160), 90, np.uint8)) is None


def test_the_meter_tells_rate_and_latency_of_the_last_seconds():
    meter = Meter()
    for tick in range(61):
        meter.note(tick / 20, captured_at_seconds=tick / 20 - (0.5 if tick % 10 == 0 else 0.05))
    figures = meter.statistics(3.0, frames_dropped=7)
    assert round(figures.fps) == 20
    assert round(figures.latency_median_seconds, 3) == 0.05
    assert round(figures.latency_p95_seconds, 3) == 0.5
    assert (figures.frames_dropped, figures.frames_shown) == (7, 61)


def test_turns_are_taken_one_at_a_time_in_the_order_of_asking():
    turns, served = Turns(), []

    def take(number: int) -> None:
        with turns:
            served.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            while turns._next < number + 2 and thread.is_alive():  # it is waiting
                time.sleep(0.001)
        assert served == []
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3]
