"""Makes preview images for the page and a time estimate for a video. Runs in the sandbox."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from animevid.options import SourceOptions
from animevid.pixels import PlanesYUV420, resize_planes

if TYPE_CHECKING:
    from animevid.options import ConversionOptions

#: The longest side of an image on the page.
_SHOWN_SIDE_PX = 1280
_SAMPLE_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Preview:
    """The size of a video and an estimate. ``seconds``: for all of it; ``None`` if its length is unknown."""

    width: int
    height: int
    duration_seconds: float | None
    seconds: float | None

    def as_json(self) -> dict[str, object]:
        # ``film_seconds`` is the earlier name of ``duration_seconds``.
        return {**asdict(self), "film_seconds": self.duration_seconds}


def preview_video(source: str, folder: Path, options: ConversionOptions) -> Preview:
    """Convert some frames at a third of the video; keep the first and its original as JPEG in ``folder``.

    Raises:
        AnimevidError: it cannot be read or stylized.
    """
    from animevid.io import open_source
    from animevid.run.conversion import Conversion

    begun = time.perf_counter()
    with open_source(source, SourceOptions(input_options=options.input_options)) as original:
        info = original.info
    rate = float(info.average_rate or 30)
    start = (info.duration_seconds or Fraction(0)) / 3
    end = start + Fraction(_SAMPLE_FRAMES / rate).limit_denominator(1000)
    options = replace(options, start_seconds=start, end_seconds=end, copy_streams=False, overwrite=True)
    sample = folder / "sample.mp4"
    try:
        with Conversion(source, sample, options) as conversion:
            opened = time.perf_counter()
            report = conversion.run()
            with open_source(
                source, SourceOptions(input_options=options.input_options, start_seconds=start)
            ) as original:
                frame = next(iter(original))
            stylizer = conversion.stylizer
            write_pair(folder, frame.planes, stylizer.stylize_planes(frame.planes))
    finally:
        sample.unlink(missing_ok=True)
    frames = info.frame_count or (info.duration_seconds and float(info.duration_seconds) * rate)
    each = (report.elapsed_seconds - report.first_frame_seconds) / max(1, report.frames_out - 1)
    return Preview(
        width=info.display_width,
        height=info.display_height,
        duration_seconds=None if info.duration_seconds is None else round(float(info.duration_seconds), 2),
        seconds=round(opened - begun + report.first_frame_seconds + each * frames, 1) if frames else None,
    )


def show_photo(source: str, target: str) -> None:
    """Write page-size versions of a photo and its result beside ``target``."""
    from animevid.io import open_source

    planes = []
    for path in (source, target):
        with open_source(path) as opened:
            planes.append(next(iter(opened)).planes)
    write_pair(Path(target).parent, *planes)


def write_pair(folder: Path, before: PlanesYUV420, after: PlanesYUV420) -> None:
    """Write ``before.jpg`` and ``after.jpg`` into ``folder``, each atomically."""
    from animevid.io.sinks.images import encode_image

    for name, planes in (("before", before), ("after", after)):
        scale = min(1.0, _SHOWN_SIDE_PX / max(planes.height, planes.width))
        size = (max(2, round(planes.height * scale)), max(2, round(planes.width * scale)))
        part = folder / f"{name}.part"
        part.write_bytes(encode_image(resize_planes(planes, size), ".jpg", quality=88))
        part.replace(folder / f"{name}.jpg")
