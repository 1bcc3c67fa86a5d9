"""Batches: finds video files, names their outputs and converts them one after the other."""

from __future__ import annotations

import glob
import os
import string
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from animevid.errors import AnimevidError, Cancelled, InputError, OutputError, UsageError
from animevid.io.containers import MUXERS
from animevid.io.network.protocols import is_local_file, local_path
from animevid.io.sources.image_files import is_image_name

#: Suffixes of video files in a folder; on opening, the content decides.
VIDEO_SUFFIXES = frozenset(
    {*MUXERS, ".mpg", ".mpeg", ".m2ts", ".mts", ".vob", ".wmv", ".asf", ".3gp", ".ogv", ".mxf"} - {".m3u8"}
)
DEFAULT_NAME = "{stem}-{style}{suffix}"
_FIELDS = frozenset({"stem", "style", "suffix"})
_KEPT_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts"})


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video file and its folder, relative to the searched one."""

    path: Path
    folder: Path = Path()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one file. ``reason`` says why it was skipped or failed."""

    input: str
    output: str
    state: Literal["done", "skipped", "failed"]
    reason: str = ""
    frames: int = 0
    seconds: float = 0.0

    def fields(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


def is_video_file(path: Path) -> bool:
    """Whether ``path`` is a visible file with a video suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def holds_videos(spec: str, *, recursive: bool = False) -> bool:
    """Whether ``spec`` is a folder or a pattern with a video file in it."""
    if not is_local_file(spec):
        return False
    path = local_path(spec)
    return (path.is_dir() or glob.has_magic(spec)) and next(_videos_in(spec, recursive=recursive), None) is not None


def find_videos(specs: Sequence[str], *, recursive: bool = False) -> list[VideoFile]:
    """The video files of files, folders and patterns, each once, in the order of the arguments and of their names.

    A file given by name is taken whatever its suffix.

    Raises:
        InputError: a name without a video file.
    """
    found: dict[Path, VideoFile] = {}
    for spec in specs:
        videos = list(_videos_in(spec, recursive=recursive))
        if not videos:
            path = local_path(spec)
            if path.is_dir():
                way_out = "check the name" if recursive else "look into its folders with --recursive, or check the name"
                raise InputError(f"path = {spec!r} contains no video: {way_out}")
            videos = [VideoFile(path)]  # errors are reported when it is converted
        for video in videos:
            found.setdefault(video.path.absolute(), video)
    return list(found.values())


def left_out(spec: str, *, recursive: bool) -> list[str]:
    """One line for each subfolder that is not searched, and one for images beside the video files."""
    path = local_path(spec)
    if not is_local_file(spec) or not path.is_dir():
        return []
    lines: list[str] = []
    images = 0

    def note(error: OSError) -> None:
        lines.append(f"skipped: folder = {error.filename!r} may not be read: check its permissions")

    for folder, folders, names in os.walk(path, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images += sum(is_image_name(name) for name in names)
        if not recursive:
            told = "is a subfolder and not searched: --recursive searches it"
            lines += [f"folder = {str(Path(folder, name))!r} {told}" for name in folders]
            break
    if images:
        lines.append(f"folder = {spec!r} also has {images} image(s), which are skipped: give a glob to convert them")
    return lines


def _videos_in(spec: str, *, recursive: bool) -> Iterator[VideoFile]:
    path = local_path(spec)
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
            for name in sorted(names):
                if is_video_file(Path(folder, name)):
                    yield VideoFile(Path(folder, name), Path(folder).relative_to(path))
    elif not path.exists() and glob.has_magic(spec):
        for name in sorted(glob.glob(spec, recursive=recursive)):
            if is_video_file(Path(name)):
                yield VideoFile(Path(name))


def output_name(video: VideoFile, folder: Path, *, template: str = DEFAULT_NAME, style: str) -> Path:
    """The output path of ``video`` in ``folder``, below its own relative folder.

    Args:
        template: a file name with ``{stem}``, ``{style}`` and ``{suffix}``.
        style: the value of ``{style}``.

    Raises:
        UsageError: a template with other fields, or with a folder in it.
    """
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        suffix = video.path.suffix.lower()
        values = {"stem": video.path.stem, "style": style, "suffix": suffix if suffix in _KEPT_SUFFIXES else ".mp4"}
        name = template.format(**values) if fields <= _FIELDS else ""
    except (ValueError, IndexError, KeyError):
        name = ""
    if not name or Path(name).name != name:
        raise UsageError(f"--name {template!r}: give a file name of {{stem}}, {{style}} and {{suffix}}: {DEFAULT_NAME}")
    return folder / video.folder / name


def check_names(pairs: Iterable[tuple[VideoFile, Path]]) -> None:
    """Raises:
    UsageError: two outputs would have the same name.
    """
    taken: dict[Path, Path] = {}
    for video, path in pairs:
        if path in taken:
            raise UsageError(
                f"{str(taken[path])!r} and {str(video.path)!r} would both be written to {str(path)!r}: give --name "
                "with {stem} and {suffix}, or convert them apart"
            )
        taken[path] = video.path


def convert_videos(
    pairs: Iterable[tuple[VideoFile, Path]],
    convert: Callable[[VideoFile, Path], int],
    *,
    keep_going: bool = False,
    skip_existing: bool = False,
) -> Iterator[Outcome]:
    """Convert one file after the other; yields each outcome.

    Args:
        pairs: each file and its output.
        convert: converts one and returns its number of frames.
        keep_going: go on after a file that failed.
        skip_existing: skip files whose output exists.

    Raises:
        Cancelled: Ctrl-C.
    """
    for video, dst in pairs:
        src, started_at = str(video.path), time.monotonic()
        if skip_existing and dst.exists():
            yield Outcome(src, str(dst), "skipped", "its output exists already")
            continue
        try:
            _make_folder(dst.parent)
            frames = convert(video, dst)
        except (Cancelled, MemoryError):
            raise
        except Exception as error:
            known = isinstance(error, AnimevidError)
            if not known and not keep_going:
                raise
            text = str(error) if known else f"unexpected {type(error).__name__}: {error}"
            reason = " ".join(text.split())
            yield Outcome(src, str(dst), "failed", reason, seconds=time.monotonic() - started_at)
            if not keep_going:
                return
        else:
            yield Outcome(src, str(dst), "done", frames=frames, seconds=time.monotonic() - started_at)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder = {str(folder)!r} cannot be made: {error.strerror}; choose another") from error


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """The report as text: a line per file and a summary."""
    lines = []
    width = max((len(Path(outcome.input).name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        told = f"{outcome.frames} frames, {outcome.seconds:.1f} s" if outcome.state == "done" else outcome.reason
        lines.append(f"{outcome.state:<8}{Path(outcome.input).name:<{width}}  {told}")
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in ("done", "skipped", "failed")}
    return [*lines, ", ".join(f"{number} {state}" for state, number in counts.items())]
