"""The naive baseline: read a frame, run the network, write the frame, one after the other.

OpenCV reads and writes, frames are RGB in between, and nothing overlaps. ``fps.py`` compares with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
from animevid.styles import Style
from animevid.styles.card import ColourOrder, Layout

Image = npt.NDArray[np.uint8]


def run_naive(source: Path, target: Path, stylize: Callable[[Image], Image], *, frames: int = 0) -> tuple[int, float]:
    """(frames, seconds) of the loop over ``source``; ``frames`` 0 takes all of them."""
    reader = cv2.VideoCapture(str(source))
    writer: cv2.VideoWriter | None = None
    count = 0
    started_at = time.perf_counter()
    while frames == 0 or count < frames:
        ok, image = reader.read()
        if not ok:
            break
        stylized = stylize(image)
        if writer is None:
            size = stylized.shape[1], stylized.shape[0]
            writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), reader.get(cv2.CAP_PROP_FPS), size)
        writer.write(stylized)
        count += 1
    reader.release()
    if writer is not None:
        writer.release()
    return count, time.perf_counter() - started_at


def naive_stylizer(style: Style, *, net_size: tuple[int, int] | None) -> Callable[[Image], Image]:
    """``uint8`` BGR (H, W, 3) in and out, through the network of ``style`` at ``net_size`` (None: its own)."""
    card = style.card
    session = onnxruntime.InferenceSession(style.model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def stylize(image: Image) -> Image:
        height, width = image.shape[:2]
        multiple = max(card.size_multiple, 8)
        net_height, net_width = net_size or (height, width)
        net_height, net_width = (-(-side // multiple) * multiple for side in (net_height, net_width))
        small = cv2.resize(image, (net_width, net_height), interpolation=cv2.INTER_AREA)
        if card.layout is Layout.PACKED_YUV420:
            result = _unpack(session.run(None, {name: _pack(small)})[0])
        else:
            rgb = small if card.colour_order is ColourOrder.BGR else cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
            low, high = card.input_range
            batch = (rgb.astype(np.float32) / 255 * (high - low) + low)[np.newaxis]
            if card.layout is Layout.NCHW:
                batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
            out = session.run(None, {name: batch})[0][0]
            if card.layout is Layout.NCHW:
                out = out.transpose(1, 2, 0)
            low, high = card.output_range
            rgb = np.clip((out - low) / (high - low) * 255, 0, 255).astype(np.uint8)
            result = rgb if card.colour_order is ColourOrder.BGR else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        return cv2.resize(result, (width, height), interpolation=cv2.INTER_LINEAR)

    return stylize


def torch_stylizer(generator: str, *, threads: int = 0) -> Callable[[Image], Image]:
    """The published architecture ``generator`` with random weights, in torch, at the image's own size."""
    import torch
    from animevid_trainer.generators import make_generator

    if threads:
        torch.set_num_threads(threads)
    network = make_generator(generator).eval()

    def stylize(image: Image) -> Image:
        height, width = image.shape[:2]
        padded = cv2.copyMakeBorder(image, 0, -height % 32, 0, -width % 32, cv2.BORDER_REFLECT_101)
        rgb = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)
        with torch.inference_mode():
            batch = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1
            out = network(batch)[0].permute(1, 2, 0).add(1).mul(127.5).clamp(0, 255).byte().numpy()
        return cv2.cvtColor(out[:height, :width], cv2.COLOR_RGB2BGR)

    return stylize


def _pack(bgr: Image) -> npt.NDArray[np.float32]:
    height, width = bgr.shape[:2]
    planes = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).astype(np.float32)
    luma = (planes[:height] - 16) / 219 * 2 - 1
    chroma = ((planes[height:] - 128) / 112).reshape(2, height // 2, width // 2)
    packed = [
        luma.reshape(height // 4, 4, width // 4, 4).transpose(1, 3, 0, 2).reshape(16, height // 4, width // 4),
        *(
            plane.reshape(height // 4, 2, width // 4, 2).transpose(1, 3, 0, 2).reshape(4, height // 4, width // 4)
            for plane in chroma
        ),
    ]
    return np.ascontiguousarray(np.concatenate(packed)[np.newaxis])


def _unpack(batch: npt.NDArray[np.float32]) -> Image:
    _, _, rows, columns = batch.shape
    luma = batch[0, :16].reshape(4, 4, rows, columns).transpose(2, 0, 3, 1).reshape(rows * 4, columns * 4)
    chroma = [
        batch[0, first : first + 4].reshape(2, 2, rows, columns).transpose(2, 0, 3, 1).reshape(rows, columns * 4)
        for first in (16, 20)
    ]
    planes = np.concatenate([(luma + 1) / 2 * 219 + 16, *(plane * 112 + 128 for plane in chroma)])
    return cv2.cvtColor(np.clip(planes, 0, 255).astype(np.uint8), cv2.COLOR_YUV2BGR_I420)
