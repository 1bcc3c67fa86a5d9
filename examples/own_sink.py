"""Send stylized frames wherever you like.  python examples/own_sink.py IN.mp4 OUT.rgb

This one writes raw RGB, which `ffplay -f rawvideo -pixel_format rgb24 -video_size WxH OUT.rgb` shows.
"""

import sys
from pathlib import Path
from types import TracebackType

import animevid
from animevid.frame import Frame
from animevid.pixels import planes_to_rgb


class RawSink:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.frames_written = 0

    def write(self, frame: Frame) -> None:
        self._file.write(planes_to_rgb(frame.planes).tobytes())  # uint8, H x W x 3
        self.frames_written += 1

    def __enter__(self) -> "RawSink":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


with RawSink(Path(sys.argv[2])) as sink:
    for frame in animevid.stylized_frames(sys.argv[1]):
        sink.write(frame)
print(f"{sink.frames_written} frames")
