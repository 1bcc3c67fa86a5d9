"""A soak test: half an hour of webcam, stream and server, with the camera unplugged and the network interrupted.

    python -m benchmarks.soak [--minutes 30] [--folder DIR]

Three real commands run at the same time, each in a separate process:

* ``animevid webcam`` records a camera and a microphone; the camera is unplugged and plugged in repeatedly;
* ``animevid tcp://... out.mkv`` records a live stream with audio; its server disappears and returns repeatedly;
* ``animevid serve`` has a viewer by WebRTC who leaves and returns, and converts a file for each.

Camera and server draw each frame's number into it, and the audio clicks once a second by the same clock, so the
recordings show how far audio and video drift apart, and when frames returned. Prints a line for each and exits with 1
if memory grows, audio drifts by more than 40 ms, or something does not come back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import wave
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
from animevid.io.sources.camera import TEST_PATTERN, test_pattern
from animevid.io.sources.counter import MODULUS, draw_counter, read_counter
from animevid.options import CameraOptions

from benchmarks import plots

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack

SIZE = (180, 320)
FPS = 30
SOUND_HZ = 48_000
CLICK_SECONDS = 0.02
MAX_DRIFT_SECONDS = 0.040
#: Drift is what lasts. A single frame that a busy machine took a little late is not: the median of so many clicks.
CLICKS_OF_A_DRIFT = 9
#: Numbers in the frames start again after a whole number of seconds, as the clicks do: who has missed more than half
#: of such a turn is mistaken about the minute, and yet not about whether sound and frames are together.
TURN = MODULUS // FPS * FPS
#: What a process may grow by from its second quarter to its last: caches and the allocator's arenas.
MAX_GROWTH = 0.10
#: And where a quarter is shorter than half a minute, so that it still loads what its first viewer and file need.
MAX_START_MIB = 64.0
MIN_QUARTER_SECONDS = 30.0
#: When a viewer gives up who has seen no frame yet. It takes a second, and more where the machine is busy.
FIRST_FRAME_SECONDS = 20.0
NOTES_A_SECOND = 4
#: How long camera and station stay away.
AWAY_SECONDS = 4.0
#: The longest pause between attempts is 15 s; after ``AWAY_SECONDS`` it has not grown beyond 4 s yet.
MAX_RETURN_SECONDS = 10.0


@dataclass
class Report:
    """What one scene showed: lines for people, and what is not as it should be."""

    name: str
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)

    def check(self, good: bool, line: str) -> None:
        self.lines.append(line)
        if not good:
            self.faults.append(f"{self.name}: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, help="keep the recordings here")
    parser.add_argument("--style", help="default: the shipped one")
    plots.add_plot(parser)
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        reports = soak(60 * args.minutes, folder, style=args.style)
    for report in reports:
        print(report.name)
        for line in report.lines:
            print(f"  {line}")
    noted = {
        report.name: [(n / NOTES_A_SECOND / 60, mib) for n, mib in enumerate(report.memory_mib)] for report in reports
    }
    plots.write(args.plot, plots.lines("memory", noted, x_label="minutes", y_label="MiB"))
    faults = [fault for report in reports for fault in report.faults]
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    return 1 if faults else 0


def soak(seconds: float, folder: Path, *, style: str | None = None, breaks: int | None = None) -> list[Report]:
    """Run all three for ``seconds`` and look at what they leave. ``breaks``: default one in two minutes."""
    count = max(1, round(seconds / 120)) if breaks is None else breaks
    chosen = ["--style", style] if style else []
    with ExitStack() as stack:
        camera, station = stack.enter_context(Station()), stack.enter_context(Station(sound=True))
        (folder / "recordings").mkdir(exist_ok=True)
        sound = write_clicks(folder / "clicks.wav", seconds + 60)
        webcam = stack.enter_context(
            Command(
                *("webcam", "--device", camera.url, "--record", "--folder", folder / "recordings"),
                *("--microphone", sound, "--no-adapt", *chosen),
                environment={"SDL_VIDEODRIVER": "dummy"},
            )
        )
        recorded = folder / "stream.mkv"
        stream = stack.enter_context(
            Command(
                station.url, recorded, "--overwrite", "--quiet", "--reconnect", "60", "--preset", "ultrafast", *chosen
            )
        )
        server = stack.enter_context(Command("serve", "--port", "0", *chosen))
        url = server.first_word("http://")
        viewer = stack.enter_context(Viewer(url, stay_seconds=min(60.0, seconds / 4)))
        commands = (webcam, stream, server)
        returns: dict[Station, list[float]] = {camera: [], station: []}
        for _ in stopwatch(60.0):
            if min(camera.frames_sent, station.frames_sent) > FPS:
                break
        for second in stopwatch(seconds):
            for command in commands:
                command.note_memory()
            # Evenly spread, the station half a turn before the camera, none at the very beginning or end.
            for place, half in ((camera, 0.0), (station, 0.5)):
                turn = second * (count + 1) / seconds + half
                if len(returns[place]) < count and turn >= len(returns[place]) + 1:
                    returns[place].append(time.monotonic() + AWAY_SECONDS - place.epoch)
                    place.leave(AWAY_SECONDS)
        for place in (camera, station):
            place.wait_for_caller(MAX_RETURN_SECONDS)
        viewer.close()
        for command in commands:
            command.interrupt()
        reports = [Report("webcam"), Report("stream"), Report("server")]
        for report, command in zip(reports, commands, strict=True):
            code = command.wait()
            report.check(code == 0, f"ended by Ctrl-C with {code}")
            report.check(*growth(command.noted_mib))
            report.memory_mib = command.noted_mib
        recordings = list((folder / "recordings").glob("*.mp4"))
        reports[0].check(len(recordings) == 1, f"{len(recordings)} recording")
        for report, paths, place in ((reports[0], recordings, camera), (reports[1], [recorded], station)):
            for path in paths:
                check_recording(report, path, returns[place])
        reports[2].check(viewer.visits > 0 and not viewer.troubles, f"{viewer.visits} visits, {viewer.frames} frames")
        reports[2].check(viewer.jobs == viewer.visits, f"{viewer.jobs} files converted and given back")
        for trouble in viewer.troubles:
            reports[2].check(False, trouble)
        return reports


def stopwatch(seconds: float) -> Iterator[float]:
    """How many seconds have passed, about four times a second, up to ``seconds``."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        yield passed
        time.sleep(1 / NOTES_A_SECOND)


# --- what the cameras send ------------------------------------------------------------------------------------------


def clicks(first_sample: int, count: int) -> npt.NDArray[np.float32]:
    """Sound with a click at each full second: float32, ``(count,)``."""
    moments = (first_sample + np.arange(count)) / SOUND_HZ % 1.0
    return np.where(moments < CLICK_SECONDS, 0.8 * np.sin(2 * np.pi * 1000 * moments), 0).astype(np.float32)


def write_clicks(path: Path, seconds: float) -> Path:
    """A WAV that stands in for the microphone."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SOUND_HZ, 0, "NONE", ""))
        second = (clicks(0, SOUND_HZ) * 32767).astype("<i2").tobytes()
        for _ in range(round(seconds)):
            file.writeframes(second)
    return path


class Station:
    """Sends each client a live stream; a frame's number is its time, in frames since ``epoch``."""

    def __init__(self, *, sound: bool = False) -> None:
        self.epoch = time.monotonic()
        self.frames_sent = 0
        self._frames_before = 0
        self._sound = sound
        self._on_air = threading.Event()
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = self._socket.getsockname()[1]
        self._socket.close()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._on_air.set()
        self._thread.start()
        self.url = f"tcp://127.0.0.1:{self._port}"

    def leave(self, seconds: float) -> None:
        """Break off in the middle, and refuse connections for ``seconds``."""
        self._on_air.clear()
        self._frames_before = self.frames_sent
        threading.Timer(seconds, self._on_air.set).start()

    def wait_for_caller(self, seconds: float) -> None:
        """Wait until the client has received three seconds of frames after the break, at most ``seconds``.

        A run that ended just after a break could not tell a late reconnection from none.
        """
        for _ in stopwatch(seconds):
            if self.frames_sent >= self._frames_before + 3 * FPS:
                return

    def _serve(self) -> None:
        while not self._closed.is_set():
            if not self._on_air.wait(0.1):
                continue
            with socket.create_server(("127.0.0.1", self._port), reuse_port=False) as server:
                server.settimeout(0.1)
                while self._on_air.is_set() and not self._closed.is_set():
                    with suppress(TimeoutError):
                        caller, _ = server.accept()
                        with caller, suppress(OSError, av.FFmpegError):  # the client disconnected
                            self._send(_Pipe(caller))

    def _send(self, pipe: _Pipe) -> None:
        height, width = SIZE
        pattern = next(test_pattern(CameraOptions(TEST_PATTERN, SIZE, Fraction(FPS)), threading.Event()))
        # A cluster for each frame: the muxer would keep a second of them back.
        options = {"live": "1", "cluster_time_limit": "1", "flush_packets": "1"}
        with av.open(pipe, "w", format="matroska", container_options=options) as container:
            video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.codec_context.gop_size = FPS
            audio = container.add_stream("aac", rate=SOUND_HZ, layout="mono") if self._sound else None
            number = first = int((time.monotonic() - self.epoch) * FPS)
            sample = first * SOUND_HZ // FPS
            while self._on_air.is_set() and not self._closed.is_set():
                number = max(number + 1, int((time.monotonic() - self.epoch) * FPS))
                time.sleep(max(0.0, self.epoch + number / FPS - time.monotonic()))
                luma = np.array(pattern.y, np.uint8)
                draw_counter(luma, number % TURN)
                frame = av.VideoFrame.from_ndarray(
                    np.concatenate([luma.ravel(), pattern.u.ravel(), pattern.v.ravel()]).reshape(
                        height * 3 // 2, width
                    ),
                    format="yuv420p",
                )
                frame.pts, frame.time_base = number - first, Fraction(1, FPS)
                container.mux(video.encode(frame))
                self.frames_sent += 1
                while audio is not None and sample * FPS < number * SOUND_HZ:
                    part = av.AudioFrame.from_ndarray(clicks(sample, 1024)[None], format="fltp", layout="mono")
                    part.sample_rate = SOUND_HZ
                    part.pts, part.time_base = sample - first * SOUND_HZ // FPS, Fraction(1, SOUND_HZ)
                    container.mux(audio.encode(part))
                    sample += 1024

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(timeout=5)


class _Pipe:
    """A socket as a file that can only be written."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        self._connection = connection

    def write(self, data: bytes) -> int:
        self._connection.sendall(data)
        return len(data)


# --- what receives it -----------------------------------------------------------------------------------------------


class Command:
    """``animevid`` in a separate process, with samples of its memory."""

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "animevid", *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self.noted_mib: list[float] = []

    def first_word(self, beginning: str) -> str:
        """The first word that it prints with this beginning."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            for word in line.split():
                if word.startswith(beginning):
                    return word
        raise RuntimeError(f"it ended with {self._process.wait()}")

    def note_memory(self) -> None:
        with suppress(OSError, IndexError, ValueError):
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
            self.noted_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        self._process.communicate(timeout=60)
        return self._process.returncode

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Viewer:
    """A WebRTC viewer that stays a while, has a file converted, leaves and returns, in a separate thread."""

    def __init__(self, url: str, *, stay_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._stay = stay_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.visits = self.frames = self.jobs = 0
        self.troubles: list[str] = []

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._visit())
                self._convert()
            except Exception as error:
                self.troubles.append(f"{type(error).__name__}: {error}")
                self._stopping.wait(1)

    async def _visit(self) -> None:
        from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

        peer = RTCPeerConnection()
        seen = 0

        @peer.on("track")
        async def watch(track: MediaStreamTrack) -> None:
            nonlocal seen
            with suppress(Exception):
                while True:
                    await track.recv()
                    seen += 1

        peer.addTrack(VideoStreamTrack())
        await peer.setLocalDescription(await peer.createOffer())
        answer = await asyncio.to_thread(self._ask, "/api/peers", {"sdp": peer.localDescription.sdp})
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        # It stays so long from its first frame on.
        end, waits = time.monotonic() + FIRST_FRAME_SECONDS, True
        while time.monotonic() < end and not self._stopping.is_set():
            if seen and waits:
                end, waits = time.monotonic() + self._stay, False
            await asyncio.sleep(0.1)
        await peer.close()
        await asyncio.to_thread(self._ask, f"/api/peers/{answer['id']}", None, "DELETE")
        if seen == 0 and not self._stopping.is_set():
            self.troubles.append(f"visit {self.visits + 1} saw no frame")
        self.visits += 1
        self.frames += seen

    def _convert(self) -> None:
        from animevid.server.app import __file__ as server

        video = (Path(server).parent.parent / "demo" / "demo.mp4").read_bytes()
        job = self._ask("/api/jobs?name=demo.mp4", video)
        while job["state"] not in ("done", "failed"):
            time.sleep(0.2)
            job = self._ask(f"/api/jobs/{job['id']}")
        if job["state"] == "failed":
            self.troubles.append(f"conversion: {job['error']}")
            return
        with urllib.request.urlopen(f"{self._url}/api/jobs/{job['id']}/result", timeout=60) as answer:
            self.jobs += len(answer.read()) > 1000
        self._ask(f"/api/jobs/{job['id']}", None, "DELETE")

    def _ask(self, path: str, body: bytes | dict[str, str] | None = None, method: str | None = None) -> dict[str, str]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            return json.loads(text) if text else {}

    def __enter__(self) -> Viewer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave after the current file. Safe to call twice."""
        self._stopping.set()
        self._thread.join(timeout=120)


# --- what came of it ------------------------------------------------------------------------------------------------


def growth(noted_mib: Sequence[float]) -> tuple[bool, str]:
    """Whether a process kept to its memory from its second quarter to its last, and the line that says so."""
    quarter = len(noted_mib) // 4
    if quarter == 0:
        return True, "memory: too short to say"
    early, late = (statistics.median(part) for part in (noted_mib[quarter : 2 * quarter], noted_mib[-quarter:]))
    starts = quarter < MIN_QUARTER_SECONDS * NOTES_A_SECOND
    allowed = max(MAX_GROWTH * early, MAX_START_MIB if starts else 0.0)
    line = f"memory {early:.0f} MiB early, {late:.0f} MiB late ({late / early - 1:+.1%}), at most {max(noted_mib):.0f}"
    return late - early <= allowed, line


def check_recording(report: Report, path: Path, returns: Sequence[float]) -> None:
    """Read numbers and clicks back: are sound and frames together, and did the frames come back each time?"""
    try:
        frames, sound = list(read_numbers(path)), read_clicks(path)
    except av.FFmpegError as error:
        report.check(False, f"{path.name} cannot be played: {error}")
        return
    report.check(len(frames) > 0, f"{path.name}: {len(frames)} frames, {frames[-1][0] if frames else 0:.1f} s")
    drifts = drift(frames, sound)
    report.check(bool(drifts), f"{len(drifts)} clicks heard beside a frame")
    if drifts:
        lasting = lasting_drift(drifts)
        single = max(abs(one - statistics.median(drifts)) for one in drifts)
        line = f"sound drifts from the frame by at most {1000 * lasting:.0f} ms ({1000 * single:.0f} ms at one click)"
        report.check(lasting <= MAX_DRIFT_SECONDS, line)
    moments = [moment for _, moment in unwrapped(frames, near=0.0)]
    back = [min((moment - at for moment in moments if moment >= at), default=float("inf")) for at in returns]
    longest = max(back, default=0.0)
    line = f"away {len(returns)} times for {AWAY_SECONDS:g} s, frames again after {longest:.1f} s at the latest"
    report.check(longest <= MAX_RETURN_SECONDS, line)


def read_numbers(path: Path) -> Iterator[tuple[float, int]]:
    """(seconds in the file, the number drawn into it) of each frame whose number can be read."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            number = read_counter(frame.to_ndarray(format="gray").astype(np.uint8))
            if number is not None and frame.time is not None:
                yield frame.time, number


def read_clicks(path: Path) -> list[float]:
    """When clicks are heard, in seconds in the file."""
    found: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray().mean(0)) > 0.2)
            if len(loud) and frame.time is not None:
                heard = frame.time + loud[0] / frame.sample_rate
                if not found or heard - found[-1] > 0.5:
                    found.append(heard)
    return found


def unwrapped(frames: Sequence[tuple[float, int]], *, near: float | None = None) -> list[tuple[float, float]]:
    """(seconds in the file, seconds on the camera's clock): numbers start again at ``TURN``, the clock does not."""
    turn = TURN / FPS
    found: list[tuple[float, float]] = []
    lag = near
    for seconds, number in frames:
        moment = number / FPS
        lag = moment - seconds if lag is None else lag
        moment += turn * round((seconds + lag - moment) / turn)
        lag = moment - seconds
        found.append((seconds, moment))
    return found


def drift(frames: Sequence[tuple[float, int]], sound: Sequence[float]) -> list[float]:
    """For each click with a frame within a frame and a half of it: how much later sound is than frame, in seconds.

    Both are compared with their own clock, of which only full seconds matter: clicks fall on them.
    """
    moments = unwrapped(frames)
    if not moments or not sound:
        return []
    times = np.array([seconds for seconds, _ in moments])
    offset = None
    found = []
    for heard in sound:
        place = min(int(np.searchsorted(times, heard)), len(times) - 1)
        if abs(times[place] - heard) > 1.5 / FPS:
            continue
        seen, moment = moments[place]
        # On the frame's clock the click is at `moment + (heard - seen)`; on its own at a full second (or, where the
        # microphone has its own clock, always at the same fraction of one).
        phase = (moment + heard - seen) % 1.0
        offset = phase if offset is None else offset
        found.append((phase - offset + 0.5) % 1.0 - 0.5 + (offset + 0.5) % 1.0 - 0.5)
    return found


def lasting_drift(drifts: Sequence[float]) -> float:
    """How far apart sound and frames come, in seconds: running medians, compared with the first of them."""
    count = min(CLICKS_OF_A_DRIFT, len(drifts))
    medians = [statistics.median(drifts[at : at + count]) for at in range(len(drifts) - count + 1)]
    return max(abs(one - medians[0]) for one in medians)


if __name__ == "__main__":
    raise SystemExit(main())
