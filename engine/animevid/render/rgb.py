"""Conversion from and to users' images: NumPy arrays, Pillow images, torch tensors.

No library is imported for this: an object of a library can only exist if that library is already imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from animevid.errors import UsageError
from animevid.pixels import Colour, ColourRange, PlanesYUV420, planes_to_rgb, rgb_to_planes
from animevid.render.renderer import Renderer, RGBFrames

#: A kind of image that ``take_images`` takes.
Images = TypeVar("Images")

In = TypeVar("In")
Out = TypeVar("Out")

#: Pillow modes with more than 8 bits per channel, which would be clipped.
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class _Shaped(Protocol):
    """An array or tensor."""

    @property
    def shape(self) -> Sequence[int]: ...


def take_images(images: Images, *, batches: bool = True) -> tuple[RGBFrames, Callable[[RGBFrames], Images]]:
    """``images`` as uint8 RGB ``(H, W, 3)`` or ``(N, H, W, 3)``, and a function that converts results to the same kind.

    A last axis of length 3 holds the channels, else one before height and width; for a tensor, whose channels come
    first by convention, the other way round.

    Args:
        images: a uint8 array or tensor, ``(H, W, 3)``, ``(3, H, W)`` or with an axis N in front; or a Pillow image.
        batches: whether there may be an axis N. Default: true.

    Raises:
        UsageError: another type, dtype, shape or mode.
    """
    pillow, torch = sys.modules.get("PIL.Image"), sys.modules.get("torch")
    if pillow is not None and isinstance(images, pillow.Image):
        return _take_pillow(pillow, images)
    if torch is not None and isinstance(images, torch.Tensor):
        _check(images, str(images.dtype).removeprefix("torch."), batches=batches)
        frames, give_back = _channels_last(images.detach().cpu().numpy(), channels_first=_is(images, -3))
        return frames, lambda results: torch.from_numpy(np.ascontiguousarray(give_back(results))).to(images.device)
    if not isinstance(images, np.ndarray):
        raise UsageError(f"{type(images).__name__} is not an image: give a NumPy array, a PIL.Image or a torch.Tensor")
    _check(images, str(images.dtype), batches=batches)
    return _channels_last(images, channels_first=not _is(images, -1))


def planes_of_rgb(frame: RGBFrames) -> PlanesYUV420:
    # Full range keeps all 256 levels; an untagged matrix is guessed by size, as it is for video.
    return rgb_to_planes(frame, colour=Colour(range=ColourRange.FULL))


def stylized_rgb(renderer: Renderer[In, Out], frames: Iterable[RGBFrames]) -> list[RGBFrames]:
    """``frames``, each ``(H, W, 3)``, stylized one batch at a time."""
    inputs = [planes_of_rgb(frame) for frame in frames]
    outputs: list[Out] = []
    for start in range(0, len(inputs), renderer.batch_limit):
        outputs += renderer.infer(
            [renderer.preprocess(planes) for planes in inputs[start : start + renderer.batch_limit]]
        )
    return [planes_to_rgb(renderer.postprocess(*pair)) for pair in zip(inputs, outputs, strict=True)]


def _check(images: _Shaped, dtype: str, *, batches: bool) -> None:
    shape = tuple(images.shape)
    dimensions = (3, 4) if batches else (3,)
    if dtype != "uint8" or len(shape) not in dimensions or 0 in shape or not (_is(images, -1) or _is(images, -3)):
        allowed = "(H, W, 3), (3, H, W)" + (", (N, H, W, 3) or (N, 3, H, W)" if batches else "")
        raise UsageError(f"an image of {shape = }, {dtype = }: give uint8 RGB of shape {allowed}")


def _is(images: _Shaped, axis: int) -> bool:
    """Whether ``axis`` may be the channel axis."""
    return bool(images.shape[axis] == 3)


def _channels_last(images: RGBFrames, *, channels_first: bool) -> tuple[RGBFrames, Callable[[RGBFrames], Any]]:
    if not channels_first:
        return images, lambda results: results
    frames = np.ascontiguousarray(np.moveaxis(images, -3, -1))
    return frames, lambda results: np.ascontiguousarray(np.moveaxis(results, -1, -3))


def _take_pillow(pillow: Any, image: Any) -> tuple[RGBFrames, Callable[[RGBFrames], Any]]:
    if image.mode in _DEEP_MODES or 0 in image.size:
        size, mode = image.size, image.mode
        raise UsageError(f"an image of {size = }, {mode = }: give one of 8 bits a channel, image.convert('RGB')")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgb = image.convert("RGB")

    def give_back(results: RGBFrames) -> Any:
        drawn = pillow.fromarray(results)
        if alpha is not None:
            drawn.putalpha(alpha)
        drawn.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return drawn

    return np.asarray(rgb), give_back
