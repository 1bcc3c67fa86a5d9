"""How values are written as text: times, sizes, shares. Each function raises what argparse turns into one line."""

from __future__ import annotations

import operator
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from animevid.errors import OptionError

MAX_SIDE = 16384
#: (height, width) of a frame -> those of the output.
SizeRule: TypeAlias = Callable[[int, int], tuple[int, int]]


def parse_time(text: str) -> Fraction:
    """``90``, ``12.5``, ``1:30`` or ``1:02:03.25`` as exact seconds."""
    if not re.fullmatch(r"(?:(?:\d+:)?[0-5]?\d:)?\d+(?:\.\d+)?", text):
        raise ArgumentTypeError(f"{text!r} is not a time; give seconds (12.5) or [hours:]minutes:seconds (1:02:03.25)")
    seconds = Fraction(0)
    for part in text.split(":"):
        seconds = seconds * 60 + Fraction(part)
    return seconds


@dataclass(frozen=True, slots=True)
class FrameSize:
    """A frame size as users write it: both sides, one side, or a percentage of the original."""

    width: int | None = None
    height: int | None = None
    scale: Fraction | None = None

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Like ``of``, but takes and returns (height, width)."""
        new_width, new_height = self.of(width, height)
        return new_height, new_width

    def of(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) for a source of that size, keeping its shape where only one side is given; always even."""
        if self.scale is not None:
            target = width * self.scale, height * self.scale
        elif self.width is not None and self.height is not None:
            target = Fraction(self.width), Fraction(self.height)
        elif self.height is not None:
            target = Fraction(width * self.height, height), Fraction(self.height)
        else:
            assert self.width is not None
            target = Fraction(self.width), Fraction(height * self.width, width)
        return max(round(target[0] / 2), 1) * 2, max(round(target[1] / 2), 1) * 2


def parse_seconds(text: str) -> float:
    """A time as ``parse_time`` reads it, rounded to a ``float``."""
    return float(parse_time(text))


def parse_camera_size(text: str) -> tuple[int, int]:
    """A size as ``parse_size`` reads it, for a camera of 640x360: (height, width)."""
    return parse_size(text)(360, 640)


def parse_rate(text: str) -> Fraction:
    """``30``, ``29.97`` or ``30000/1001``, above 0 and at most 240."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 240:
        raise ArgumentTypeError(f"{text!r} is not a rate; give frames a second, above 0 to 240")
    return rate


def parse_size(text: str) -> FrameSize:
    """``1280x720``, ``720p`` (height, shape kept), ``1280x`` (width, shape kept) or ``50%``."""
    if match := re.fullmatch(r"(\d+)x(\d+)", text):
        size = FrameSize(width=int(match[1]), height=int(match[2]))
    elif match := re.fullmatch(r"(\d+)p|x(\d+)", text):
        size = FrameSize(height=int(match[1] or match[2]))
    elif match := re.fullmatch(r"(\d+)x", text):
        size = FrameSize(width=int(match[1]))
    elif match := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
        size = FrameSize(scale=Fraction(match[1]) / 100)
    else:
        raise ArgumentTypeError(f"{text!r} is not a size; give 1280x720, 720p, 1280x or 50%")
    sides = [side for side in (size.width, size.height, size.scale) if side is not None]
    if any(side <= 0 for side in sides) or any(side > MAX_SIDE for side in (size.width or 0, size.height or 0)):
        raise ArgumentTypeError(f"{text!r} is out of limits; a side has 1 to {MAX_SIDE} pixels")
    return size


def read_size(size: str | tuple[int, int] | SizeRule | None) -> tuple[int, int] | SizeRule | None:
    """``size`` as options store it: text is parsed; (height, width), a function and ``None`` are kept.

    Raises:
        OptionError: anything else.
    """
    try:
        if isinstance(size, str):
            return parse_size(size)
        if size is None or callable(size):
            return size
        height, width = (operator.index(side) for side in size)
        if 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE:
            return height, width
    except ArgumentTypeError as error:
        raise OptionError(f"{size = }: {error}") from None
    except (TypeError, ValueError):
        pass
    raise OptionError(f"{size = } is not a size; give '1280x720', '720p', '1280x' or '50%', or (height, width)")


def parse_moment(text: str) -> tuple[int | None, Fraction | None]:
    """A frame's number (``120``), or a time as ``parse_time`` reads it (``12.5``, ``0:12``); the other is ``None``."""
    return (int(text), None) if text.isascii() and text.isdecimal() else (None, parse_time(text))


def parse_net_size(text: str) -> int:
    """``640x360`` as a number of pixels; ``full`` as 0."""
    if text == "full":
        return 0
    if match := re.fullmatch(r"(\d+)x(\d+)", text):
        pixels = int(match[1]) * int(match[2])
        if pixels >= 32 * 32:
            return pixels
    raise ArgumentTypeError(f"{text!r} is not a size for the network; give 640x360 (32x32 or more) or full")


def parse_share(text: str) -> float:
    """A number 0..1, or 0 %..100 %."""
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ArgumentTypeError(f"{text!r} is not a share; give 0 to 1")
    return share


def parse_count(text: str) -> int:
    """A whole number, 0 or more."""
    if not re.fullmatch(r"\d{1,6}", text):
        raise ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def parse_unless_none(text: str) -> str | None:
    """The text itself; ``none`` as ``None``."""
    return None if text == "none" else text


def parse_bitrate(text: str) -> int:
    """``2500k``, ``4M`` or bits per second."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKM]?)", text)
    bits = round(Fraction(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2].replace("K", "k")]) if match else 0
    if bits <= 0:
        raise ArgumentTypeError(f"{text!r} is not a bit rate; give 2500k, 4M or bits per second")
    return bits


def parse_range(text: str) -> tuple[float, float]:
    """``-1:1`` as (black, white)."""
    black, _, white = text.partition(":")
    try:
        low, high = float(black), float(white)
    except ValueError:
        low = high = 0.0
    if low == high or not (abs(low) <= 1e6 and abs(high) <= 1e6):
        raise ArgumentTypeError(f"{text!r} is not a range; give black and white as -1:1, 0:1 or 0:255")
    return low, high


def parse_compare(text: str) -> tuple[str, float]:
    """``side``, ``split`` or ``split:0.3`` as (mode, position of the line)."""
    mode, _, position = text.partition(":")
    if mode == "side" and not position:
        return "side", 0.5
    if mode == "split":
        return "split", parse_share(position) if position else 0.5
    raise ArgumentTypeError(f"{text!r} is not a comparison; give side, split or split:0.3")
