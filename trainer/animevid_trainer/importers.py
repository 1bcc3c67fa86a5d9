"""Imports published weights: AnimeGANv2 checkpoints of PyTorch ports, CartoonGAN's, and our own.

==============================================  ==================================================================
file                                            generator
==============================================  ==================================================================
``.pt``/``.pth`` with ``block_a.0.1.weight``    ``animegan2`` (the widespread PyTorch port's layer names)
``.pth``, ``.safetensors`` or a folder of       ``cartoongan`` with instance norm, turned from the published
``.npy`` with ``conv01_1.weight``               weights' BGR into RGB
``.safetensors`` with ``enter.weight``          ``luma-unet``: the shipped styles (trainer/styles)
==============================================  ==================================================================

Checkpoints are read with ``weights_only=True`` and arrays without pickle: a downloaded file runs no code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from animevid.errors import TrainingError
from animevid.gpu.parity import Bound, Parity
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from animevid_trainer.colourspace import rgb_to_packed
from animevid_trainer.export import check_parity
from animevid_trainer.generators import make_generator
from animevid_trainer.generators.base import Upsampling
from animevid_trainer.generators.luma_unet import LumaUNet, options_of_weights

#: An imported network and its ONNX reference may differ by half an 8-bit code anywhere (outputs in [-1, 1]).
TWIN_BOUND = Bound(4e-3, 5e-4)

_UPSAMPLINGS: tuple[Upsampling, ...] = ("half_pixel", "align_corners", "asymmetric")
#: where checkpoints of training scripts keep the generator
_WRAPPERS = ("generator", "G", "g_ema", "params_ema", "state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class Imported:
    """A generator with published weights. ``parity``: the difference from the ONNX reference, if one was given."""

    generator: nn.Module
    name: str
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    parity: Parity | None = None
    reference_colour_order: str = ""


def import_weights(
    path: Path | str,
    *,
    reference: Path | str | None = None,
    images: Sequence[np.ndarray] = (),
    upsampling: Upsampling | None = None,
    bound: Bound = TWIN_BOUND,
) -> Imported:
    """Read published weights from ``path`` (see the module's table).

    ``reference`` is an ONNX file of the same network: both are run on ``images`` (uint8 RGB, ``H, W, 3``) and must
    agree within ``bound``. An AnimeGANv2 checkpoint does not store its upsampling: without ``upsampling`` the reference
    decides; without a reference it is ``half_pixel``, as in the ports' test script. The reference's channel order is
    unknown too, so both are tried.

    Raises:
        TrainingError: unreadable, unknown layers, missing or superfluous weights, or a reference that differs.
    """
    source = Path(path).expanduser()
    state = read_state(source)
    if "block_a.0.1.weight" in state:
        choices = (upsampling,) if upsampling else (_UPSAMPLINGS if reference is not None else _UPSAMPLINGS[:1])
        candidates = [_load("animegan2", state, source, upsampling=choice) for choice in choices]
    elif "conv01_1.weight" in state:
        candidates = [_load("cartoongan", cartoongan_state(state), source, norm="instance", norm_epsilon=1e-9)]
    elif "enter.weight" in state:
        try:
            options = options_of_weights(state)
        except (KeyError, IndexError) as error:
            raise TrainingError(f"{str(source)!r} is not a whole luma-unet: {error} is missing") from error
        candidates = [_load("luma-unet", state, source, **options)]
        student = candidates[0].generator
        assert isinstance(student, LumaUNet)
        if images:
            student.equalize([_packed(image) for image in images])
    else:
        raise TrainingError(
            f"{str(source)!r} has no known layer names: AnimeGANv2 ports begin with block_a.0.1.weight, "
            f"CartoonGAN with conv01_1.weight, luma-unet has enter.weight; "
            f"found {', '.join(list(state)[:3]) or 'nothing'}"
        )
    if reference is None:
        return candidates[0]
    if not images:
        raise TrainingError("comparing with an ONNX reference needs at least one image; name some with --photos")
    opened = _ReferenceNetwork(Path(reference).expanduser())
    best: Imported | None = None
    for candidate in candidates:
        compared = _against_reference(candidate, opened, images)
        assert compared.parity is not None
        if best is None or best.parity is None or compared.parity.mean < best.parity.mean:
            best = compared
    assert best is not None
    assert best.parity is not None
    check_parity(best.parity, bound, what=f"the reference {str(reference)!r}")
    return best


def _packed(image: np.ndarray) -> Tensor:
    """uint8 RGB ``(H, W, 3)`` -> ``(1, 24, H / 4, W / 4)``, cut to multiples of 16 pixels."""
    height, width = (side // 16 * 16 for side in image.shape[:2])
    rgb = torch.from_numpy(np.ascontiguousarray(image[:height, :width].transpose(2, 0, 1)))[None]
    return rgb_to_packed(rgb.float() / 127.5 - 1)


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, as float32, from a checkpoint file or a folder of ``NAME.npy``.

    Extracts the generator from a training script's checkpoint and drops the prefix ``module.`` of data-parallel
    wrappers.

    Raises:
        TrainingError: missing, unreadable, or not tensors by name.
    """
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise TrainingError(f"{str(path)!r} has no .npy files")
        return {file.stem: _read_array(file) for file in files}
    if not path.is_file():
        raise TrainingError(f"{str(path)!r}: no such file or folder")
    try:
        if path.suffix == ".safetensors":
            raw: Any = load_file(path)
        else:
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrainingError(
            f"{str(path)!r} holds more than tensors and is not opened, since it could run code; "
            "have its owner save the state_dict alone"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{str(path)!r} cannot be read ({reason})") from error
    for _ in range(2):
        if isinstance(raw, Mapping) and not any(isinstance(value, Tensor) for value in raw.values()):
            inner = next((raw[key] for key in _WRAPPERS if isinstance(raw.get(key), Mapping)), None)
            raw = raw if inner is None else inner
    if not isinstance(raw, Mapping) or not raw or not all(isinstance(value, Tensor) for value in raw.values()):
        raise TrainingError(f"{str(path)!r} is not a dictionary of tensors")
    return {str(name).removeprefix("module."): value.float() for name, value in raw.items()}


def cartoongan_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published CartoonGAN weights with this project's names, and RGB instead of BGR at both ends.

    Instance norms come as ``inXX_Y.scale`` and ``.shift``. The first kernel's input channels and the last one's output
    channels (with their biases) are reversed, so the network uses RGB.
    """
    renamed = {name.replace(".scale", ".weight").replace(".shift", ".bias"): value for name, value in state.items()}
    for name, axis in (("conv01_1.weight", 1), ("deconv03_1.weight", 0), ("deconv03_1.bias", 0)):
        if name in renamed and renamed[name].ndim > axis:
            renamed[name] = renamed[name].flip(axis)
    return renamed


def _load(name: str, state: Mapping[str, Tensor], source: Path, **options: bool | int | float | str) -> Imported:
    generator = make_generator(name, **options)
    expected = generator.state_dict()
    for key, value in expected.items():
        arrived = state.get(key)
        if arrived is None or arrived.shape != value.shape:
            found = "missing" if arrived is None else f"of shape {tuple(arrived.shape)}"
            raise TrainingError(f"{str(source)!r}: {key!r} is {found}, {name} needs {tuple(value.shape)}")
    superfluous = [key for key in state if key not in expected]
    if superfluous:
        raise TrainingError(
            f"{str(source)!r}: {len(superfluous)} weights that {name} does not have: {superfluous[0]!r}"
        )
    generator.load_state_dict(dict(state))
    return Imported(generator.eval().requires_grad_(False), name, options)


class _ReferenceNetwork:
    """An ONNX file of the same network: RGB or BGR, channels first or last, free or fixed size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exception classes share no base
            raise TrainingError(
                f"the reference {str(path)!r} cannot be opened ({str(error).splitlines()[0]})"
            ) from error
        entry = self._session.get_inputs()[0]
        self._name = entry.name
        shape = list(entry.shape)
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise TrainingError(f"the reference {str(path)!r} takes {shape}, not images of three channels")
        self._channels_last = shape[1] != 3
        self._size = shape[1:3] if self._channels_last else shape[2:4]

    def crop(self, image: np.ndarray) -> Tensor:
        """The top left of ``image`` at the reference's size: RGB in [-1, 1], ``1, 3, H, W``."""
        wanted = [
            side if isinstance(side, int) else min(available, 512) // 32 * 32
            for side, available in zip(self._size, image.shape[:2], strict=True)
        ]
        if min(wanted) < 32 or wanted[0] > image.shape[0] or wanted[1] > image.shape[1]:
            raise TrainingError(f"an image of {image.shape[:2]} is too small for the reference: it takes {self._size}")
        pixels = np.ascontiguousarray(image[: wanted[0], : wanted[1]])
        return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1.0

    def run(self, rgb: Tensor, *, order: str) -> np.ndarray:
        """Its output for ``rgb``, as RGB ``1, 3, H, W``, assuming the channel ``order``."""
        planes = rgb.numpy() if order == "RGB" else rgb.numpy()[:, ::-1]
        fed = np.ascontiguousarray(planes.transpose(0, 2, 3, 1) if self._channels_last else planes)
        try:
            answer = np.asarray(self._session.run(None, {self._name: fed})[0])
        except Exception as error:
            raise TrainingError(f"the reference {str(self.path)!r} fails ({str(error).splitlines()[0]})") from error
        answer = answer.transpose(0, 3, 1, 2) if self._channels_last else answer
        return answer if order == "RGB" else answer[:, ::-1]


def _against_reference(imported: Imported, reference: _ReferenceNetwork, images: Sequence[np.ndarray]) -> Imported:
    """``imported`` with its difference from ``reference``, in the channel order that agrees better."""
    differences: dict[str, list[np.ndarray]] = {"RGB": [], "BGR": []}
    for image in images:
        rgb = reference.crop(image)
        with torch.inference_mode():
            ours = imported.generator(rgb).numpy().astype(np.float64)
        for order, found in differences.items():
            theirs = reference.run(rgb, order=order)
            if theirs.shape != ours.shape:
                raise TrainingError(
                    f"the reference {str(reference.path)!r} gives {theirs.shape}, the import {ours.shape}"
                )
            difference = np.abs(ours - theirs)
            found.append(np.where(np.isnan(difference), np.inf, difference).ravel())
    measured = {
        order: Parity(float(values.max()), float(values.mean()), len(images))
        for order, values in ((order, np.concatenate(found)) for order, found in differences.items())
    }
    order = min(measured, key=lambda key: measured[key].mean)
    return replace(imported, parity=measured[order], reference_colour_order=order)


def _read_array(file: Path) -> Tensor:
    try:
        return torch.from_numpy(np.asarray(np.load(file, allow_pickle=False), np.float32).copy())
    except (OSError, ValueError, EOFError) as error:
        raise TrainingError(f"{str(file)!r} is not an array of numbers ({str(error).splitlines()[0]})") from error
