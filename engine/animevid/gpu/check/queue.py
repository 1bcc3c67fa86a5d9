"""A device, our kernels and a stream, for sections that launch kernels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from animevid.gpu.driver import Device
from animevid.gpu.fatbin import load_fatbin
from animevid.gpu.kernels import Launch
from animevid.gpu.steps import Functions

if TYPE_CHECKING:
    from cuda.bindings import driver as cuda

Array = npt.NDArray[Any]
_CAPTURE_THREAD_LOCAL = 1
_TIMED_RUNS = 3


class GpuQueue:
    """Memory that is not downloaded stays allocated until the process ends."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._functions = Functions(device, load_fatbin(driver_version=device.driver_version), ExitStack())
        self.stream = device.call("cuStreamCreate", 1)

    def allocate(self, size: int) -> int:
        return int(self.device.call("cuMemAlloc", size))

    def upload(self, array: Array) -> int:
        address = self.allocate(array.nbytes)
        self.device.call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
        return address

    def download(self, address: int, like: Array) -> Array:
        """An array of the shape and dtype of ``like``; the device's memory is freed."""
        array = np.empty_like(like)
        self.device.call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
        self.device.call("cuMemFree", address)
        return array

    def launch(self, launches: Launch | Iterable[Launch]) -> None:
        for launch in [launches] if isinstance(launches, Launch) else launches:
            self._functions.launch(self.stream, launch)

    def capture(self, work: Callable[[], object]) -> cuda.CUgraphExec:
        """The submissions of ``work`` as a CUDA graph; its functions must have been launched before."""
        driver = self.device.driver
        self.device.call("cuStreamBeginCapture", self.stream, driver.CUstreamCaptureMode(_CAPTURE_THREAD_LOCAL))
        work()
        graph = self.device.call("cuStreamEndCapture", self.stream)
        return self.device.call("cuGraphInstantiate", graph, 0)

    def microseconds(self, work: Callable[[], object], *, times: int = 30) -> float:
        """Mean time of ``work``, which submits to the stream.

        One CUDA graph has ``times`` runs, since launching a kernel from Python takes longer than the kernel. Measured
        by the host's clock, since the bindings need a ``cuEventElapsedTime`` that drivers before 570 lack.
        """
        work()  # the first call loads modules, which must not be captured
        graph = self.capture(lambda: [work() for _ in range(times)])
        self._run_graph(graph)
        begun = time.perf_counter()
        self._run_graph(graph, times=_TIMED_RUNS)
        took = time.perf_counter() - begun
        self.device.call("cuGraphExecDestroy", graph)
        return took * 1e6 / (_TIMED_RUNS * times)

    def _run_graph(self, graph: cuda.CUgraphExec, *, times: int = 1) -> None:
        for _ in range(times):
            self.device.call("cuGraphLaunch", graph, self.stream)
        self.device.call("cuStreamSynchronize", self.stream)
