"""A DASH manifest as plain values: periods, and in each the representations with the place of their segments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from animevid.io.dash.xml_tree import Element, parse_xml

_MAX_PERIODS = 1000
_DURATION = re.compile(
    r"P(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})D)?"
    r"(?:T(?:(\d{1,12})H)?(?:(\d{1,12})M)?(?:(\d{1,12}(?:\.\d{1,12})?)\d*S)?)?"
)
_DURATION_SECONDS = (31_536_000, 2_592_000, 86_400, 3600, 60, 1)
#: Descriptors that a player must understand to use a set, and that mean it is not the video itself.
_BESIDE_THE_VIDEO = (
    "http://dashif.org/guidelines/trickmode",
    "urn:mpeg:dash:srd:",
    "http://dashif.org/guidelines/thumbnail",
)


@dataclass(frozen=True, slots=True)
class Addressing:
    """How a representation names its segments, with what its period and its set say already.

    Args:
        kind: ``SegmentTemplate``, ``SegmentList``, ``SegmentBase`` or, without any of them, an empty text.
        attributes: of that element.
        elements: its children by name; those of the innermost level that has any.
        base: the ``BaseURL`` elements on the way to the representation, outermost first.
    """

    kind: str
    attributes: dict[str, str]
    elements: dict[str, list[Element]]
    base: tuple[str, ...]

    def number(self, name: str, default: int) -> int:
        """An attribute that is a whole number.

        Raises:
            ValueError: it is none.
        """
        return whole_number(self.attributes.get(name), default)

    @property
    def timescale(self) -> int:
        return max(1, self.number("timescale", 1))

    @property
    def offset_seconds(self) -> Fraction:
        """The time in the segments at which the period begins."""
        return Fraction(self.number("presentationTimeOffset", 0), self.timescale)


@dataclass(frozen=True, slots=True)
class Representation:
    """One variant of the video or of a sound."""

    name: str
    kind: str
    codecs: tuple[str, ...]
    bandwidth: int
    width: int
    height: int
    rate: Fraction
    language: str
    roles: tuple[str, ...]
    label: str
    is_encrypted: bool
    addressing: Addressing


@dataclass(frozen=True, slots=True)
class Period:
    """A section of the presentation; ``duration_seconds`` is ``None`` for a last one of unknown length."""

    start_seconds: Fraction
    duration_seconds: Fraction | None
    is_last: bool
    representations: tuple[Representation, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    is_live: bool
    duration_seconds: Fraction | None
    periods: tuple[Period, ...]


def whole_number(text: str | None, default: int) -> int:
    """``text`` as a whole number that is not negative.

    Raises:
        ValueError: it is not, or far too large.
    """
    if text is None:
        return default
    if not re.fullmatch(r"\s*\+?[0-9]{1,20}\s*", text):
        raise ValueError(f"{text[:40]!r} stands where a number is expected")
    return int(text)


def read_manifest(data: bytes) -> Manifest:
    """The manifest in ``data``.

    Raises:
        ValueError: it is not a manifest, or a damaged or oversized one; the message says what is wrong.
    """
    root = parse_xml(data)
    if root.name != "MPD":
        raise ValueError(f"its root element is {root.name[:40]!r}, not MPD")
    elements = list(root.all("Period"))
    if len(elements) > _MAX_PERIODS:
        raise ValueError(f"it has more than {_MAX_PERIODS} periods")
    whole = _duration(root.attributes.get("mediaPresentationDuration"))
    starts: list[Fraction] = []
    lengths = [_duration(element.attributes.get("duration")) for element in elements]
    for at, element in enumerate(elements):
        start = _duration(element.attributes.get("start"))
        if start is None:
            start = starts[-1] + (lengths[at - 1] or 0) if starts else Fraction(0)
        starts.append(start)
    periods = []
    ends = [*starts[1:], whole][: len(starts)]
    for element, start, length, following in zip(elements, starts, lengths, ends, strict=True):
        if following is not None and following > start:
            length = following - start if length is None else min(length, following - start)
        periods.append(Period(start, length, element is elements[-1], tuple(_representations(root, element))))
    return Manifest(root.attributes.get("type") == "dynamic", whole, tuple(periods))


def _representations(root: Element, period: Element) -> Iterator[Representation]:
    for group in period.all("AdaptationSet"):
        if any(is_beside_the_video(each) for each in group.all("EssentialProperty")):
            continue
        for element in group.all("Representation"):
            given = {**group.attributes, **element.attributes}
            codecs = tuple(part.strip() for part in given.get("codecs", "").split(",") if part.strip())
            yield Representation(
                name=element.attributes.get("id", ""),
                kind=_kind(group, given),
                codecs=codecs,
                bandwidth=whole_number(given.get("bandwidth"), 0),
                width=whole_number(given.get("width"), 0),
                height=whole_number(given.get("height"), 0),
                rate=_rate(given.get("frameRate", "")),
                language=given.get("lang", ""),
                roles=tuple(sorted(each.attributes.get("value", "") for each in group.all("Role"))),
                label=next((each.text for each in group.all("Label")), group.attributes.get("label", "")),
                is_encrypted=any(level.first("ContentProtection") is not None for level in (group, element)),
                addressing=_addressing((root, period, group, element)),
            )


def is_beside_the_video(descriptor: Element) -> bool:
    """Whether an ``EssentialProperty`` marks a set for fast forward, a tile of a larger picture or thumbnails."""
    return descriptor.attributes.get("schemeIdUri", "").startswith(_BESIDE_THE_VIDEO)


def _kind(group: Element, given: dict[str, str]) -> str:
    mime = given.get("mimeType", "").partition("/")[0] or next(
        (each.attributes.get("mimeType", "").partition("/")[0] for each in group.all("Representation")), ""
    )
    return given.get("contentType") or ("text" if mime == "application" else mime)


def _addressing(levels: Sequence[Element]) -> Addressing:
    attributes: dict[str, str] = {}
    elements: dict[str, list[Element]] = {}
    kind, base = "", []
    for level in levels:
        found = next((child for child in level.children if child.name in _ADDRESSINGS), None)
        if found is not None:
            if found.name != kind:
                attributes, elements, kind = {}, {}, found.name
            attributes.update(found.attributes)
            inner: dict[str, list[Element]] = {}
            for child in found.children:
                inner.setdefault(child.name, []).append(child)
            elements.update(inner)
        url = level.first("BaseURL")
        if url is not None:
            base.append(url.text)
    return Addressing(kind, attributes, elements, tuple(base))


_ADDRESSINGS = ("SegmentTemplate", "SegmentList", "SegmentBase")


def _duration(text: str | None) -> Fraction | None:
    """An ISO 8601 duration, in seconds.

    Raises:
        ValueError: it is none.
    """
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text[:40]!r} stands where a duration is expected")
    return sum(
        (Fraction(part) * unit for part, unit in zip(found.groups(), _DURATION_SECONDS, strict=True) if part),
        Fraction(0),
    )


def _rate(text: str) -> Fraction:
    found = re.fullmatch(r"([0-9]{1,9})(?:/([1-9][0-9]{0,8}))?", text.strip())
    return Fraction(int(found[1]), int(found[2] or 1)) if found else Fraction(0)
