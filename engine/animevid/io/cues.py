"""Text subtitles: their plain text, and merging overlapping cues for formats that do not allow overlap."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ASS_DRAWING = re.compile(r"\{[^}]*\\p[1-9]\d*[^}]*\}.*?(?:\{[^}]*\\p0[^}]*\}|$)", re.DOTALL)
_OVERRIDE = re.compile(r"\{[^}]*\}")
_SRT_OVERRIDE = re.compile(r"\{\\[^}]*\}")
_TAG = re.compile(r"</?(?:b|i|u|s|font|c|v|lang|ruby|rt|span)\b[^>]*>|<\d\d:\d\d[\d:.]*>", re.IGNORECASE)
_FAR = 1 << 62


def subtitle_text(payload: bytes, *, codec: str) -> str:
    """The plain text of one subtitle packet: styling and drawings are removed, entities resolved."""
    if codec == "mov_text":  # 3GPP TS 26.245: two bytes of length, then UTF-8, then style boxes
        length = int.from_bytes(payload[:2], "big")
        return payload[2 : 2 + length].decode("utf-8", "replace")
    text = payload.decode("utf-8", "replace")
    if codec in ("ass", "ssa"):  # ReadOrder,Layer,Style,Name,MarginL,MarginR,MarginV,Effect,Text
        text = text.split(",", 8)[-1]
        text = _OVERRIDE.sub("", _ASS_DRAWING.sub("", text))
        return text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    if codec in ("subrip", "srt", "webvtt"):
        text = _SRT_OVERRIDE.sub("", text) if codec != "webvtt" else text
        text = re.sub(r"<br\s*/?>", "\n", text, flags=re.IGNORECASE)
        return html.unescape(_TAG.sub("", text))
    return text


def webvtt_text(text: str) -> str:
    """``text`` escaped as a WebVTT cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(slots=True)
class Cue:
    """A text from ``start`` to ``end``, in ticks."""

    start: int
    end: int
    text: str


@dataclass(slots=True)
class Stacked:
    """Turns overlapping cues into consecutive ones: where several are on screen, one cue has all their texts.

    ``add`` takes cues in order of their start. A cue is returned once its end is known.
    """

    _shown: list[Cue] = field(default_factory=list)
    _now: int = 0

    def add(self, cue: Cue) -> Iterator[Cue]:
        """The cues that end before ``cue`` begins."""
        yield from self._until(cue.start)
        self._shown.append(cue)

    def flush(self) -> Iterator[Cue]:
        """The remaining cues."""
        yield from self._until(_FAR)

    def _until(self, moment: int) -> Iterator[Cue]:
        while self._shown and self._now < moment:
            end = min(moment, *(cue.end for cue in self._shown)) if self._shown else moment
            if end > self._now:
                yield Cue(self._now, end, "\n".join(cue.text for cue in self._shown))
            self._now = max(end, self._now)
            self._shown = [cue for cue in self._shown if cue.end > self._now]
        if moment != _FAR:
            self._now = max(moment, self._now) if self._shown else moment
