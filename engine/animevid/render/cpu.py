"""The steps of a style on the CPU: planes to tensor, network, tensor to planes, guided upsample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animevid.backends.base import Backend, Tensor
from animevid.errors import BackendError
from animevid.pixels import (
    PlanesYUV420,
    guided_upsample,
    pack_yuv420,
    planes_to_tensor,
    resize_planes,
    tensor_to_planes,
    unpack_yuv420,
)
from animevid.pixels.device import DevicePlanes, on_host
from animevid.render.concurrent_runs import ConcurrentRuns
from animevid.render.geometry import Size
from animevid.render.renderer import NetworkInput, NetworkOutput
from animevid.render.tiles import run_tiled
from animevid.styles.card import Layout, StyleCard

#: Tileable networks see at most about this square of pixels at once, which bounds the memory of their activations.
_TILE_PX = 1280


class CpuSteps:
    """A style's steps around ``Backend.run``, with the pixel kernels of the CPU.

    Args:
        card (StyleCard): of the style.
        backend (Backend): runs the network; the caller closes it after this.
        concurrency (int): frames in the network at once, where that is faster. Default: 1.
    """

    def __init__(self, card: StyleCard, backend: Backend, *, concurrency: int = 1) -> None:
        self._card, self._backend = card, backend
        self._packed = card.layout is Layout.PACKED_YUV420
        self._multiple = card.padded_multiple_px
        self._pool: ConcurrentRuns | None = None
        if concurrency > 1 and backend.faster_concurrently and backend.device_name == "CPU":
            self._pool = ConcurrentRuns(concurrency)

    def preprocess(self, planes: PlanesYUV420, size: Size) -> NetworkInput:
        """``planes`` at ``size``, in the network's layout and range, padded by reflection to its multiple."""
        if isinstance(planes, DevicePlanes):
            planes = on_host(planes)
        if self._packed:
            tensor = pack_yuv420(planes, size=size, multiple=self._multiple)
        else:
            card = self._card
            tensor = planes_to_tensor(
                planes,
                layout=card.layout.value,
                order=card.colour_order.value,
                value_range=card.input_range,
                size=size,
                multiple=self._multiple,
            )
        return NetworkInput(tensor, size)

    def infer(self, inputs: Sequence[NetworkInput]) -> list[NetworkOutput]:
        """The network's outputs for inputs of one shape: each in a thread of its own, or one batch.

        Raises:
            BackendError, DeviceError: the runtime failed, or was closed.
        """
        if self._pool is not None:
            try:
                return [NetworkOutput(self._pool.submit(self._run_one, item.tensor), item) for item in inputs]
            except RuntimeError as error:
                raise BackendError(f"the stylizer of {self._card.name!r} is closed; open another") from error
        tensors = [item.tensor for item in inputs]
        results = self._run(tensors[0][np.newaxis] if len(tensors) == 1 else np.stack(tensors))
        return [NetworkOutput(result, item) for result, item in zip(results, inputs, strict=True)]

    def postprocess(self, planes: PlanesYUV420, output: NetworkOutput) -> PlanesYUV420:
        """``output`` at the size, depth and tags of ``planes``, which are in the host's memory."""
        size, full_size = output.source.size, planes.y.shape
        if size == full_size:
            return self._to_planes(output.tensor, like=planes, size=size)
        if size[0] > full_size[0] or size[1] > full_size[1]:
            # A network of one fixed size, larger than the frame: there is nothing to upsample.
            fitted = resize_planes(self._to_planes(output.tensor, like=planes, size=size), full_size)
            return planes.with_planes(fitted.y, fitted.u, fitted.v)
        if self._packed:
            low_in: PlanesYUV420 | Tensor = output.source.tensor
            low_out: PlanesYUV420 | Tensor = output.tensor
        else:
            low_in = resize_planes(planes, size)
            low_out = self._to_planes(output.tensor, like=planes, size=size)
        return guided_upsample(planes, low_in, low_out, size=size, epsilon=self._card.upsample_epsilon)

    def cancel_waiting(self) -> None:
        """Cancel frames that wait for the network; their output raises ``BackendError``."""
        if self._pool is not None:
            self._pool.cancel_waiting()

    def close(self) -> None:
        """Return when no thread uses the backend any more. Safe to call twice."""
        if self._pool is not None:
            self._pool.close(self._backend.interrupt)

    def _run_one(self, tensor: Tensor) -> Tensor:
        result: Tensor = self._run(tensor[np.newaxis])[0]
        return result

    def _run(self, batch: Tensor) -> Tensor:
        layout = self._card.layout
        axis_y, axis_x = layout.spatial_axes
        tile = _TILE_PX // layout.cell_px
        if (
            max(batch.shape[axis_y], batch.shape[axis_x]) <= tile
            or not self._card.tileable
            or self._card.fixed_size_px is not None
        ):
            return self._backend.run(batch)
        return run_tiled(
            self._backend.run,
            batch,
            spatial_axes=layout.spatial_axes,
            tile=tile,
            margin=-(-self._card.receptive_field_px // layout.cell_px),
            step=self._multiple // layout.cell_px,
        )

    def _to_planes(self, tensor: Tensor, *, like: PlanesYUV420, size: Size) -> PlanesYUV420:
        if self._packed:
            return unpack_yuv420(tensor, like=like, size=size)
        card = self._card
        return tensor_to_planes(
            tensor,
            like=like,
            layout=card.layout.value,
            order=card.colour_order.value,
            value_range=card.output_range,
            size=size,
        )
