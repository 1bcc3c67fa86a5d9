"""The networks that the teachers use, on the CPU, from one folder of weights.

======================================  ==================================================  ============
HED (VGG16, BSDS500)                    edge probability                                    MIT
Real-ESRGAN x4plus-anime-6B             redraws a shrunk photo in clean anime shapes        BSD-3-Clause
realesr-animevideov3 x4                 the same, small: final redrawing                    BSD-3-Clause
BlazeFace full range (MediaPipe)        face boxes                                          Apache-2.0
CartoonGAN "Shinkai"                    a drawing of the photo                              Apache-2.0
======================================  ==================================================  ============

A style's card names these networks and their licences, since the student learned from their output.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from animevid.backends.openvino import shared_core
from animevid.errors import TrainingError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional

from animevid_trainer.precision import has_bf16
from animevid_trainer.teachers.cartoongan import CartoonGanTeacher
from animevid_trainer.teachers.colour import F, Image, Map
from animevid_trainer.teachers.faces import Face, FaceDetector, face_map
from animevid_trainer.teachers.filters import blur

HED_MEANS = (104.00699, 116.66877, 122.67892)  # BGR
HED_BLOCKS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))  # VGG16: (block, number of convolutions)
REDRAW_SCALE = 0.45  # scale of the photo for the anime network; a smaller one is calmer and loses more detail
FACE_PIXELS = 96  # target height of faces in the anime network's input, which preserves eyes and mouth
FACE_SCALE_TOP = 2.2  # maximum enlargement of a face crop
FACE_RELIEF = 0.7  # local contrast added to small faces before drawing, which emphasizes eyes and mouth

HED_FILE = "hed_bsds500_fp16.safetensors"
CARTOONGAN_FILE = "cartoongan_shinkai_fp16.safetensors"
FACES_FILE = "face_detection_full_range_sparse.tflite"
REDRAW_NET = "realesrgan_x4plus_anime_6B"
BRUSH_NET = "realesr_animevideov3_x4"
FILES = (HED_FILE, CARTOONGAN_FILE, FACES_FILE, f"{REDRAW_NET}.onnx", f"{BRUSH_NET}.onnx")


class Networks:
    """The teachers' networks, each opened at first use.

    Args:
        folder (Path): folder of the weights, with the file names of :data:`FILES`.
        threads (int): CPU threads of each network. Default: 1.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Raises:
        TrainingError: a file is missing.
        """
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise TrainingError(f"teacher weights in {str(folder)!r}: no {missing[0]}; a look needs {', '.join(FILES)}")
        self.folder, self._threads = folder, threads
        self._open: dict[str, Any] = {}

    @cached_property
    def faces(self) -> FaceDetector:
        return FaceDetector(self.folder / FACES_FILE, threads=self._threads)

    @cached_property
    def cartoongan(self) -> CartoonGanTeacher:
        """Draws ``(H, W, 3)`` uint8 RGB with CartoonGAN; its output has a grid (see :func:`degrid`)."""
        return CartoonGanTeacher(self.folder / CARTOONGAN_FILE)

    @cached_property
    def _hed(self) -> dict[str, torch.Tensor]:
        file = self.folder / HED_FILE
        try:
            return {name: value.float() for name, value in load_file(file).items()}
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"teacher weights {str(file)!r} cannot be read ({error})") from error

    def _opened(self, name: str) -> Any:
        if name not in self._open:
            file = self.folder / f"{name}.onnx"
            precision = "bf16" if has_bf16(torch.device("cpu")) else "f32"
            settings = {"INFERENCE_NUM_THREADS": self._threads, "INFERENCE_PRECISION_HINT": precision}
            try:
                self._open[name] = shared_core().compile_model(str(file), "CPU", settings)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise TrainingError(f"teacher weights {str(file)!r} cannot be read ({reason})") from error
        return self._open[name]

    @torch.inference_mode()
    def edges(self, rgb: Image, scale: float = 1.0) -> tuple[Map, Map]:
        """Edge probability of ``rgb`` at ``scale``: (fused, fine), each ``(H, W)`` on [0, 1].

        *fused* separates contours from texture but is thick; *fine* (sides 1..3) is thin but responds to texture.
        """
        height, width = rgb.shape[:2]
        size = (round(width * scale), round(height * scale))
        seen = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale <= 1 else cv2.INTER_CUBIC)
        bgr = np.ascontiguousarray((seen[..., ::-1] * 255 - np.array(HED_MEANS, F)).transpose(2, 0, 1))
        w = self._hed
        x = torch.from_numpy(bgr)[None].contiguous(memory_format=torch.channels_last)
        sides = []
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bf16(x.device)):
            for block, count in HED_BLOCKS:
                if block > 1:
                    x = functional.max_pool2d(x, 2, ceil_mode=True)
                for i in range(1, count + 1):
                    name = f"conv{block}_{i}"
                    x = functional.relu(functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1))
                side = functional.conv2d(x, w[f"side{block}.weight"], w[f"side{block}.bias"]).float()
                sides.append(functional.interpolate(side, size[::-1], mode="bilinear", align_corners=False))
        fused = functional.conv2d(torch.cat(sides, 1), w["fuse.weight"], w["fuse.bias"])
        fine = (sides[0] + sides[1] + sides[2]) / 3
        back = [
            cv2.resize(torch.sigmoid(v)[0, 0].numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
            for v in (fused, fine)
        ]
        return back[0], back[1]

    def redraw(self, rgb: Image, scale: float, name: str) -> Image:
        """Resize by ``scale``, redraw with the x4 network, and resize back: clean shapes and edges in the same size."""
        height, width = rgb.shape[:2]
        size = (max(8, round(width * scale / 4) * 4), max(8, round(height * scale / 4) * 4))
        x = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale <= 1 else cv2.INTER_CUBIC)
        feed = np.ascontiguousarray(np.clip(x, 0, 1).transpose(2, 0, 1)[None], F)
        y = np.asarray(self._opened(name)(feed)[0])[0].transpose(1, 2, 0)
        return np.clip(cv2.resize(y, (width, height), interpolation=cv2.INTER_AREA), 0, 1)

    def redraw_faces(
        self, rgb: Image, drawn: Image, found: list[Face], scale: float, name: str, relief: float = 0.0
    ) -> Image:
        """Redraw every small face of ``rgb`` in ``drawn``, enlarged so that the network preserves eyes and mouth."""
        height, width = rgb.shape[:2]
        out = drawn.copy()
        for f in found:
            wanted = min(FACE_PIXELS / f.height, FACE_SCALE_TOP)
            if wanted <= scale * 1.05:
                continue
            margin = 0.6 * f.height
            x0, y0 = max(0, int(f.x0 - margin)), max(0, int(f.y0 - margin))
            x1, y1 = min(width, int(f.x1 + margin) + 1), min(height, int(f.y1 + margin) + 1)
            if x1 - x0 < 8 or y1 - y0 < 8:
                continue
            crop = rgb[y0:y1, x0:x1]
            crop = self.redraw(crop + relief * (crop - blur(crop, 0.07 * f.height)), wanted, name)
            k = face_map((height, width), [f], 1.25)[y0:y1, x0:x1, None]
            out[y0:y1, x0:x1] += k * (crop - out[y0:y1, x0:x1])
        return out

    def base(self, rgb: Image, found: list[Face]) -> Image:
        """Redraw the photo in clean shapes with the large anime network."""
        drawn = self.redraw(rgb, REDRAW_SCALE, REDRAW_NET)
        return self.redraw_faces(rgb, drawn, found, REDRAW_SCALE, REDRAW_NET, FACE_RELIEF)

    def last_brush(self, rgb: Image, found: list[Face], scale: float) -> Image:
        """Redraw every edge with the small anime network; small faces at a larger scale."""
        return self.redraw_faces(rgb, self.redraw(rgb, scale, BRUSH_NET), found, scale, BRUSH_NET)


def degrid(drawing: Image) -> Image:
    """Remove CartoonGAN's checkerboard."""
    return cv2.bilateralFilter(drawing, 7, 0.08, 1.6)
