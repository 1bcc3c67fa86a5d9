"""Values that shells suggest for an argument; other values may be allowed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

Values = Callable[[], Iterable[str]]
_ATTRIBUTE = "animevid_offers"


def offer(action: argparse.Action, values: Values) -> None:
    """Let shells suggest ``values()`` for ``action``; it is called when a completion script is generated."""
    setattr(action, _ATTRIBUTE, values)


def offered(action: argparse.Action) -> tuple[str, ...]:
    """The suggestions for ``action``: its choices, else those set by ``offer``."""
    if action.choices is not None:
        return tuple(str(choice) for choice in action.choices)
    values: Values = getattr(action, _ATTRIBUTE, tuple)
    return tuple(values())


def style_names() -> tuple[str, ...]:
    """The names of the installed styles."""
    from animevid.styles import list_styles

    return tuple(dict.fromkeys(style.card.name for style in list_styles()))


def _backend_names() -> tuple[str, ...]:
    from animevid.backends import backend_names

    return "auto", *backend_names()


def _preset_names() -> tuple[str, ...]:
    from animevid.io.encoders import X26X_PRESETS

    return X26X_PRESETS


#: Suggestions for flags of ``animevid.options`` that also take other values.
BY_FLAG: dict[str, Values] = {
    "--style": style_names,
    "--backend": _backend_names,
    "--preset": _preset_names,
    "--compare": lambda: ("side", "split"),
    "--net-size": lambda: ("full",),
    "--size": lambda: ("50%", "480p", "720p", "1080p"),
}
