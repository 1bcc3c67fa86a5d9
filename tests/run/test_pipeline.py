"""The pipeline's guarantees, with plain Python objects: order, back-pressure, one error, a clean stop."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref

import pytest
from animevid.errors import Cancelled, InputError
from animevid.run import BoundedQueue, Pipeline, QueueCancelled, Stage, WhenFull
from hypothesis import given, settings
from hypothesis import strategies as st


def _living_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("animevid-")]


def _jittered(function, generator: random.Random, *, up_to_seconds: float = 0.002):
    def delayed(value):
        time.sleep(generator.random() * up_to_seconds)
        return function(value)

    return delayed


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 30),
    limits=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    capacity=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_items_keep_their_order_whatever_the_stages_take(count, limits, capacity, seed):
    generator = random.Random(seed)

    def stage(limit: int) -> Stage:
        def function(items: list[int]) -> list[int]:
            time.sleep(generator.random() * 0.001)
            assert 1 <= len(items) <= limit
            return [item + 1 for item in items]

        return Stage(f"add one, up to {limit}", function, batch_limit=limit)

    pipeline = Pipeline(range(count), [stage(limit) for limit in limits], capacity=capacity)

    assert list(pipeline) == [value + len(limits) for value in range(count)]
    assert not _living_threads()


@settings(max_examples=25, deadline=None)
@given(
    bad_item=st.integers(0, 14),
    bad_stage=st.integers(0, 3),
    capacity=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_the_error_of_any_stage_is_raised_once_and_stops_every_thread(bad_item, bad_stage, capacity, seed):
    generator = random.Random(seed)

    def source():
        for value in range(15):
            if bad_stage == 0 and value == bad_item:
                raise InputError(f"item {value} is bad")
            yield value

    def fail_at(stage_number: int):
        def function(value: int) -> int:
            if stage_number == bad_stage and value == bad_item:
                raise InputError(f"item {value} is bad")
            return value

        return _jittered(function, generator)

    seen: list[int] = []
    stages = [Stage.each(f"stage {number}", fail_at(number)) for number in (1, 2, 3)]
    pipeline = Pipeline(source(), [*stages, Stage.each("collect", seen.append)], capacity=capacity)

    with pytest.raises(InputError, match=f"item {bad_item} is bad"):
        pipeline.run()
    assert seen == list(range(len(seen)))
    assert len(seen) <= bad_item
    assert not _living_threads()


def test_of_two_errors_the_first_in_time_is_reported():
    second_may_fail = threading.Event()

    def fail_first(_: int) -> int:
        second_may_fail.set()
        raise InputError("first")

    def source():
        yield 0
        second_may_fail.wait()
        time.sleep(0.05)
        raise RuntimeError("second")

    with pytest.raises(InputError, match="first"):
        Pipeline(source(), [Stage.each("fail", fail_first)]).run()


def test_a_slow_sink_holds_the_source_back():
    made = 0
    max_ahead = 0
    taken = 0

    def source():
        nonlocal made
        for value in range(40):
            made += 1
            yield value

    def take(value: int) -> None:
        nonlocal taken, max_ahead
        max_ahead = max(max_ahead, made - taken)
        time.sleep(0.001)
        taken += 1

    Pipeline(source(), [Stage.each("pass", lambda value: value), Stage.each("sink", take)], capacity=2).run()

    assert taken == 40
    # Two queues of 2, one item in each of three threads, and one being produced.
    assert max_ahead <= 8


def test_a_camera_pipeline_drops_the_oldest_and_counts_it():
    taken: list[int] = []

    def source():
        for value in range(50):
            time.sleep(0.001)
            yield value

    def take(value: int) -> None:
        time.sleep(0.01)
        taken.append(value)

    statistics = Pipeline(
        source(), [Stage.each("sink", take)], capacity=1, when_full=WhenFull.KEEP_LATEST, source_name="camera"
    ).run()

    assert taken == sorted(taken)
    assert taken[-1] == 49
    assert statistics.stages[0].dropped == 50 - len(taken) > 0


def test_items_are_freed_as_the_pipeline_goes():
    class Held:
        pass

    alive: weakref.WeakSet[Held] = weakref.WeakSet()
    max_alive = 0

    def source():
        for _ in range(200):
            frame = Held()
            alive.add(frame)
            yield frame
            del frame

    def sink(_: Held) -> None:
        nonlocal max_alive
        max_alive = max(max_alive, len(alive))

    Pipeline(source(), [Stage.each("pass", lambda item: item), Stage.each("sink", sink)], capacity=2).run()
    gc.collect()

    assert max_alive <= 10
    assert len(alive) == 0


def test_cancelling_from_another_thread_raises_cancelled_and_closes_the_source():
    source_closed = threading.Event()
    started = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            source_closed.set()

    def take(_: int) -> None:
        started.set()

    pipeline = Pipeline(endless(), [Stage.each("sink", take)])
    canceller = threading.Thread(target=lambda: (started.wait(), pipeline.cancel()))
    canceller.start()

    with pytest.raises(Cancelled):
        pipeline.run()
    canceller.join()
    assert source_closed.is_set()
    assert not _living_threads()


def test_leaving_the_loop_early_stops_the_threads():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 7
        finally:
            closed.set()

    results = iter(Pipeline(endless(), [Stage.each("double", lambda value: 2 * value)]))
    assert next(results) == 14
    results.close()

    assert closed.is_set()
    assert not _living_threads()


def test_an_error_of_the_watcher_stops_the_pipeline():
    def watch(_) -> None:
        raise BrokenPipeError("nobody reads the progress")

    def endless():
        while True:
            time.sleep(0.001)
            yield 0

    with pytest.raises(BrokenPipeError):
        Pipeline(endless(), [Stage.each("sink", lambda _: None)]).run(watch=watch, watch_seconds=0.01)
    assert not _living_threads()


def test_statistics_say_where_the_time_went():
    def burn(value: int) -> int:
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return value

    statistics = Pipeline(
        range(10),
        [Stage.each("burn", burn), Stage.each("sleep", lambda _: time.sleep(0.001))],
        source_name="count",
    ).run()
    count, burning, sleeping = statistics.stages

    assert [stage.name for stage in statistics.stages] == ["count", "burn", "sleep"]
    assert [stage.items for stage in statistics.stages] == [10, 10, 10]
    assert burning.cpu_seconds >= 0.05
    assert burning.busy_seconds >= burning.cpu_seconds * 0.9
    assert sleeping.cpu_seconds < burning.cpu_seconds
    assert sleeping.wait_in_seconds > 0
    assert count.wait_out_seconds > 0
    assert statistics.load("burn") > statistics.load("sleep")
    assert 0 < statistics.load("burn") <= 1


def test_the_watcher_sees_the_pipeline_advance():
    seen: list[int] = []
    Pipeline(range(30), [Stage.each("sink", lambda _: time.sleep(0.003))]).run(
        watch=lambda statistics: seen.append(statistics.items), watch_seconds=0.01
    )
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


def test_a_batching_stage_that_loses_an_item_is_an_error():
    with pytest.raises(RuntimeError, match="given 1 items and gave back 0"):
        Pipeline(range(3), [Stage("lossy", lambda items: items[1:])]).run()


def test_a_pipeline_runs_once():
    pipeline = Pipeline(range(1), [Stage.each("sink", lambda _: None)])
    pipeline.run()
    with pytest.raises(RuntimeError, match="runs once"):
        pipeline.run()


def test_a_stage_takes_what_waits_but_never_waits_to_fill_a_batch():
    queue: BoundedQueue[int] = BoundedQueue(8)
    for value in range(5):
        queue.put(value)
    assert queue.get_batch(3) == [0, 1, 2]
    assert queue.get_batch(3) == [3, 4]
    queue.end()
    assert queue.get_batch(3) == []


def test_cancelling_wakes_a_producer_and_a_consumer_that_wait():
    full: BoundedQueue[int] = BoundedQueue(1)
    full.put(0)
    empty: BoundedQueue[int] = BoundedQueue(1)
    woken: list[str] = []

    def produce() -> None:
        try:
            full.put(1)
        except QueueCancelled:
            woken.append("producer")

    def consume() -> None:
        try:
            empty.get_batch(1)
        except QueueCancelled:
            woken.append("consumer")

    threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    full.cancel()
    empty.cancel()
    for thread in threads:
        thread.join(timeout=300)
    assert sorted(woken) == ["consumer", "producer"]


def test_a_queue_without_room_is_refused():
    with pytest.raises(ValueError, match="capacity"):
        BoundedQueue(0)


def test_ctrl_c_while_threads_are_started_stops_those_that_run(monkeypatch):
    started = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        if len(started) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    ended = threading.Event()
    endless = Stage("endless", lambda items: [ended.wait(20) and item for item in items], interrupt=ended.set)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(iter(int, 1), [endless, Stage.each("sink", print)]).run()
    assert len(started) == 2
    assert not _living_threads()


def test_what_begins_after_the_first_interruption_is_interrupted_too():
    """A network run that starts just after the interruption has not received it."""
    heard = threading.Event()
    began = threading.Event()

    def work(items: list[int]) -> list[int]:
        began.set()
        heard.wait(20)
        heard.clear()
        began_late.set()
        assert heard.wait(20)
        return items

    began_late = threading.Event()
    pipeline = Pipeline([1], [Stage("deaf at first", work, interrupt=heard.set)])
    threading.Thread(target=lambda: (began.wait(), pipeline.cancel())).start()
    began_at = time.monotonic()
    with pytest.raises(Cancelled):
        pipeline.run()
    assert began_late.is_set()
    assert time.monotonic() - began_at < 15
