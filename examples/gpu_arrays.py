"""Stylize frames that are in GPU memory already.  python examples/gpu_arrays.py torch|cupy|pycuda IN.jpg OUT.png

The frame is three arrays on the device (Y, U and V, 4:2:0); the style draws into three others. Nothing is copied to the
host in between and nothing waits: the drawing runs after earlier work of the library's stream and before later work.
 Needs an NVIDIA GPU, TensorRT or torch with CUDA, and the library.
"""

import sys
from collections.abc import Callable
from typing import Any

import animevid
import cv2
import numpy as np
from animevid.gpu.interop import borrow_frame
from animevid.pixels import planes_to_rgb, rgb_to_planes

Arrays = list[Any]  # Y, U and V
Draw = Callable[[Arrays, Arrays, int], None]  # from, into, the stream's raw handle


def with_torch(planes: Arrays, draw: Draw) -> Arrays:
    import torch

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        given = [torch.from_numpy(plane.copy()).pin_memory().to("cuda", non_blocking=True) for plane in planes]
        drawn = [torch.empty_like(plane) for plane in given]
        draw(given, drawn, stream.cuda_stream)
        return [plane.cpu().numpy() for plane in drawn]  # waits for the stream


def with_cupy(planes: Arrays, draw: Draw) -> Arrays:
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        given = [cupy.asarray(plane) for plane in planes]
        drawn = [cupy.empty_like(plane) for plane in given]
        draw(given, drawn, stream.ptr)
        return [plane.get(stream=stream) for plane in drawn]  # waits for the stream


def with_pycuda(planes: Arrays, draw: Draw) -> Arrays:
    from pycuda import driver

    driver.init()
    context = driver.Device(0).retain_primary_context()  # the one that animevid, torch and CuPy use
    context.push()
    try:
        return with_pycuda_in_its_context(planes, draw)
    finally:
        context.pop()
        context.detach()


def with_pycuda_in_its_context(planes: Arrays, draw: Draw) -> Arrays:
    from pycuda import driver, gpuarray

    stream = driver.Stream()
    hosts = [driver.pagelocked_empty(plane.shape, plane.dtype) for plane in planes]
    for host, plane in zip(hosts, planes, strict=True):
        host[:] = plane
    given = [gpuarray.to_gpu_async(host, stream=stream) for host in hosts]
    drawn = [gpuarray.GPUArray(host.shape, host.dtype) for host in hosts]
    draw(given, drawn, stream.handle)
    for host, plane in zip(hosts, drawn, strict=True):
        plane.get_async(stream=stream, ary=host)
    stream.synchronize()
    return [host.copy() for host in hosts]


def main() -> None:
    library, source, target = sys.argv[1:]
    frame = rgb_to_planes(np.ascontiguousarray(cv2.imread(source)[..., ::-1]))
    with animevid.Stylizer(device="cuda") as stylizer:

        def draw(given: Arrays, drawn: Arrays, stream: int) -> None:
            stylizer.stylize_on_device(
                borrow_frame(given, colour=frame.colour),
                borrow_frame(drawn, colour=frame.colour, writable=True),
                stream=int(stream),
            )

        stylize = {"torch": with_torch, "cupy": with_cupy, "pycuda": with_pycuda}[library]
        y, u, v = stylize([frame.y, frame.u, frame.v], draw)
        print(stylizer.description)
    cv2.imwrite(target, planes_to_rgb(frame.with_planes(y, u, v))[..., ::-1])


if __name__ == "__main__":
    main()
