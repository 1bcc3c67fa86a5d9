"""Stylize a camera for some frames; the newest frame wins.  python examples/camera.py DEVICE FRAMES

DEVICE is /dev/video0, a file, a URL or testpattern.
"""

import sys

from animevid.io.sources.camera import Camera
from animevid.options import CameraOptions, LiveOptions
from animevid.run.live import LiveEngine

with (
    LiveEngine() as engine,
    engine.open_session(LiveOptions()) as session,  # the default style
    Camera(CameraOptions(sys.argv[1]), session.offer),
):
    for _ in range(int(sys.argv[2])):
        result = session.take(timeout_seconds=30)
        if result is None:
            raise SystemExit(session.trouble or "no frame came within 30 s")
        latency_ms = 1000 * (result.finished_at_seconds - result.frame.captured_at_seconds)
        print(f"frame {result.frame.index}: {latency_ms:.0f} ms after capture")
