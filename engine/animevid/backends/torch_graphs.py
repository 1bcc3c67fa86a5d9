"""A network in torch as CUDA graphs: captured once, replayed for each frame."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from animevid.backends.base import Tensor, one_line
from animevid.backends.torch_network import TorchNetwork
from animevid.errors import DeviceError

if TYPE_CHECKING:
    import torch
    from torch.cuda import _POOL_HANDLE

    #: A stream, and the memory pool of the graphs that run on it.
    StreamAndPool = tuple[torch.cuda.Stream, _POOL_HANDLE]


#: Shapes whose captured graph is kept; each holds the activations of its shape.
MAX_GRAPHS = 4


#: torch captures one graph at a time in a process.
CAPTURING = threading.Lock()


#: Parts of torch's error messages once the CUDA context is lost.
SIGNS_OF_LOSS = ("illegal memory access", "launch failure", "unspecified launch", "ECC error", "launch timed out")


class CapturedGraph:
    """A CUDA graph of one shape with its own input and output. Never run on a GPU yet: see docs/gpu.md.

    ``shares``: the stream and memory pool of other graphs that never run while this one does.
    """

    def __init__(
        self,
        network: TorchNetwork,
        shape: tuple[int, ...],
        device: torch.device,
        *,
        shares: StreamAndPool | None = None,
    ) -> None:
        import torch

        self.source = torch.zeros(shape, dtype=torch.float32, device=device)
        # Capturing needs a stream that is not the default one; replaying may be on any.
        self.stream, pool = shares or stream_and_pool(device)
        # Wait for the current stream, on which weights and zeros were written.
        self.stream.wait_stream(torch.cuda.current_stream(device))
        with (
            torch.cuda.stream(self.stream),
            torch.inference_mode(),
            # Shapes never change: cuDNN benchmarks its algorithms in the first run, and the capture uses the fastest.
            CAPTURING,  # before the flags, which are global: two overlapping captures would restore each other's
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True),
        ):
            for _ in range(3):
                network(self.source)
            self.stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # Only this thread's calls may invalidate the capture: other threads decode, wait and allocate meanwhile.
            with torch.cuda.graph(self._graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
                self.target = network(self.source)

    def replay(self) -> None:
        """Stylize ``source`` into ``target``, on the current stream."""
        self._graph.replay()


def stream_and_pool(device: torch.device) -> StreamAndPool:
    import torch

    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]


class HostFed:
    """A captured graph that is fed from the host."""

    def __init__(self, network: TorchNetwork, shape: tuple[int, ...], device: torch.device) -> None:
        import torch

        self._pinned = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        self._captured = CapturedGraph(network, shape, device)

    def __call__(self, batch: Tensor) -> torch.Tensor:
        import torch

        captured = self._captured
        with torch.cuda.stream(captured.stream):
            # Free to write: the last call waited for its reader.
            self._pinned.numpy()[:] = batch
            captured.source.copy_(self._pinned, non_blocking=True)
            captured.replay()
            output = captured.target.to("cpu")  # waits for the stream
        return output


class SlotNetwork:
    """The network for slots (``gpu.slots.Network``), on their streams and memory. Never run on a GPU yet.

    Each slot and shape has its own torch graph, with torch's memory, so it cannot be captured into another graph. The
    graphs of a slot share that memory: they never run at once, and each has its own input and output tensors.
    """

    half = False

    def __init__(self, network: TorchNetwork, device: torch.device) -> None:
        self._network, self._device = network, device
        self._captured: dict[tuple[int, tuple[int, ...]], CapturedGraph] = {}
        self._shared: dict[int, StreamAndPool] = {}

    def enqueue(self, *, slot: int, stream: int, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        import torch

        from animevid.gpu.driver import OutOfDeviceMemory

        try:
            captured = self._captured.get((slot, shape))
            if captured is None:
                if slot not in self._shared:
                    self._shared[slot] = stream_and_pool(self._device)
                captured = CapturedGraph(self._network, shape, self._device, shares=self._shared[slot])
                self._captured[slot, shape] = captured
            on = torch.cuda.ExternalStream(stream, self._device)  # type: ignore[no-untyped-call]
            with torch.cuda.stream(on), torch.inference_mode():
                self._draw(captured, source, target, shape)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfDeviceMemory(f"the GPU is out of memory for {shape}; give a smaller --net-size") from error
            raise device_error(error, shape) from error

    def _draw(self, captured: CapturedGraph, source: int, target: int, shape: tuple[int, int, int, int]) -> None:
        captured.source.copy_(_at(source, shape, self._device))
        captured.replay()
        _at(target, shape, self._device).copy_(captured.target)

    def capturable(self, *, slot: int, stream: int, shape: tuple[int, int, int, int]) -> bool:
        return False

    def close(self) -> None:
        import torch

        self._captured.clear()
        self._shared.clear()
        # Slots allocate from the driver, which cannot use the memory that torch's cache holds.
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, even during a capture, whose own error then hides the cause."""
    import torch

    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def device_error(error: RuntimeError, shape: tuple[int, ...]) -> DeviceError:
    from animevid.gpu.driver import DeviceLost

    said = one_line(error)
    if any(sign in said for sign in SIGNS_OF_LOSS):
        return DeviceLost(f"the GPU stopped working ({said}); what was written is kept: start again, or --device cpu")
    return DeviceError(f"torch failed on {shape} ({said}); run again with -v, or use --backend onnxruntime")


class _Memory:
    """Device memory not owned by torch, in the form that ``torch.as_tensor`` accepts."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (address, False), "version": 3}


def _at(address: int, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    import torch

    return torch.as_tensor(_Memory(address, shape), device=device)
