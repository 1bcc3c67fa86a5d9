"""The interface of a backend that takes whole frames: it converts, runs, upsamples and blends on its device.

``Backend.run`` takes tensors from the host. A ``FrameRunner`` takes the decoder's planes and returns planes for the
encoder, so that only 1.5 bytes per pixel are copied each way. It returns before the work is done, so calls overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from animevid.pixels.change import NoiseFloor
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size

if TYPE_CHECKING:
    from animevid.gpu.interop import DeviceFrame
    from animevid.gpu.slots import Submission


class PendingFrame(Protocol):
    """A frame that is being stylized."""

    def result(self) -> PlanesYUV420:
        """Wait for it. May be called again, from any thread; the frame has the tags and the alpha of its source.

        Raises:
            DeviceError: the device failed.
        """
        ...


class FrameRunner(Protocol):
    """Stylizes whole frames on a device."""

    #: Whether results stay in device memory (``pixels.device.DevicePlanes``), for an encoder that reads them there.
    results_on_device: bool

    @property
    def device_index(self) -> int | None:
        """The CUDA device whose memory frames may be in; ``None``: they come from the host and return there."""
        ...

    def takes(self, planes: PlanesYUV420, net_size: Size) -> bool:
        """Whether it can stylize such a frame with the network at ``net_size`` (height, width); else use ``run``."""
        ...

    def is_ready(self, planes: PlanesYUV420, net_size: Size) -> bool:
        """Whether such a frame can start immediately, with nothing to build or open first."""
        ...

    def prepare(self, planes: PlanesYUV420, net_sizes: Sequence[Size]) -> None:
        """Prepare for such frames with the network at ``net_sizes``, in the background, one size after another.

        Returns at once, also when called again. A size that cannot be prepared now is opened at first use.
        """
        ...

    def new_deflicker(self) -> object:
        """The temporal filter of one stream, for ``submit`` with each of its frames (``pixels.deflicker``)."""
        ...

    def has_changed(self, before: PlanesYUV420, now: PlanesYUV420, *, floor: NoiseFloor) -> bool:
        """``pixels.change.has_changed`` for two frames in device memory, of one size, depth and colour.

        Raises:
            DeviceError: the device failed.
        """
        ...

    def submit(
        self,
        frames: Sequence[PlanesYUV420],
        *,
        net_size: Size,
        strength: float,
        deflicker: object | None = None,
    ) -> Sequence[PendingFrame]:
        """Start ``frames`` at once: neighbours of one size and depth run as one batch.

        ``deflicker``: from ``new_deflicker``; the frames must be the next ones of its stream.

        Blocks while the queue of the device is full.

        Raises:
            DeviceError: the device failed, or has no room.
        """
        ...

    def draw(
        self, source: DeviceFrame, target: DeviceFrame, *, net_size: Size, strength: float, stream: int = 0
    ) -> Submission:
        """Stylize a frame in device memory into another, without touching the host.

        ``stream``: the handle of the CUDA stream between whose works it is ordered; 0: the default stream.

        Raises:
            UsageError: it takes no frames in device memory, or these do not fit.
            DeviceError: the device failed, or has no room.
        """
        ...
