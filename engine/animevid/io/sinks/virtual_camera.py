"""A virtual camera: other programs (meetings, streaming) see the stylized video."""

from __future__ import annotations

import sys
from fractions import Fraction

from animevid.errors import LiveError
from animevid.frame import Frame
from animevid.io.sink import Sink, SinkReport
from animevid.pixels import planes_to_rgb, resize_planes

#: How to install the driver for pyvirtualcam, by platform.
_WAYS_OUT = {
    "linux": "sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback exclusive_caps=1 card_label=animevid",
    "darwin": "brew install --cask obs, open OBS once and press Start Virtual Camera",
    "win32": "winget install OBSProject.OBSStudio",
}


class VirtualCamera(Sink):
    """A virtual camera of one size, to which frames are scaled.

    Args:
        size (tuple[int, int]): (height, width) in pixels.
        fps (Fraction): frames per second that it announces.
        device (str | None): the driver's device. Default: ``None``, the first free one.

    Raises:
        LiveError: the module or the driver is missing; the message has the command that installs it.
    """

    def __init__(self, *, size: tuple[int, int], fps: Fraction, device: str | None = None) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise LiveError('pyvirtualcam is not installed: pip install "animevid[live]"') from error
        height, width = size
        self._size = (height // 2 * 2, width // 2 * 2)
        try:
            self._camera = pyvirtualcam.Camera(width=self._size[1], height=self._size[0], fps=float(fps), device=device)
        except (RuntimeError, OSError) as error:
            platform = "linux" if sys.platform.startswith("linux") else sys.platform
            way_out = _WAYS_OUT.get(platform, "see pyvirtualcam's documentation")
            reason = str(error).strip().splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise LiveError(f"no virtual camera can be opened ({reason}): {way_out}") from error
        self.path = self.device

    @property
    def device(self) -> str:
        """The name that other programs show."""
        return str(self._camera.device)

    @property
    def description(self) -> str:
        return f"virtual camera {self.device}"

    def _write(self, frame: Frame) -> None:
        self._camera.send(planes_to_rgb(resize_planes(frame.planes, self._size)))
        self._count(frame.pts_seconds)

    def _finish(self) -> SinkReport:
        self._camera.close()
        return self._report()

    def abort(self) -> None:
        self._done = True
        self._camera.close()
