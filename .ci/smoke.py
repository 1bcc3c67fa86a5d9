"""Runs README's command lines, one by one, with an installed animevid, in a temporary folder.

Run it with the interpreter that animevid is installed for: ``PYTHON .ci/smoke.py``. A line that cannot be run here is
named, with the reason; a line of which nothing is known is an error, so that README says nothing untried.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from fractions import Fraction
from importlib.metadata import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ANIMEVID = [sys.executable, "-m", "animevid"]
#: How a line begins -> why it is not run.
NOT_RUN = {
    "animevid webcam --virtual-camera": "needs a virtual camera in the system",
    "animevid incoming/": "never ends",
    "animevid train": "needs the extra train and hours",
    "animevid export": "needs a trained run",
    "animevid evaluate": "needs the extra train",
    "animevid farm": "needs the extra farm",
    "animevid in.mp4 out.mp4 --style mine.onnx": "needs a trained run",
}
#: What a line of README runs as, where it would wait for a person.
RUN_AS = {
    "animevid webcam": "animevid webcam --device testpattern --size 320x180 --no-window --record --duration 2",
}
#: Beyond README: the kinds of input that a first hour meets.
MORE = ["animevid loop.gif drawn.gif", "animevid in.mp4 f%04d.png --end 2", "animevid doctor"]
MORE += [f"animevid completion {shell}" for shell in ("bash", "zsh", "fish")]


def command_lines(readme: str) -> list[str]:
    """The ``animevid`` lines of all shell blocks, without their remarks."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition(" #")[0].strip() for kind, block in blocks if not kind for line in block.splitlines()]
    return [line for line in lines if line.startswith("animevid ")]


def code_blocks(readme: str, language: str) -> list[str]:
    """The text of all blocks of ``language``."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    return [block for kind, block in blocks if kind == language]


def reason_not_to_run(line: str) -> str | None:
    """Why ``line`` is not run here; ``None`` if it is."""
    return next((reason for start, reason in NOT_RUN.items() if line.startswith(start)), None)


def write_video(path: Path, *, frames: int, rate: int) -> None:
    """A small video or GIF of a bar that moves over a gradient."""
    import av
    import numpy as np

    gif = path.suffix == ".gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif" if gif else "libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "rgb8" if gif else "yuv420p"
        image = np.zeros((96, 160, 3), np.uint8)
        image[..., 0] = np.arange(160)
        for index in range(frames):
            drawn = image.copy()
            drawn[30:50, index * 4 % 140 :][:, :16] = (255, 230, 180)
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def lay_out(folder: Path) -> None:
    """The files that README's lines name."""
    import animevid

    write_video(folder / "in.mp4", frames=100, rate=1)
    write_video(folder / "loop.gif", frames=8, rate=10)
    for name in ("videos/a.mp4", "videos/b.mkv", "a.mkv", "b.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, frames=6, rate=6)
    gallery = CHECKOUT / "docs" / "gallery"
    shutil.copy(gallery / "portrait48-cel.jpg", folder / "photo.jpg")
    (folder / "photos").mkdir()
    for name in ("portrait50-cel.jpg", "portrait50-ehon.jpg"):
        shutil.copy(gallery / name, folder / "photos")
    shutil.copy(Path(animevid.__file__).parent / "styles" / "aozora.onnx", folder / "my.onnx")


def run_line(line: str, folder: Path) -> None:
    """Run one line; output that an earlier line left may be replaced.

    Raises:
        SystemExit: the line failed.
    """
    words = shlex.split(RUN_AS.get(line, line))[1:]
    if words[0].partition(".")[0] in ("in", "photo", "loop", "a") or words[0].endswith("/"):
        words.append("-y")
    started = time.monotonic()
    done = subprocess.run([*ANIMEVID, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(f"FAILED  {line}\n        exit code {done.returncode}: {done.stderr.strip()}")
    print(f"ok      {line}  ({time.monotonic() - started:.1f} s)", flush=True)


def run_server(folder: Path) -> None:
    """``animevid serve``, until it has given its page.

    Raises:
        SystemExit: there was no page within a minute.
    """
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([*ANIMEVID, "serve", "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    page = answer.read()
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit(f"FAILED  animevid serve: exit code {server.returncode}") from None
                time.sleep(0.5)
        else:
            raise SystemExit("FAILED  animevid serve: no page within a minute")
        if b"animevid" not in page:
            raise SystemExit("FAILED  animevid serve: the page is not ours")
    finally:
        server.terminate()
        server.wait(20)
    print("ok      animevid serve: gave its page", flush=True)


def run_python(readme: str, folder: Path) -> None:
    """README's lines of Python, on a video and an array."""
    place = folder / "python"
    place.mkdir()
    shutil.copy(folder / "a.mkv", place / "in.mp4")
    given = "import numpy\nimage = numpy.full((48, 64, 3), 90, numpy.uint8)\nframes = [image, image]\n"
    done = subprocess.run(
        [sys.executable, "-c", given + "\n".join(code_blocks(readme, "python"))],
        cwd=place, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    if done.returncode != 0 or not (place / "small.mp4").exists():
        raise SystemExit(f"FAILED  README's Python: {done.stderr.strip()}")
    print("ok      README's Python", flush=True)


def run_defaults(readme: str, folder: Path) -> None:
    """README's ``animevid.toml`` decides what it says."""
    place = folder / "defaults"
    place.mkdir()
    (place / "animevid.toml").write_text("\n".join(code_blocks(readme, "toml")))
    command = [*ANIMEVID, str(folder / "in.mp4"), "out.mp4", "--dry-run"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode != 0 or "default: animevid.toml: style = ehon, crf = 22" not in done.stdout:
        raise SystemExit(f"FAILED  README's animevid.toml: {done.stdout}{done.stderr}")
    print("ok      README's animevid.toml", flush=True)


def check_description() -> None:
    """What an index and ``pip show`` read: all of it, without links that lead nowhere from there.

    Raises:
        SystemExit: a link of the checkout is left, or the text is not README's.
    """
    text = str(metadata("animevid").get_payload())
    links = re.findall(r"\]\(([^)]*)\)", text)
    relative = [link for link in links if not link.startswith(("https://", "http://"))]
    if relative or "## Install" not in text:
        raise SystemExit(f"FAILED  the wheel's description has links that lead nowhere: {relative}")
    print("ok      the wheel's description stands by itself", flush=True)


def check_kernels() -> None:
    """From Python 3.12 on, one wheel is for all later versions: its kernels are of the stable ABI.

    Raises:
        SystemExit: they are compiled for this version alone.
    """
    import animevid

    names = [path.name for path in Path(animevid.__file__).parent.glob("_native*")]
    if names and sys.version_info >= (3, 12) and sys.platform != "win32" and ".abi3." not in names[0]:
        raise SystemExit(f"FAILED  the kernels of the wheel are not of the stable ABI: {names}")
    print(f"ok      compiled kernels: {', '.join(names) or 'none'}", flush=True)


def main() -> None:
    import animevid

    if CHECKOUT in Path(animevid.__file__).parents:
        raise SystemExit(
            f"animevid comes from {animevid.__file__}: install the wheel, and run this outside the sources"
        )
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    lines = command_lines(readme)
    missing = {"animevid in.mp4 out.mp4", "animevid webcam", "animevid serve"} - set(lines)
    if missing:
        raise SystemExit(f"README no longer has {sorted(missing)}: were its blocks changed?")
    check_description()
    check_kernels()
    with tempfile.TemporaryDirectory(prefix="animevid-smoke-") as name:
        folder = Path(name)
        lay_out(folder)
        for line in [*lines, *MORE]:
            if reason := reason_not_to_run(line):
                print(f"skipped {line}: {reason}")
            elif line == "animevid serve":
                run_server(folder)
            else:
                run_line(line, folder)
        run_python(readme, folder)
        run_defaults(readme, folder)


if __name__ == "__main__":
    main()
