"""Several workers on a local Ray cluster write the same video as one machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import animevid
import pytest
from animevid.errors import BackendError
from animevid.jobs import job as jobs
from animevid.jobs import open_conversion
from animevid.jobs.identity import source_identity
from animevid.options import ConversionOptions, EncodeOptions
from jobs.conftest import look, psnr, same_but_frames

try:
    import ray
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip('ray is not installed: pip install "animevid[farm]"', allow_module_level=True)

from animevid.jobs.farm import Farm
from animevid.jobs.farm.driver import next_segment
from animevid.jobs.farm.worker import FarmRequest, SegmentWorker


@pytest.fixture(scope="module")
def cluster():
    here = os.path.dirname(os.path.dirname(__file__))
    paths = os.pathsep.join([*(path for path in sys.path if path), here])
    variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    for attempt in range(3):
        try:
            ray.init(
                num_cpus=4,
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={"env_vars": variables},
                object_store_memory=100 << 20,
            )
            break
        except Exception:  # Ray's default of half a minute is too short on a busy machine
            ray.shutdown()
            if attempt == 2:
                raise
    yield [ray.get_runtime_context().gcs_address, repr(variables)]
    ray.shutdown()


@pytest.fixture
def video(make_clip):
    sound = {"audio_codec": "aac", "audio_seconds": Fraction(6)}
    return make_clip("video.mp4", width=160, height=96, frames=150, options={"g": "25", "bf": "2"}, **sound)


@pytest.fixture
def exact(options):
    """Options whose result depends on no earlier frame, so that it is bit-identical."""
    return replace(options, skip_static=False, deflicker=False, encoder=EncodeOptions(codec="ffv1", threads=1))


class SlowFirst(SegmentWorker):
    """The first worker is too slow to finish."""

    def make(self, index):
        if self.number == 1:
            time.sleep(900)
        return super().make(index)


class Dying(SegmentWorker):
    """The first worker that gets a segment is killed in its middle, as by the kernel's OOM killer."""

    def make(self, index):
        with suppress(FileExistsError):
            Path(f"{Path(self._request.folder).parent}.killed").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(index)


class Apart(SegmentWorker):
    """A worker without files in common with the driver."""

    def check(self):
        request = replace(self._request, folder="/nowhere", src="/nowhere/video.mp4")
        self._request = request
        return super().check()


class Older(SegmentWorker):
    """A worker with another version of animevid."""

    def check(self):
        import animevid

        animevid.__version__ = "0.0.1"
        return super().check()


_DRIVER = """
import sys
from fractions import Fraction
import ray
from animevid.jobs import open_conversion
from animevid.jobs.farm import Farm
from animevid.options import ConversionOptions, EncodeOptions
address, variables, src, dst, style = sys.argv[1:]
ray.init(address, log_to_driver=False, runtime_env={"env_vars": eval(variables)})
encoder = EncodeOptions(threads=1)
options = ConversionOptions(style=style, threads=1, encoder=encoder, skip_static=False, deflicker=False)
with open_conversion(src, dst, options, resumable=True, segment_seconds=Fraction(1)) as job:
    Farm(job, options, capacity=lambda: 1).run(lambda done, total: print(done, flush=True))
    job.join()
"""


def farmed(video, dst, options, **how):
    with open_conversion(video, dst, options, resumable=True, segment_seconds=Fraction(1)) as job:
        farm = Farm(job, options, **how)
        farm.run()
        job.join()
    return farm


@pytest.mark.parametrize("worker_class", [Dying, Apart])
def test_the_video_is_that_of_one_machine(worker_class, cluster, video, exact, convert, tmp_path):
    expected = look(convert(video, tmp_path / "one.mkv", exact))
    farm = farmed(video, tmp_path / "farm.mkv", exact, capacity=lambda: 2, worker_class=worker_class)
    video_now = look(tmp_path / "farm.mkv")
    assert same_but_frames(video_now, expected)
    assert min(map(psnr, video_now.frames, expected.frames)) == 100
    assert farm.lost == (worker_class is Dying)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["farm.mkv", "one.mkv"]


def test_a_slow_worker_is_overtaken_and_a_late_one_joins(cluster, video, exact, tmp_path):
    started_at = time.monotonic()
    capacity = lambda: 1 if time.monotonic() - started_at < 0.5 else 2  # noqa: E731
    farm = farmed(video, tmp_path / "farm.mkv", exact, capacity=capacity, worker_class=SlowFirst)
    assert farm.copies == 1
    assert farm._number == 2
    assert len(look(tmp_path / "farm.mkv").frames) == 150


def test_a_driver_that_was_killed_goes_on(cluster, video, exact, convert, tmp_path):
    expected, dst = tmp_path / "one.mp4", tmp_path / "farm.mp4"
    options = replace(exact, encoder=EncodeOptions(threads=1))
    convert(video, expected, options, segment_seconds=Fraction(1))
    words = [sys.executable, "-c", _DRIVER, *cluster, str(video), str(dst), str(options.style)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert [driver.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
    driver.kill()
    driver.wait()
    assert not dst.exists()
    with open_conversion(video, dst, options) as job:
        assert 2 <= len(job._finished) < len(job.description.segments)
    farmed(video, dst, options, capacity=lambda: 1)
    assert dst.read_bytes() == expected.read_bytes()
    assert not jobs.job_folder(dst).exists()


def test_a_worker_uses_as_many_threads_as_it_has_cpus(cluster, video, exact, tmp_path):
    options = replace(exact, threads=0, encoder=EncodeOptions())
    with open_conversion(video, tmp_path / "farm.mkv", options, resumable=True) as job:
        for asked, expected in ((options, 3), (exact, 1)):
            farm = Farm(job, asked, cpus=3)
            ray.kill(farm._source)
            assert farm._request.options.threads == farm._request.options.encoder.threads == expected


def test_a_worker_of_another_version_is_refused_in_one_line(cluster, video, exact, tmp_path):
    with pytest.raises(BackendError, match=r"no worker can be used: it has animevid 0\.0\.1, the driver") as caught:
        farmed(video, tmp_path / "farm.mkv", exact, capacity=lambda: 1, worker_class=Older)
    assert "\n" not in str(caught.value)
    assert jobs.job_folder(tmp_path / "farm.mkv").exists()


def request_for(job, video, options):
    return FarmRequest(
        src=str(video),
        dst=str(job.dst),
        options=options,
        description=job.description,
        folder=str(job.folder),
        token="",
        version=animevid.__version__,
        source=source_identity(video),
        style=job.style_digest,
    )


def test_a_worker_goes_on_over_a_seam_without_a_lead_in(video, options, tmp_path):
    """Its segments are byte-identical to those of one machine, although the temporal filter has state."""
    with open_conversion(video, tmp_path / "out.mp4", options, resumable=True, segment_seconds=Fraction(1)) as job:
        (segments,) = job.missing_runs()
        job._make(segments, None)
        expected = [job.path_of(segment.index).read_bytes() for segment in segments]
        worker = SegmentWorker(request_for(job, video, options), lambda offset, size: b"", 1)
        try:
            assert worker.check() is None
            made = [worker.make(index).path.read_bytes() for index in range(5)]
            assert made == expected[:5]
            assert worker.make(4).path.read_bytes() != expected[4]  # not the next segment: it has a lead-in of 2 s
            worker.make(3)  # and abandoned half-way
        finally:
            worker.close()
        assert not [path.name for path in tmp_path.rglob("*.part")]


@pytest.mark.parametrize(("workers", "most"), [(1, 1), (4, 12), (60, 60)])
def test_few_segments_begin_with_a_lead_in(workers, most):
    pending, after, lead_ins, made = set(range(60)), dict.fromkeys(range(workers)), 0, []
    while pending:
        for worker in range(min(workers, len(pending))):  # all take equally long
            index = next_segment(pending, after[worker], after.values())
            lead_ins += index != after[worker]
            pending.discard(index)
            made.append(index)
            after[worker] = index + 1
    assert sorted(made) == list(range(60))
    assert lead_ins <= most


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"version": "0.0.1"}, r"it has animevid .*, the driver 0\.0\.1: install the same"),
        ({"style": "ffff"}, "its style 'test-packed' is another file than the driver's: copy that"),
        ({"options": ConversionOptions(style="/nowhere/style.onnx")}, "/nowhere/style.onnx"),
        ({"options": ConversionOptions(style="no-such-style")}, "no-such-style"),
    ],
)
def test_a_worker_that_is_not_as_the_driver_says_why_in_one_line(video, exact, tmp_path, change, refusal):
    with open_conversion(video, tmp_path / "out.mkv", exact, resumable=True) as job:
        request = request_for(job, video, exact)
        for asked, expected in ((request, None), (replace(request, **change), refusal)):
            worker = SegmentWorker(asked, lambda offset, size: b"", 1)
            told = worker.check()
            worker.close()
            assert told is None if expected is None else re.search(expected, told)
            assert "\n" not in (told or "")
