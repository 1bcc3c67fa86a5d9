"""What a job was asked for, as names and values that can be compared with those of the next run."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import av

from animevid.render.stylizer import Stylizer

if TYPE_CHECKING:
    from animevid.run.conversion import ConversionOptions

_SAMPLE_BYTES = 1 << 20
#: Options that do not change a picture, and those that are told in other words.
_LEFT_OUT = frozenset(
    {"style", "threads", "overwrite", "reconnect_seconds", "real_time", "encoder", "size", "sha256", "device"}
)


def job_identity(src: Path, options: ConversionOptions, *, stylizer: Stylizer, size: tuple[int, int]) -> dict[str, str]:
    """Name -> value of all that the pictures of a job depend on. ``size`` is the output's (height, width)."""
    from animevid import __version__

    identity = {
        "source": source_identity(src),
        "style": f"{stylizer.card.name} ({style_identity(stylizer)})",
        "size": f"{size[1]}x{size[0]}",
        "version of animevid": __version__,
        "version of the codecs": av.library_versions["libavcodec"].__repr__().strip("()").replace(", ", "."),
    }
    for field in fields(options):
        if field.name not in _LEFT_OUT:
            identity[field.name] = str(getattr(options, field.name))
    for field in fields(options.encoder):
        if field.name != "threads":
            identity[f"encoder's {field.name}"] = str(getattr(options.encoder, field.name))
    return identity


def source_identity(path: Path) -> str:
    """A file's size and a digest of its beginning, middle and end: quick for a film of any length."""
    size = path.stat().st_size
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        for offset in sorted({0, max(0, size // 2 - _SAMPLE_BYTES // 2), max(0, size - _SAMPLE_BYTES)}):
            file.seek(offset)
            digest.update(file.read(_SAMPLE_BYTES))
    return f"{size} bytes, {digest.hexdigest()}"


def style_identity(stylizer: Stylizer) -> str:
    """A digest of a style's file."""
    return hashlib.blake2b(stylizer.style.model, digest_size=8).hexdigest()


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What changed, one part a name: ``style: aozora -> cel``."""
    return [
        f"{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
