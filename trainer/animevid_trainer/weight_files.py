"""Files of published weights: fetched once, checked against what their publisher states, read as named tensors."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from animevid.errors import TrainingError
from animevid.http_fetch import FetchError, FetchLimits, body, content_length, open_response
from animevid.styles import folders
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_LOG = logging.getLogger(__name__)
_LIMITS = FetchLimits(max_bytes=1 << 30, max_seconds=3600.0, min_bytes_per_second=16 << 10)


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Where a checkpoint is published. ``sha256_prefix`` is the part of the digest that its publisher states,
    ``megabytes`` the size of the file."""

    url: str
    sha256_prefix: str
    megabytes: int = 0


def cache_folder() -> Path:
    """Where downloads are kept: ``$ANIMEVID_CACHE``, or the engine's cache folder."""
    override = os.environ.get("ANIMEVID_CACHE")
    return Path(override).expanduser() if override else folders.cache_folder()


def fetch_weights(
    source: PublishedWeights,
    *,
    what: str,
    flag: str,
    way_out: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The published file in the cache; downloaded, checked and renamed whole where it is missing.

    Args:
        what: of what these weights are, for messages: "vgg19's weights, which ..."
        flag: the option that takes the file when it was fetched by hand
        way_out: advice for users without network access
        on_progress: called with the downloaded megabytes and the total

    Raises:
        TrainingError: no network, a server's refusal, a full disk, or another SHA-256 than published.
    """
    target = cache_folder() / source.url.rsplit("/", 1)[-1]
    if target.is_file():
        return target
    partial = target.with_suffix(target.suffix + f".part{os.getpid()}")
    _LOG.info("downloading %s to %s", source.url, target)
    digest, megabytes = hashlib.sha256(), 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_response(source.url, _LIMITS) as response, partial.open("wb") as file:
            for chunk in body(response, _LIMITS, shown=source.url):
                digest.update(chunk)
                file.write(chunk)
                if on_progress is not None and file.tell() // 10**6 != megabytes:
                    megabytes = file.tell() // 10**6
                    on_progress(megabytes, source.megabytes)
            if content_length(response, source.url) not in (None, file.tell()):
                raise FetchError(f"{source.url} was interrupted at {file.tell()} bytes")
        if not digest.hexdigest().startswith(source.sha256_prefix):
            raise TrainingError(
                f"{source.url!r} arrived with sha256 {digest.hexdigest()}, published is {source.sha256_prefix}...; "
                f"fetch the file by hand and name it with {flag}"
            )
        os.replace(partial, target)
    except (OSError, FetchError) as error:
        raise TrainingError(f"{what} cannot be downloaded ({error}); {way_out}") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return target


def read_weights(path: Path, *, what: str = "perceptual weights") -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.pth`` file by name. ``what`` names them in messages.

    Raises:
        TrainingError: no such file, or one that holds something else.
    """
    if not path.is_file():
        raise TrainingError(f"{what} {str(path)!r}: no such file; name a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{what} {str(path)!r} cannot be read ({first_line})") from error
    except Exception as error:  # torch.load raises pickle's own errors for foreign files
        raise TrainingError(f"{what} {str(path)!r} are not a tensor checkpoint") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TrainingError(f"{what} {str(path)!r} are not a flat dictionary of tensors")
    return dict(state)


def copy_into(target: Tensor, state: Mapping[str, Tensor], key: str) -> None:
    """Give ``target`` the values of ``state[key]``.

    Raises:
        TrainingError: there are none, or of another shape.
    """
    source = state.get(key)
    if source is None or source.shape != target.shape:
        arrived = "nothing" if source is None else str(tuple(source.shape))
        raise TrainingError(f"{key!r}: {arrived} found, {tuple(target.shape)} needed")
    with torch.no_grad():
        target.copy_(source)
