"""The renderer interface and the values passed between its steps."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from animevid.backends.base import Tensor
from animevid.backends.frames import PendingFrame
from animevid.errors import BackendError
from animevid.pixels import PlanesYUV420
from animevid.render.geometry import Size

RGBFrames: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """One frame as network input.

    ``tensor``: float32, in the card's layout without N (``(C, H, W)`` or ``(H, W, C)``), padded to the size multiple.
    ``size``: (height, width) of the frame in it, in pixels.
    """

    tensor: Tensor
    size: Size


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """One frame as network output, with its input (the guided upsample compares the two)."""

    result: Tensor | Future[Tensor]
    source: NetworkInput

    @property
    def tensor(self) -> Tensor:
        """In the style's layout, without N. Waits for a network that is still running.

        Raises:
            BackendError, DeviceError: the runtime failed, or was closed meanwhile.
        """
        if not isinstance(self.result, Future):
            return self.result
        try:
            return self.result.result()
        except CancelledError:
            raise BackendError("the stylizer was closed before this frame was stylized; open another") from None


@dataclass(frozen=True, slots=True)
class DeviceInput:
    """A frame for a backend that takes it whole.

    ``size``: the network's, (height, width). ``deflicker``: from ``FrameRunner.new_deflicker``; ``None``: without
    temporal filter.
    """

    planes: PlanesYUV420
    size: Size
    deflicker: object | None = None


@dataclass(frozen=True, slots=True)
class DeviceOutput:
    """A frame that such a backend is processing."""

    source: DeviceInput
    pending: PendingFrame


StepInput: TypeAlias = NetworkInput | DeviceInput
StepOutput: TypeAlias = NetworkOutput | DeviceOutput


def form_of(item: StepInput) -> tuple[type, tuple[int, ...], object]:
    """The properties that all frames of a batch share."""
    if isinstance(item, DeviceInput):
        return type(item), item.size, item.deflicker
    return type(item), item.tensor.shape, None


In = TypeVar("In")
Out = TypeVar("Out")


class Renderer(Protocol[In, Out]):
    """The steps that the pipeline runs. Each is called by one thread, with frames in order."""

    @property
    def batch_limit(self) -> int:
        """The preferred number of inputs of ``infer``."""
        ...

    def preprocess(self, planes: PlanesYUV420) -> In: ...

    def infer(self, inputs: Sequence[In]) -> list[Out]: ...

    def wait(self, output: Out) -> None:
        """Return when the network has finished ``output``."""
        ...

    def interrupt(self) -> None:
        """Abort the running network with an error, from any thread, where the backend can."""
        ...

    def postprocess(self, planes: PlanesYUV420, output: Out) -> PlanesYUV420: ...


#: A renderer that only gets back the inputs and outputs that it made.
AnyRenderer: TypeAlias = Renderer[Any, Any]
