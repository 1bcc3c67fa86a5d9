"""How fast an animation plays as a film: as browsers show it."""

from __future__ import annotations

from fractions import Fraction

from animevid.io.source import Source

_ANIMATIONS = frozenset({"gif", "apng", "webp"})
#: Browsers show a frame that is to last no longer than this for a tenth of a second (Gecko, WebKit and Blink alike).
_TOO_SHORT, _SHOWN = Fraction(1, 100), Fraction(1, 10)


class BrowserPace:
    """Moves the frames of an animation apart where they follow each other too fast. One thread uses it.

    An animation keeps its durations as they are, since whoever shows it does the same; a film's player does not.

    Args:
        template: the source of the frames.
    """

    def __init__(self, template: Source | None) -> None:
        self.is_animation = template is not None and template.info.container in _ANIMATIONS
        self._last: Fraction | None = None
        self._shift = Fraction(0)
        self._frames = 0

    def __call__(self, seconds: Fraction, duration: Fraction | None) -> tuple[Fraction, Fraction | None]:
        """Time and duration of a frame of ``seconds`` and ``duration``, as a film shows it."""
        if not self.is_animation:
            return seconds, duration
        step = None if self._last is None else seconds - self._last
        if step is not None and 0 < step <= _TOO_SHORT:
            self._shift += _SHOWN - step
            self._frames += 1
        self._last = seconds
        return seconds + self._shift, _SHOWN if duration is not None and duration <= _TOO_SHORT else duration

    @property
    def notices(self) -> tuple[str, ...]:
        """A line where frames were moved."""
        if not self._frames:
            return ()
        return (f"{self._frames} frames of 10 ms or less are shown for 100 ms, as browsers show them",)
