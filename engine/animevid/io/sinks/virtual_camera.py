"""A virtual camera: other programs (meetings, streaming) see the stylized video."""

from __future__ import annotations

import sys
from fractions import Fraction
from types import TracebackType
from typing import Self

from animevid.errors import LiveError
from animevid.pixels import PlanesYUV420, planes_to_rgb, resize_planes

#: How to install the driver for pyvirtualcam, by platform.
_WAYS_OUT = {
    "linux": "sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback exclusive_caps=1 card_label=animevid",
    "darwin": "brew install --cask obs, open OBS once and press Start Virtual Camera",
    "win32": "winget install OBSProject.OBSStudio",
}


class VirtualCamera:
    """A virtual camera of one size. A context manager.

    ``size``: (height, width) in pixels. ``device``: the driver's device; ``None``: the first free one.

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

    @property
    def device(self) -> str:
        """The name that other programs show."""
        return str(self._camera.device)

    def send(self, planes: PlanesYUV420) -> None:
        """Show ``planes``, at the camera's size."""
        self._camera.send(planes_to_rgb(resize_planes(planes, self._size)))

    def close(self) -> None:
        """Close the camera. Safe to call twice."""
        self._camera.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
