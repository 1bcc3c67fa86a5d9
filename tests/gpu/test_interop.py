"""Frames and streams of other libraries: PyCUDA, CuPy, torch and decoders."""

from __future__ import annotations

import ctypes
import os

import numpy as np
import pytest
from animevid import Stylizer
from animevid.errors import UsageError
from animevid.gpu import slots
from animevid.gpu.driver import Device, open_device
from animevid.gpu.interop import DeviceFrame, borrow_frame
from animevid.gpu.kernels import SurfaceLayout, surface_layout
from animevid.gpu.slots import DevicePipeline, plan_slots
from animevid.pixels import PlanesYUV420, chroma_size
from animevid.styles.card import ColourOrder, Layout, StyleCard, write_card
from gpu import fake_tensorrt
from gpu.cpu_kernels import HeldFrame
from gpu.fake_gpu import FakeGpu, in_child
from gpu.test_slots import CARD, IMAGE, SwapChroma, _expected
from pixels.frames import furthest, noise
from small_networks import packed_network

SEEDS = range(8)
pytest.importorskip("cuda.core")


class ArrayInterface:
    """The interface of PyCUDA's ``GPUArray`` and CuPy's ``ndarray``."""

    def __init__(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape, "strides": strides, "typestr": "|u1" if itemsize == 1 else "<u2", "data": (address, False),
            "version": 3, "stream": None,
        }  # fmt: skip


class _DlTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_uint8 * 2),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _DlManaged(ctypes.Structure):
    _fields_ = (("tensor", _DlTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class DlPack:
    """The interface of torch's tensors and PyAV's hardware frames."""

    def __init__(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> None:
        self._sides = (ctypes.c_int64 * len(shape))(*shape)
        self._steps = (ctypes.c_int64 * len(shape))(*(step // itemsize for step in strides))
        kind = (ctypes.c_uint8 * 2)(1, 8 * itemsize)  # kDLUInt
        where = (ctypes.c_int32 * 2)(*self.__dlpack_device__())
        tensor = _DlTensor(address, where, len(shape), kind, 1, self._sides, self._steps, 0)
        self._managed = _DlManaged(tensor, None, None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # kDLCUDA

    def __dlpack__(self, *, stream: object = None, **_: object) -> object:
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return make(ctypes.addressof(self._managed), b"dltensor", None)


class Owner:
    """Another program with its own device memory, stream and frame layout."""

    def __init__(self, device: Device, kind: type = ArrayInterface, *, pixel_format: str = "yuv420p") -> None:
        self.device, self.kind, self.pixel_format = device, kind, pixel_format
        self.stream = int(device.call("cuStreamCreate", 1))
        self._kept: list[np.ndarray] = []

    def frame(self, planes: PlanesYUV420, *, upload: bool) -> tuple[DeviceFrame, int, HeldFrame]:
        """A frame in device memory, filled asynchronously on the owner's stream."""
        held = HeldFrame.holding(planes, pixel_format=self.pixel_format, pitch_multiple=32)
        size = held.layout.total_bytes
        address = int(self.device.call("cuMemAlloc", size))
        if upload:
            source = held.memory.ctypes.data + HeldFrame.GUARD
            self.device.call("cuMemcpyHtoDAsync", address, source, size, self.stream)
        self._kept.append(held.memory)
        arrays = [self.kind(*view) for view in _views(held.layout, address)]
        frame = borrow_frame(arrays, colour=planes.colour, bit_depth=planes.bit_depth, writable=not upload)
        return frame, address, held

    def download(self, address: int, held: HeldFrame) -> None:
        target = held.memory.ctypes.data + HeldFrame.GUARD
        self.device.call("cuMemcpyDtoHAsync", target, address, held.layout.total_bytes, self.stream)


def _views(layout: SurfaceLayout, address: int) -> list[tuple[int, tuple[int, ...], tuple[int, ...], int]]:
    sample, chroma = layout.sample_bytes, chroma_size(layout.size)
    views = [(address, layout.size, (layout.pitches[0], sample), sample)]
    if layout.pixel_format == "nv12":
        strides = (layout.pitches[1], 2 * sample, sample)
        return [*views, (address + layout.offsets[1], (*chroma, 2), strides, sample)]
    for plane in (1, 2):
        views.append((address + layout.offsets[plane], chroma, (layout.pitches[plane], sample), sample))
    return views


@pytest.mark.parametrize("kind", [ArrayInterface, DlPack], ids=["array-interface", "dlpack"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("bit_depth", [8, 10])
@in_child
def test_others_memory_is_read_and_written_in_the_order_of_their_stream(fake_driver, kind, pixel_format, bit_depth):
    gpu = FakeGpu(fake_driver)
    kind = {"ArrayInterface": ArrayInterface, "DlPack": DlPack}[kind.__name__]
    frames = [noise(22, 38, seed=seed, bit_depth=bit_depth) for seed in range(5)]
    plan = plan_slots(frames[0], CARD, slots=2)
    for seed in SEEDS:
        gpu.seed(seed)
        with open_device() as device, DevicePipeline(device, SwapChroma(device), plan, module=IMAGE) as pipeline:
            owner = Owner(device, kind, pixel_format=pixel_format)
            results = []
            for frame in frames:
                source, _, _ = owner.frame(frame, upload=True)
                target, address, held = owner.frame(frame, upload=False)
                pipeline.draw([source], [target], stream=owner.stream)
                owner.download(address, held)
                results.append(held)
            device.call("cuStreamSynchronize", owner.stream)
            for frame, held in zip(frames, results, strict=True):
                assert furthest(held.planes(), _expected(frame, plan)) <= 1 << (bit_depth - 8)
    assert gpu.graphs_launched > 0  # of the network: its tensors do not depend on the frames' owner


@pytest.mark.parametrize("fault", ["order_after", "order_before"])
@in_child
def test_without_events_between_the_streams_a_frame_is_wrong(fake_driver, fault):
    """Shows that the test above can fail."""
    gpu = FakeGpu(fake_driver)
    frame = noise(22, 38)
    plan = plan_slots(frame, CARD, slots=1)
    setattr(slots.Slot, fault, lambda self, device, stream: None)
    wrong = 0
    for seed in SEEDS:
        gpu.seed(seed)
        with open_device() as device, DevicePipeline(device, SwapChroma(device), plan, module=IMAGE) as pipeline:
            owner = Owner(device)
            source, _, _ = owner.frame(frame, upload=True)
            target, address, held = owner.frame(noise(22, 38, seed=9), upload=False)
            pipeline.draw([source], [target], stream=owner.stream)
            owner.download(address, held)
            device.call("cuStreamSynchronize", owner.stream)
            wrong += furthest(held.planes(), _expected(frame, plan)) > 1
    assert wrong > 0


@in_child
def test_frames_of_the_host_and_of_others_take_turns_in_one_pipeline(fake_driver):
    FakeGpu(fake_driver)
    frame = noise(22, 38)
    plan = plan_slots(frame, CARD, slots=1)
    with open_device() as device, DevicePipeline(device, SwapChroma(device), plan, module=IMAGE) as pipeline:
        owner = Owner(device)
        for _ in range(2):
            (drawn,) = pipeline.submit([frame]).results()
            assert furthest(drawn, _expected(frame, plan)) <= 1
            source, _, _ = owner.frame(frame, upload=True)
            target, address, held = owner.frame(frame, upload=False)
            assert pipeline.draw([source], [target], stream=owner.stream).results() == []
            owner.download(address, held)
            device.call("cuStreamSynchronize", owner.stream)
            assert furthest(held.planes(), _expected(frame, plan)) <= 1


@in_child
def test_a_stylizer_draws_from_device_to_device(fake_driver, tmp_path):
    FakeGpu(fake_driver)
    fake_tensorrt.install()
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)
    card = StyleCard(name="packed", layout=Layout.PACKED_YUV420, colour_order=ColourOrder.YUV, size_multiple=8)
    style = tmp_path / "packed.onnx"
    style.write_bytes(write_card(packed_network(), card))
    frame = noise(48, 64)
    with (
        Stylizer(style, backend="onnxruntime", strength=0.7) as cpu,
        Stylizer(style, backend="tensorrt", strength=0.7) as stylizer,
        open_device() as device,
    ):
        owner = Owner(device, pixel_format="nv12")
        source, _, _ = owner.frame(frame, upload=True)
        target, address, held = owner.frame(frame, upload=False)
        stylizer.stylize_on_device(source, target, stream=owner.stream).results()
        owner.download(address, held)
        device.call("cuStreamSynchronize", owner.stream)
        assert furthest(held.planes(), cpu.stylize_planes(frame)) <= 3
        with pytest.raises(UsageError, match=r"takes no frames in a GPU's memory"):
            cpu.stylize_on_device(source, target)


@in_child
def test_what_is_no_frame_on_the_device_is_refused_in_one_line(fake_driver):
    FakeGpu(fake_driver)
    with open_device() as device:
        address = int(device.call("cuMemAlloc", 8192))
        layout = surface_layout(22, 38, pitch_multiple=32)

        def arrays(**changes: object) -> list[object]:
            views = [list(view) for view in _views(layout, address)]
            for index, (place, value) in changes.values():
                views[index][place] = value
            return [ArrayInterface(*view) for view in views]

        good = arrays()
        assert borrow_frame(good).layout.size == (22, 38)
        read_only = ArrayInterface(*_views(layout, address)[0])
        read_only.__cuda_array_interface__["data"] = (address, True)
        for planes, options, what in (
            (good[:1], {}, "Y, U and V"),
            (good, {"bit_depth": 10}, "uint16"),
            (good, {"bit_depth": 7}, "8 to 16"),
            (arrays(u=(1, (1, (11, 18)))), {}, "plane 1"),
            (arrays(y=(0, (2, (64, 2)))), {}, "side by side"),
            ([read_only, *good[1:]], {"writable": True}, "read-only"),
            ([np.zeros((22, 38), np.uint8), *good[1:]], {}, "host"),
            ([object(), *good[1:]], {}, "neither"),
        ):
            with pytest.raises(UsageError, match=what) as caught:
                borrow_frame(planes, **options)
            assert "\n" not in str(caught.value)
