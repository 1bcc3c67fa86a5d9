"""Feeds mutated videos, images, playlists, subtitles, styles, cards and requests to animevid and checks the outcome.

``python tests/fuzz.py`` from the repository's root runs for an hour (``--seconds``, ``--workers``, ``--kinds``); the
test suite runs twenty of each kind. Input N of a kind is always the same, so ``--kinds video --first
N --count 1`` repeats one. Failed inputs are stored in the folder ``--keep`` and belong in ``tests/fuzz_corpus``.

``make fuzz-ci`` runs all inputs that failed before and the first 150 of each kind, in two minutes at most. The fixed
count gives a fast machine no inputs that others have not seen.

A finding is a traceback, a crash, an undocumented exit code, 20 s of CPU time, 2 GiB of memory, a file left behind, or
a control character on the terminal. Each worker is a separate process, so that a crash ends only one input.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
CORPUS = TESTS / "fuzz_corpus"
KINDS = ("video", "image", "playlist", "subtitles", "style", "onnx", "card", "request")
#: CPU time, so that a busy machine does not look like a hang; a sleeping worker gets much longer.
MAX_SECONDS = 20.0
MAX_WALL_SECONDS = 300.0
MAX_BYTES = 2 << 30
_EXIT_CODES = frozenset(range(2, 9))  # 1 is an error of animevid's own
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


# --- mutations ------------------------------------------------------------------------------------------------------


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """``data`` with one to eight changes; ``other`` is another seed to splice with."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if not changed:
            changed = bytearray(other[:64] or b"\0")
        at = chance.randrange(len(changed))
        length = min(chance.choice((1, 2, 4, 8, 64, 1000)), len(changed) - at)
        kind = chance.randrange(10)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * chance.choice((1, 2, 50))
        elif kind == 4:
            size = chance.choice((1, 2, 4, 8))
            number = chance.choice(_INTERESTING) & ((1 << 8 * size) - 1)
            changed[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
        elif kind == 5:
            del changed[at:]
        elif kind == 6:
            start = chance.randrange(max(1, len(other)))
            changed[at : at + length] = other[start : start + length]
        elif kind == 7:
            changed[at:] = other[min(at, len(other)) :]
        elif kind == 8:
            changed[at : at + length] = bytes(length)
        else:
            move = chance.randrange(len(changed))
            changed[at : at + length], piece = b"", bytes(changed[at : at + length])
            changed[move:move] = piece
    return bytes(changed[: 4 << 20])


_WORDS = (
    "1e999", "-1", "0", "NaN", "999999999999999999999", "%00", "\x1b[2J", "\u202e", "../../../etc/passwd",
    "file:///etc/passwd", "http://127.0.0.1:9/", "{", "[" * 500, '"', "\\", "\r\n\r\n", " " * 300, "\x00", "true",
    "null", "é" * 100, "%n%s", "-->",
)  # fmt: skip


def mutated_text(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """The same for text: lines and words swap places, numbers grow, unusual words are inserted."""
    if chance.random() < 0.3:
        return mutated(data, other, chance)
    lines = data.split(b"\n")
    for _ in range(chance.choice((1, 2, 4))):
        at = chance.randrange(len(lines))
        kind = chance.randrange(6)
        if kind == 0:
            lines[at:at] = [lines[chance.randrange(len(lines))]] * chance.choice((1, 3, 200))
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        elif kind == 2:
            lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
        else:
            place = chance.randrange(len(lines[at]) + 1)
            word = chance.choice(_WORDS).encode("utf-8", "surrogatepass")
            end = place if kind == 3 else min(len(lines[at]), place + chance.choice((1, 3, 10)))
            lines[at] = lines[at][:place] + word + lines[at][end:]
    return b"\n".join(lines)


# --- seeds ----------------------------------------------------------------------------------------------------------


def write_seeds(folder: Path) -> None:
    """One small file of each format, in ``folder/KIND``."""
    import av
    import numpy as np
    import onnx
    from small_clips import ClipSpec, write_clip
    from small_networks import packed_network, rgb_network
    from small_styles import NCHW, NHWC, PACKED, save_style

    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    small: dict[str, Any] = {"width": 48, "height": 32, "frames": 3}
    for name, more in {
        "a.mp4": {"audio_codec": "aac", "subtitles": "mov_text"},
        "a.mov": {"display_rotation": 90, "metadata": {"title": "x"}},
        "a.mkv": {"audio_codec": "libopus", "subtitles": "subrip", "attachment": b"font"},
        "a.avi": {"codec": "mpeg4", "options": {}},
        "a.ts": {"audio_codec": "mp2"},
        "a.webm": {"codec": "libvpx", "options": {"deadline": "realtime"}},
        "a.flv": {},
    }.items():
        write_clip(folder / "video" / name, ClipSpec(**{**small, **more}))
    write_clip(folder / "subtitles" / "a.mkv", ClipSpec(**small, subtitles="subrip"))
    write_clip(folder / "subtitles" / "a.mp4", ClipSpec(**small, subtitles="mov_text"))
    (folder / "subtitles" / "b.srt").write_bytes(b"1\n00:00:00,000 --> 00:00:00,100\n<b>one</b> &amp; {\\an8}two\n")
    (folder / "subtitles" / "b.ass").write_bytes(b"0,0,Default,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}{\\i1}one\\Ntwo\\h,three")
    image = np.kron(np.random.default_rng(1).integers(0, 255, (8, 12, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    for suffix in ("png", "jpg", "webp", "bmp", "tiff"):
        _write_image(folder / "image" / f"a.{suffix}", frame)
    for codec, name, form in (("gif", "a.gif", "rgb8"), ("apng", "a.apng", "rgb24")):
        with av.open(str(folder / "image" / name), "w") as container:
            stream = container.add_stream(codec, rate=10, width=48, height=32, pix_fmt=form)
            for _ in range(3):
                container.mux(stream.encode(frame.reformat(format=form)))
            container.mux(stream.encode(None))
    segment = write_clip(folder / "playlist" / "s0.ts", ClipSpec(**small))
    (folder / "playlist" / "a.m3u8").write_bytes(
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:0.12,\n"
        + segment.name.encode() + b"\n#EXT-X-DISCONTINUITY\n#EXTINF:0.12,\ns0.ts\n#EXT-X-ENDLIST\n"
    )  # fmt: skip
    (folder / "playlist" / "m.m3u8").write_bytes(
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="a.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=48x32,AUDIO="a"\na.m3u8\n'
    )
    (folder / "playlist" / "f.mpd").write_bytes(
        b'<MPD mediaPresentationDuration="PT0.24S"><Period duration="PT0.12S"><AdaptationSet mimeType="video/mp2t">\n'
        b'<SegmentTemplate media="$RepresentationID$$Number%01d$.ts" timescale="100" startNumber="0">\n'
        b'<SegmentTimeline><S t="0" d="6" r="0"/></SegmentTimeline></SegmentTemplate>\n'
        b'<Representation id="s" codecs="avc1.42c00c" bandwidth="1000" width="48" height="32"/>\n</AdaptationSet>'
        b'</Period><Period><AdaptationSet contentType="video"><Representation id="b"><BaseURL>s0.ts</BaseURL>\n'
        b'<SegmentBase presentationTimeOffset="0" timescale="90000"/></Representation></AdaptationSet></Period></MPD>\n'
    )
    for card, effect in ((PACKED, "posterize"), (NCHW, "blur"), (NHWC, "negative")):
        save_style(folder / "style" / f"{card.name}.onnx", card, effect=effect)
    (folder / "style" / "free.onnx").write_bytes(rgb_network())
    (folder / "style" / "packed.onnx").write_bytes(packed_network())
    for path in (folder / "style").iterdir():
        shutil.copy(path, folder / "onnx")
    onnx.save(
        onnx.load_from_string(rgb_network()), str(folder / "onnx" / "two.onnx"), save_as_external_data=True,
        location="two.bin", size_threshold=0,
    )  # fmt: skip
    for card in (PACKED, NCHW):
        (folder / "card" / f"{card.name}.json").write_text(card.to_json())
    for number, request in enumerate(_requests()):
        (folder / "request" / f"{number}.txt").write_bytes(request)
    save_style(folder / "look.onnx", PACKED)


def _write_image(path: Path, frame: Any) -> None:
    import cv2

    assert cv2.imwrite(str(path), frame.to_ndarray(format="bgr24"))


def _requests() -> Iterator[bytes]:
    head = b"Host: 127.0.0.1\r\nConnection: close\r\n"
    for path in ("/", "/api/config", "/api/jobs/x", "/styles/original.jpg", "/stream.mjpg?strength=1", "/?token=abc"):
        yield f"GET {path} HTTP/1.1\r\n".encode() + head + b"Cookie: animevid_token=abc\r\nAccept: text/html\r\n\r\n"
    offer = json.dumps({"sdp": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"})
    for path, kind, body in (
        ("/api/peers", "application/json", offer.encode()),
        ("/api/jobs?name=a.mp4&strength=0.5&hold=1", "video/mp4", b"no video"),
        ("/api/jobs/x/preview", "application/json", b'{"style": "test-packed", "strength": 0.5}'),
        ("/login", "application/x-www-form-urlencoded", b"token=a+b%20c"),
        (
            "/convert",
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="style"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; '
            b'name="file"; filename="a.mp4"\r\nContent-Type: video/mp4\r\n\r\nno video\r\n--b--\r\n',
        ),
    ):
        yield (
            f"POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n".encode()
            + head + b"Origin: http://127.0.0.1\r\n\r\n" + body
        )  # fmt: skip


# --- what is done with one input ------------------------------------------------------------------------------------


class Worker:
    """Runs animevid on inputs one by one and returns what went wrong; ``""`` if nothing did."""

    def __init__(self, seeds: Path) -> None:
        self._seeds = {kind: sorted(path for path in (seeds / kind).iterdir()) for kind in KINDS}
        self._root = seeds
        self._server: Any = None

    def input(self, kind: str, number: int) -> tuple[str, bytes]:
        """Name and content of input ``number``."""
        chance = random.Random(f"{kind} {number}")
        paths = [path for path in self._seeds[kind] if path.suffix != ".bin"]
        path = chance.choice(paths)
        other = chance.choice(paths).read_bytes()
        is_text = path.suffix in (".m3u8", ".mpd", ".json", ".txt", ".srt", ".ass")
        return path.name, (mutated_text if is_text else mutated)(path.read_bytes(), other, chance)

    def run(self, kind: str, name: str, data: bytes) -> str:
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            return str(getattr(self, f"_{kind}")(Path(folder), name, data))

    def _video(self, folder: Path, name: str, data: bytes, *, target: str = "out.mp4") -> str:
        path = folder / name
        path.write_bytes(data)
        return self._command(folder, str(path), target=target)

    def _image(self, folder: Path, name: str, data: bytes) -> str:
        return self._video(folder, name, data, target="out.gif" if name.endswith(("gif", "apng")) else "out.png")

    def _playlist(self, folder: Path, name: str, data: bytes) -> str:
        for path in self._seeds["playlist"]:
            shutil.copy(path, folder)
        return self._video(folder, name, data)

    def _subtitles(self, folder: Path, name: str, data: bytes) -> str:
        if name.endswith((".mkv", ".mp4")):
            return self._video(folder, name, data, target="out.mp4" if name.endswith("mkv") else "out.mkv")
        from animevid.io.cues import subtitle_text, webvtt_text

        for codec in ("subrip", "ass", "mov_text", "webvtt", "text"):
            webvtt_text(subtitle_text(data, codec=codec))
        return ""

    def _style(self, folder: Path, name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        os.environ["ANIMEVID_STYLE_SECONDS"] = "5"
        return self._command(folder, str(self._seeds["video"][0]), style=folder / name)

    def _onnx(self, folder: Path, name: str, data: bytes) -> str:
        from animevid.errors import StyleError
        from animevid.styles import onnx_file
        from animevid.styles.adapt import with_weights_inside

        path = folder / name
        path.write_bytes(data)
        shutil.copy(self._root / "onnx" / "two.bin", folder)
        for read in (
            onnx_file.read_graph,
            onnx_file.read_metadata,
            onnx_file.has_external_data,
            lambda model: with_weights_inside(model, path, is_own=True),
        ):
            try:
                read(data)
            except StyleError as error:
                if "\n" in str(error):
                    return f"more than a line: {error}"
        return ""

    def _card(self, folder: Path, name: str, data: bytes) -> str:
        from animevid.errors import StyleError
        from animevid.styles import StyleCard

        try:
            card = StyleCard.from_json(data.decode("utf-8", "surrogateescape"))
            card.tensor_shape(1, card.padded_multiple_px, card.padded_multiple_px)
            json.loads(card.to_json())
            texts = (card.name, card.title, card.description, card.licence)
            return "" if all(text.isprintable() for text in texts) else "a text that speaks to the terminal"
        except StyleError as error:
            return "" if str(error).isprintable() else f"the error speaks to the terminal: {error!r}"

    def _request(self, folder: Path, name: str, data: bytes) -> str:
        self._server = self._server or Served(self._root)
        return str(self._server.answer(data))

    def _command(self, folder: Path, source: str, *, target: str = "out.mp4", style: Path | None = None) -> str:
        import contextlib
        import io

        from animevid.cli import main

        out = folder / "out"
        out.mkdir()
        look = style or self._root / "look.onnx"
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            code = main([source, str(out / target), "--style", str(look), "--threads", "1", "--end", "1"])
        left = sorted(path.name for path in out.iterdir())
        text = said.getvalue()
        if "Traceback" in text or "report it" in text or (code and code not in _EXIT_CODES):
            return f"exit {code}: {text[-500:]}"
        if left != ([target] if code == 0 else []):
            return f"exit {code}, left {left}: {text[-300:]}"
        if not text.replace("\n", "").isprintable():
            return f"speaks to the terminal: {text[-300:]!r}"
        return ""


class Served:
    """A server in a thread, run as the command does."""

    def __init__(self, root: Path) -> None:
        import asyncio
        import socket
        import threading

        from animevid.server.app import ServerOptions, make_app
        from animevid.server.auth import Guard
        from animevid.server.listen import serve
        from animevid.styles import load_style

        self._log: list[str] = []
        for name in ("animevid", "asyncio", "aiohttp"):
            logging.getLogger(name).addHandler(_Listing(self._log))
        app = make_app(ServerOptions(styles=(load_style(root / "look.onnx"),), guard=Guard("127.0.0.1")))
        listening = socket.create_server(("127.0.0.1", 0))
        self._port = listening.getsockname()[1]
        threading.Thread(target=lambda: asyncio.run(serve(app, listening)), daemon=True).start()
        self._count = 0

    def answer(self, data: bytes) -> str:
        self._count += 1
        line = self._first_line(data, seconds=0.2)
        if line.startswith(b"HTTP/1.1 5") and b" 503 " not in line:
            return f"answered {line!r}"
        logged, self._log[:] = "\n".join(self._log), []
        if "Traceback" in logged:
            return logged[-800:]
        if self._count % 50 == 0:
            ordinary = b"GET /api/config HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            line = self._first_line(ordinary, seconds=MAX_WALL_SECONDS / 2)
            if b" 200 " not in line:
                return f"after that, an ordinary request was answered {line!r}"
        return ""

    def _first_line(self, data: bytes, *, seconds: float) -> bytes:
        import socket

        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=MAX_WALL_SECONDS / 2) as client:
                client.sendall(data)
                client.settimeout(seconds)
                return client.recv(4096).partition(b"\r\n")[0]
        except TimeoutError:
            return b""
        except ConnectionError:
            return b""


class _Listing(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(logging.Formatter().format(record))


def work(seeds: Path) -> None:
    """The loop of a worker: one JSON object per line in and out."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    worker = Worker(seeds)
    for line in sys.stdin:
        task = json.loads(line)
        if "path" in task:
            path = Path(task["path"])
            name, data = path.name, path.read_bytes()
        else:
            name, data = worker.input(task["kind"], task["number"])
        try:
            wrong = worker.run(task["kind"], name, data)
        except MemoryError:
            wrong = "out of memory"
        except Exception as error:
            import traceback

            wrong = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))[-1500:]}"
        answers.write(json.dumps({"wrong": wrong, "bytes": peak_bytes()}) + "\n")
        answers.flush()


def peak_bytes() -> int:
    """The largest resident set of this process. Not ``ru_maxrss``, which includes the parent's."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


# --- all of it ------------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """The results: the number of inputs of each kind, the peak memory of a worker, and the failures."""

    counts: Counter[str] = field(default_factory=Counter)
    max_bytes: int = 0
    wrong: list[tuple[str, str, str]] = field(default_factory=list)  # kind, input, what

    def lines(self) -> list[str]:
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(self.counts.items()))
        first = f"{sum(self.counts.values())} inputs: {counts}; at most {self.max_bytes >> 20} MiB of memory"
        return [first, f"{len(self.wrong)} findings"] + [f"{kind} {name}: {what}" for kind, name, what in self.wrong]


class Process:
    """One worker, and how long its current input has run."""

    def __init__(self, seeds: Path) -> None:
        self._seeds = seeds
        self._start()
        self.task: dict[str, Any] | None = None
        self.max_bytes = 0

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *map(os.path.abspath, sys.path)])}
        environment |= {"XDG_CACHE_HOME": str(self._seeds / "cache"), "OMP_NUM_THREADS": "1"}
        environment["MALLOC_ARENA_MAX"] = "2"  # otherwise address space grows with the number of CPUs
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(self._seeds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def give(self, task: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.task = task
        self._wall, self._cpu = time.monotonic(), self._processor_seconds()
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()

    def take(self) -> str:
        """What went wrong with the task; a worker that ended or took 2 GiB is restarted."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self._start()
            return f"the process ended ({code})"
        answer = json.loads(line)
        self.max_bytes = max(self.max_bytes, answer["bytes"])
        if answer["bytes"] > MAX_BYTES:
            self.end()
            self._start()
            return answer["wrong"] or f"{answer['bytes'] >> 20} MiB of memory"
        return str(answer["wrong"])

    def give_up(self) -> bool:
        """Whether the task has used up its time; if so, the worker is restarted."""
        wall = time.monotonic() - self._wall
        if wall < MAX_SECONDS:
            return False
        if self._processor_seconds() - self._cpu < MAX_SECONDS and wall < MAX_WALL_SECONDS:
            return False
        self.end()
        self._start()
        return True

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def _processor_seconds(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            return time.monotonic()  # without /proc, use wall time


def run(tasks: Iterator[dict[str, Any]], seeds: Path, *, workers: int = 1, seconds: float = 3600.0) -> Findings:
    """Run ``tasks`` (``kind`` with ``number`` or ``path``) for so many seconds."""
    found, ends_at = Findings(), time.monotonic() + seconds
    processes = [Process(seeds) for _ in range(workers)]

    def next_task() -> dict[str, Any] | None:
        return next(tasks, None) if time.monotonic() < ends_at else None

    def note(process: Process, wrong: str) -> None:
        task = process.task or {}
        found.counts[task["kind"]] += 1
        found.max_bytes = max(found.max_bytes, process.max_bytes)
        if wrong:
            found.wrong.append((task["kind"], str(task.get("path", task.get("number"))), wrong))

    try:
        busy = []
        for process in processes:
            if (task := next_task()) is not None:
                process.give(task)
                busy.append(process)
        while busy:
            with selectors.DefaultSelector() as ready:
                for process in busy:
                    ready.register(process.process.stdout, selectors.EVENT_READ, process)  # type: ignore[arg-type]
                done = [key.data for key, _ in ready.select(1.0)]
            for process in tuple(busy):
                if process in done:
                    note(process, process.take())
                elif process.give_up():
                    note(process, f"no end after {MAX_SECONDS:g} s")
                else:
                    continue
                if (task := next_task()) is None:
                    busy.remove(process)
                else:
                    process.give(task)
    finally:
        for process in processes:
            process.end()
    return found


def in_turn(kinds: tuple[str, ...], first: int = 0, count: int = 1 << 40) -> Iterator[dict[str, Any]]:
    """Input ``first`` of each kind, then the next of each, and so on."""
    for number in range(first, first + count):
        for kind in kinds:
            yield {"kind": kind, "number": number}


def corpus() -> Iterator[dict[str, Any]]:
    """All inputs that failed before."""
    for path in sorted(CORPUS.glob("*/*")):
        yield {"kind": path.parent.name, "path": str(path)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--first", type=int, default=0, help="input to begin with")
    parser.add_argument("--count", type=int, default=1 << 40, help="inputs of each kind")
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="where inputs that failed are kept")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        work(args.worker)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder)
        write_seeds(seeds)
        found = run(corpus(), seeds, workers=args.workers)
        more = run(
            in_turn(tuple(args.kinds.split(",")), args.first, args.count),
            seeds, workers=args.workers, seconds=args.seconds,
        )  # fmt: skip
        worker = Worker(seeds)
        for kind, number, _ in more.wrong:
            name, data = worker.input(kind, int(number))
            (args.keep / kind).mkdir(parents=True, exist_ok=True)
            (args.keep / kind / f"{number}-{name}").write_bytes(data)
        found.counts += more.counts
        found.max_bytes = max(found.max_bytes, more.max_bytes)
        found.wrong += more.wrong
    print("\n".join(found.lines()))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
