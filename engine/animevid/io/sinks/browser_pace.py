"""Gives a video made from an animation the speed that browsers show."""

from __future__ import annotations

from fractions import Fraction

from animevid.io.source import Source

_ANIMATIONS = frozenset({"gif", "apng", "webp"})
#: Browsers (Gecko, WebKit and Blink) show a frame of at most this duration for a tenth of a second.
_TOO_SHORT, _SHOWN = Fraction(1, 100), Fraction(1, 10)


class BrowserPace:
    """Stretches the too short frames of an animation. One thread uses it.

    Animated outputs keep their durations, since their viewers stretch them; video players do not.

    Args:
        template: the source of the frames.
    """

    def __init__(self, template: Source | None) -> None:
        self.is_animation = template is not None and template.info.container in _ANIMATIONS
        self._last: Fraction | None = None
        self._shift = Fraction(0)
        self._frames = 0

    def __call__(self, seconds: Fraction, duration: Fraction | None) -> tuple[Fraction, Fraction | None]:
        """The time and duration in the video of the frame at ``seconds`` with ``duration``."""
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
        """A line if frames were stretched."""
        if not self._frames:
            return ()
        return (f"{self._frames} frames of 10 ms or less are shown for 100 ms, as browsers show them",)
