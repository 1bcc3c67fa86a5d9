"""What a backend promises that takes whole pictures: conversion, network, lift and blend all on its device.

``Backend.run`` takes tensors that the host made. A ``PictureRunner`` takes the decoder's planes and gives the
encoder's, so that only 1.5 bytes a pixel travel each way, and returns before the work is done: its callers overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from animevid.pixels.change import NoiseFloor
from animevid.pixels.planes import PlanesYUV420
from animevid.pixels.resize import Size


class PendingPicture(Protocol):
    """A picture that is being drawn."""

    def result(self) -> PlanesYUV420:
        """Wait for it. May be called again, from any thread; the picture has the tags and the alpha of its source.

        Raises:
            DeviceError: the device failed.
        """
        ...


class PictureRunner(Protocol):
    def takes(self, planes: PlanesYUV420, net_size: Size) -> bool:
        """Whether it can draw such a picture with the network at ``net_size`` (height, width); else use ``run``."""
        ...

    def is_ready(self, planes: PlanesYUV420, net_size: Size) -> bool:
        """Whether such a picture is drawn without anything being built or opened first."""
        ...

    def prepare(self, planes: PlanesYUV420, net_sizes: Sequence[Size]) -> None:
        """Get ready for such pictures with the network at ``net_sizes``, in the background, one after another.

        Returns at once, also when asked again. What cannot be made ready now is opened when it is used.
        """
        ...

    def new_deflicker(self) -> object:
        """For ``submit`` with each picture of one stream: what only noise changed settles (``pixels.deflicker``)."""
        ...

    def has_changed(self, before: PlanesYUV420, now: PlanesYUV420, *, floor: NoiseFloor) -> bool:
        """``pixels.change.has_changed`` of two pictures in the device's memory, of one size, depth and colour.

        Raises:
            DeviceError: the device failed.
        """
        ...

    def submit(
        self,
        pictures: Sequence[PlanesYUV420],
        *,
        net_size: Size,
        strength: float,
        deflicker: object | None = None,
    ) -> Sequence[PendingPicture]:
        """Start ``pictures``, which wait for nobody: neighbours of one form run as one batch.

        ``deflicker``: of ``new_deflicker``, where the pictures are the next ones of its stream.

        Waits itself while the device has all the work that it can hold.

        Raises:
            DeviceError: the device failed, or has no room.
        """
        ...
