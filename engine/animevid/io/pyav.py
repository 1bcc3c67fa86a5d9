"""Differences between the versions of PyAV that animevid supports: 18 (Python 3.11) and 19 (Python 3.12 and newer).

PyAV 19 decodes damaged metadata leniently by itself and has no ``metadata_errors`` any more. It also gives rationals as
``av.rational.AVRational``, which has no ``abs``; stored times and ratios become ``fractions.Fraction`` here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import av

if TYPE_CHECKING:
    from av.rational import AVRational
    from av.stream import Stream

    #: A ratio or time base, as PyAV 18 and 19 have it.
    Rational: TypeAlias = Fraction | AVRational

#: FFmpeg's own time base.
MICROSECOND = Fraction(1, 1_000_000)
_MAJOR = int(av.__version__.partition(".")[0])


class _MetadataErrors(TypedDict, total=False):
    metadata_errors: str


#: Keyword arguments of ``av.open`` for reading: metadata bytes that are not UTF-8 are replaced instead of an error.
LENIENT_METADATA: _MetadataErrors = {"metadata_errors": "replace"} if _MAJOR < 19 else {}


def to_fraction(value: Rational | None) -> Fraction | None:
    """PyAV's rational ``value`` as a ``Fraction``; ``None`` if it is ``None``, zero or undefined (0/0)."""
    if not value or not value.denominator:
        return None
    return Fraction(value.numerator, value.denominator)


def time_base_of(stream: Stream) -> Fraction:
    """The duration of a tick of ``stream``, in seconds; FFmpeg's own time base if it has none."""
    return to_fraction(stream.time_base) or MICROSECOND
