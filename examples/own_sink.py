"""Send stylized frames wherever you like.  python examples/own_sink.py IN.mp4 OUT.rgb

This sink writes raw RGB, which `ffplay -f rawvideo -pixel_format rgb24 -video_size WxH OUT.rgb` shows. Its base class
refuses frames that come too late, turns the system's errors into one line and sums up what was written.
"""

import sys
from pathlib import Path

import animevid
from animevid.frame import Frame
from animevid.io import Sink, SinkReport
from animevid.pixels import planes_to_rgb


class RawSink(Sink):
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")

    @property
    def description(self) -> str:
        return "raw RGB"

    def _write(self, frame: Frame) -> None:
        self._file.write(planes_to_rgb(frame.planes).tobytes())  # uint8, H x W x 3
        self._count(frame.pts_seconds, frame.duration_seconds)

    def _finish(self) -> SinkReport:
        self._file.close()
        return self._report(bytes_written=self.path.stat().st_size)

    def abort(self) -> None:
        self._file.close()
        if not self._done:
            self.path.unlink(missing_ok=True)


with RawSink(Path(sys.argv[2])) as sink:
    for frame in animevid.stylized_frames(sys.argv[1]):
        sink.write(frame)
    print(f"{sink.finish().frames_written} frames")
