"""Finds styles by name, file or URL. Names are looked up in the user's folder, then in the package.

A style ``NAME`` is the file ``NAME.onnx``; its larger, better-looking variant is ``NAME-high.onnx``, a quantized one
``NAME-int8.onnx`` (or ``NAME-high-int8.onnx``).
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from animevid.card_hints import CardHints
from animevid.declare import keywords_of
from animevid.errors import StyleError, UsageError
from animevid.options import StyleChoice
from animevid.styles.adapt import with_weights_inside
from animevid.styles.card import PRECISIONS, QUALITIES, StyleCard, read_card
from animevid.styles.folders import cache_folder, user_styles_folder
from animevid.styles.onnx_file import MAX_BYTES, has_external_data
from animevid.styles.trial import try_out

_LOG = logging.getLogger(__name__)

#: The default style: a bright landscape look.
DEFAULT_STYLE = "aozora"

_SHIPPED = Path(__file__).resolve().parent
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclass(frozen=True)
class Style:
    """A style: its card, and its ONNX file, which is read when ``model`` is first used.

    Args:
        card (StyleCard): its metadata.
        path (Path): the file.
        allow_int8 (bool): whether its INT8 file may be used if that is faster (the style was chosen by name only).
        has_card (bool): whether the file has a card. ``list_styles`` also lists files without one, and does not run
            them to infer it; ``with_card`` does.
    """

    card: StyleCard
    path: Path
    allow_int8: bool = False
    has_card: bool = True

    @cached_property
    def model(self) -> bytes:
        """The serialized ONNX file.

        Raises:
            StyleError: it can no longer be read.
        """
        return _read(self.path)

    def with_card(self) -> Style:
        """This style, with a card inferred from the network if the file has none (see ``open_style``).

        Raises:
            StyleError: it cannot be read, or is not a stylizer.
        """
        if self.has_card:
            return self
        found = _open(self.path, hints=None, name=self.card.name, allow_int8=self.allow_int8)
        return replace(found, card=replace(found.card, quality=self.card.quality))

    def int8(self) -> Style | None:
        """Its INT8 file: ``NAME-int8.onnx`` beside ``NAME.onnx``, made from the same style; ``None`` if there is none.

        A file that cannot be read, or belongs to another version of the style, is ignored with a log message.
        """
        beside = self.path.with_name(f"{self.path.stem}-int8.onnx")
        if self.card.precision != "fp32" or not beside.is_file():
            return None
        try:
            style = _open(beside, hints=None, name=beside.stem)
        except StyleError as error:
            _LOG.warning("%s is left out, the float32 style is used (%s); delete it or export it again", beside, error)
            return None
        if not self.card.weights_sha256 or _what_is_drawn(style.card) != _what_is_drawn(self.card):
            _LOG.warning("%s is of another version of %s and is left out; export it again", beside, self.path.name)
            return None
        return style


def open_style(options: StyleChoice) -> Style:
    """The style given by name, by the path of an ONNX file, or by an http(s) URL with its ``sha256``;
    ``None`` is the default style, a loaded one is returned unchanged.

    ``quality`` (``None``, ``"fast"`` or ``"high"``, if there is such a file) and ``precision`` (``None``: float32;
    ``"int8"``) choose among the files of a name and have no effect for a path or a URL. A file without a card is
    inspected; ``hints`` overrides what would be inferred, and is refused for a file with a card.

    Raises:
        UsageError: an unknown quality, precision or checksum; an open stylizer.
        StyleError: no such style, or not a stylizer.
    """
    spec, sha256, hints = options.style, options.sha256, options.hints
    if isinstance(spec, Style):
        return spec
    if options.quality is not None and options.quality not in QUALITIES:
        raise UsageError(f"quality = {options.quality!r}: allowed are {', '.join(QUALITIES)}")
    if options.precision is not None and options.precision not in PRECISIONS:
        raise UsageError(f"precision = {options.precision!r}: allowed are {', '.join(PRECISIONS)}")
    if spec is None:
        spec = DEFAULT_STYLE
    if not isinstance(spec, str | os.PathLike):
        raise UsageError(f"style = {spec!r} is not a style: give a name, an .onnx file, a URL or a loaded Style")
    text = os.fspath(spec)
    if isinstance(spec, str) and _URL.match(text):
        from animevid.styles.download import fetch  # importing urllib takes 40 ms, and only downloads need it

        path = fetch(text, cache_folder() / "styles", sha256=sha256)
        return _open(path, hints=hints, name=_name_in_url(text), is_downloaded=True)
    if sha256 is not None:
        raise UsageError(f"{sha256 = } goes with a URL, not with {text!r}")
    if not isinstance(spec, str) or text.endswith(".onnx") or os.sep in text or "/" in text:
        return _open(Path(text), hints=hints, name=Path(text).stem)
    path = _find(text, quality=options.quality, precision=options.precision)
    return _open(path, hints=hints, name=text, allow_int8=options.precision is None)


load_style = keywords_of(StyleChoice)(open_style)


def _what_is_drawn(card: StyleCard) -> StyleCard:
    """``card`` without the fields that differ between files of one style."""
    return replace(card, name=".", title="", description="", recipe="", precision="fp32")


def list_styles() -> tuple[Style, ...]:
    """Every style with a name, the default one first, each followed by its ``high`` variant. No model is run.

    A file that is not a style is left out, with a warning in the log.
    """
    styles = []
    for name, path in _named_files().items():
        try:
            model = _read(path)
            card = read_card(model)
        except (StyleError, MemoryError) as error:
            _LOG.warning("%s is left out: %s", path, error or "it does not fit into memory")
            continue
        base, quality, precision = _split(name)
        if precision is not None:
            continue
        has_card = card is not None
        card = card or StyleCard(name=base, description="no card in the file: limits are inferred when it is used")
        styles.append(Style(replace(card, name=base, quality=quality), path, allow_int8=True, has_card=has_card))
    return tuple(sorted(styles, key=lambda s: (s.card.name != DEFAULT_STYLE, s.card.name, s.card.quality)))


def _open(
    path: Path, *, hints: CardHints | None, name: str, allow_int8: bool = False, is_downloaded: bool = False
) -> Style:
    model = _read(path)
    if has_external_data(model):
        model = with_weights_inside(model, path, is_own=not is_downloaded)
    card = read_card(model)
    if card is not None and hints is not None and hints != CardHints():
        raise UsageError(f"{str(path)!r} has a card, which says what it expects; leave out {_named(hints)}")
    if card is None:
        model, card = try_out(model, name=name, hints=hints)
        _LOG.info("%s has no card; inferred: %s", path, card)
    elif path.resolve().parent != _SHIPPED:
        model, card = try_out(model, name=name, card=card)
    style = Style(card, path, allow_int8)
    style.__dict__["model"] = model  # already in memory: fill the cached property
    return style


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a FIFO would block, a device never ends
            raise StyleError(
                f"{str(path)!r} cannot be read: it is not a file; give a style's name, an .onnx file or a URL"
            )
        if status.st_size > MAX_BYTES:
            raise StyleError(f"{str(path)!r} has {status.st_size} bytes; a style has at most {MAX_BYTES}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise StyleError(f"{str(path)!r} does not exist; give a style's name, an .onnx file or a URL") from error
    except OSError as error:
        raise StyleError(f"{str(path)!r} cannot be read ({error.strerror})") from error


def _find(name: str, *, quality: str | None, precision: str | None) -> Path:
    files = _named_files()
    suffix = "-int8" if precision == "int8" else ""
    for wanted in (f"{name}-high{suffix}",) * (quality == "high") + (name + suffix,):
        if wanted in files:
            return files[wanted]
    names = sorted({_split(found)[0] for found in files})
    if name in names:
        variants = ", ".join(sorted(found for found in files if _split(found)[0] == name))
        raise StyleError(f"the style {name!r} has no variant with {quality = }, {precision = }; there is {variants}")
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    question = f"; did you mean {near[0]!r}?" if near else "."
    raise StyleError(
        f"there is no style {name!r}{question} There are: {', '.join(names) or 'none installed'}; or give an .onnx file"
    )


def _named_files() -> dict[str, Path]:
    """File stem -> path; the user's files override shipped ones of the same name."""
    return {path.stem: path for folder in (_SHIPPED, user_styles_folder()) for path in _onnx_files(folder)}


def _onnx_files(folder: Path) -> Iterator[Path]:
    try:
        paths = sorted(folder.glob("*.onnx"))
    except OSError as error:
        _LOG.warning("%s cannot be read: %s", folder, error)
        return
    for path in paths:
        with suppress(OSError):  # a link into another user's folder: list the others
            if path.is_file():
                yield path


def _split(stem: str) -> tuple[str, str, str | None]:
    """``"ehon-high-int8"`` -> ``("ehon", "high", "int8")``."""
    precision = None
    if stem.endswith("-int8"):
        stem, precision = stem.removesuffix("-int8"), "int8"
    if stem.endswith("-high"):
        return stem.removesuffix("-high"), "high", precision
    return stem, "fast", precision


def _name_in_url(url: str) -> str:
    return Path(url.partition("#")[0].partition("?")[0]).stem or "style"


def _named(hints: CardHints) -> str:
    names = ("layout", "colour_order", "input_range", "output_range", "size_multiple")
    return ", ".join(name for name in names if getattr(hints, name) is not None)
