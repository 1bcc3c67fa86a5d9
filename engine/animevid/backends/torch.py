"""PyTorch, if installed (for example for training): CPU, or CUDA in half precision with CUDA graphs.

The network is built from the style's ONNX graph, operator by operator, so any style runs whose operators are in
``OPERATORS``; no second copy of the weights and no Python class is needed. On CUDA the graph is converted to half
precision
(``animevid.gpu.precision``: norm statistics stay float32), runs in channels-last memory, and is captured once for
each shape. Nothing else in the engine imports torch.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from animevid.backends.base import Backend, Tensor, check_batch, check_output, one_line, run_in_pieces
from animevid.backends.threads import default_threads
from animevid.backends.torch_graphs import MAX_GRAPHS, HostFed, SlotNetwork, device_error, is_out_of_memory
from animevid.backends.torch_network import TorchNetwork, device_named
from animevid.errors import AnimevidError, BackendError, DeviceError
from animevid.options import RuntimeOptions
from animevid.styles.card import StyleCard

if TYPE_CHECKING:
    import torch

    from animevid.backends.frames import FrameRunner
    from animevid.gpu.slots import SlotPlan

_LOG = logging.getLogger(__name__)


class TorchBackend(Backend):
    name: ClassVar[str] = "torch"

    def __init__(self, network: TorchNetwork, card: StyleCard, *, device: torch.device, description: str) -> None:
        self._network: TorchNetwork | None = network
        self._card = card
        self._device = device
        self._description = description
        self._captured: dict[tuple[int, ...], HostFed] = {}
        self._frame_runner: FrameRunner | None = None
        self._resources = ExitStack()
        if device.type == "cuda" and network.fixed_batch in (None, 1):
            try:
                self._frame_runner = self._open_slots()
            except BackendError as error:
                _LOG.info("frames are converted on the CPU: %s", error)
        # A captured graph has one set of buffers: callers take turns on CUDA.
        self._turn = threading.Lock()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        for module, package in (("torch", "torch"), ("onnx", "onnx")):
            if importlib.util.find_spec(module) is None:
                return f"{package} is not installed; pip install torch onnx"
        return None

    @classmethod
    def open(cls, model: bytes, card: StyleCard, options: RuntimeOptions | None = None) -> Self:
        options = options or RuntimeOptions()
        try:
            import torch
        except (ImportError, OSError) as error:  # for example a missing CUDA library
            raise BackendError(f"torch cannot be loaded ({one_line(error)}); install it again") from error
        where, count = device_named(options.device), options.threads or default_threads()
        try:
            if where.type == "cuda":
                from animevid.gpu.precision import to_half

                model = to_half(model)
            else:
                torch.set_num_threads(count)  # for the whole process: PyTorch has no other setting
            network = TorchNetwork(model, where)
        except AnimevidError as error:
            raise BackendError(f"torch refuses the style {card.name!r} ({error})") from error
        except Exception as error:
            raise BackendError(f"torch refuses the style {card.name!r} ({one_line(error)})") from error
        place = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {count} threads"
        return cls(network, card, device=where, description=f"torch {torch.__version__} {place}")

    @property
    def preferred_batch(self) -> int:
        fixed = self._network is not None and self._network.fixed_batch == 1
        return 4 if self._device.type == "cuda" and not fixed else 1

    @property
    def description(self) -> str:
        return self._description

    @property
    def device_name(self) -> str:
        import torch

        return "CPU" if self._device.type == "cpu" else torch.cuda.get_device_name(self._device)

    @property
    def frame_runner(self) -> FrameRunner | None:
        return self._frame_runner

    def run(self, batch: Tensor) -> Tensor:
        network = self._network
        if network is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        check_batch(batch, self._card)
        return run_in_pieces(batch, network.fixed_batch or len(batch), partial(self._run_once, network))

    def close(self) -> None:
        self._frame_runner = None
        self._resources.close()
        self._network = None
        self._captured.clear()

    def _open_slots(self) -> FrameRunner:
        from animevid.gpu.driver import open_device
        from animevid.gpu.fatbin import load_fatbin
        from animevid.gpu.renderer import SlotRunner

        # The same context as torch: both retain the device's primary one.
        device = self._resources.enter_context(open_device(self._device.index or 0))
        fatbin = load_fatbin(driver_version=device.driver_version)
        runner = SlotRunner(device, self._card, self._open_network, kernels=fatbin, batch=self.preferred_batch)
        self._resources.callback(runner.close)
        return runner

    def _open_network(self, plan: SlotPlan) -> SlotNetwork:
        if self._network is None:
            raise BackendError(f"the backend of {self._card.name!r} is closed; open another")
        return SlotNetwork(self._network, self._device)

    def _run_once(self, network: TorchNetwork, batch: Tensor) -> Tensor:
        import torch

        try:
            with torch.inference_mode():
                if self._device.type == "cuda":
                    output = self._run_captured(network, batch)
                else:
                    output = network(torch.from_numpy(batch.copy()))
        except RuntimeError as error:
            if self._device.type != "cuda":
                raise BackendError(f"torch failed on {batch.shape} ({one_line(error)}); use onnxruntime") from error
            if is_out_of_memory(error):
                raise DeviceError(f"the GPU is out of memory for {batch.shape}; give a smaller --net-size") from error
            raise device_error(error, batch.shape) from error
        result: Tensor = np.ascontiguousarray(output.float().cpu().numpy())
        check_output(result, batch, self._card)
        return result

    def _run_captured(self, network: TorchNetwork, batch: Tensor) -> torch.Tensor:
        with self._turn:
            captured = self._captured.get(batch.shape)
            if captured is None:
                if len(self._captured) >= MAX_GRAPHS:
                    self._captured.pop(next(iter(self._captured)))  # unused: every call waits for its own end
                captured = self._captured[batch.shape] = HostFed(network, batch.shape, self._device)
            return captured(batch)
