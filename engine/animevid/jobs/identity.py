"""A job's identity: the names and values that a resumed run must share."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path

import av

from animevid.declare import Options, declaration_of
from animevid.options import ConversionOptions
from animevid.render.stylizer import Stylizer

_SAMPLE_BYTES = 1 << 20


def job_identity(src: Path, options: ConversionOptions, *, stylizer: Stylizer, size: tuple[int, int]) -> dict[str, str]:
    """Name -> value of all that the frames of a job depend on. ``size`` is the output's (height, width)."""
    from animevid import __version__

    identity = {
        "source": source_identity(src),
        "style": f"{stylizer.card.name} ({style_identity(stylizer)})",
        "size": f"{size[1]}x{size[0]}",
        "version of animevid": __version__,
        "version of the codecs": av.library_versions["libavcodec"].__repr__().strip("()").replace(", ", "."),
    }
    return (
        identity | _values(options) | {f"encoder's {name}": value for name, value in _values(options.encoder).items()}
    )


def _values(options: Options) -> dict[str, str]:
    """The options on which frames depend."""
    found = {}
    for field in fields(options):
        declared, value = declaration_of(field), getattr(options, field.name)
        if declared is not None and declared.in_identity:
            found[field.name] = str(value)
    return found


def source_identity(path: Path) -> str:
    """A file's size and a digest of its beginning, middle and end: fast for a file of any length."""
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
    """The differences, one per name: ``style: aozora -> cel``."""
    return [
        f"{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
