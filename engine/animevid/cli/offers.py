"""Values that a shell offers for an argument, whether or not the argument takes others too."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

Values = Callable[[], Iterable[str]]
_ATTRIBUTE = "animevid_offers"


def offer(action: argparse.Action, values: Values) -> None:
    """Let shells offer ``values()`` for ``action``, which is asked for when a completion script is made."""
    setattr(action, _ATTRIBUTE, values)


def offered(action: argparse.Action) -> tuple[str, ...]:
    """What is to be offered for ``action``: its choices, else what ``offer`` was given."""
    if action.choices is not None:
        return tuple(str(choice) for choice in action.choices)
    values: Values = getattr(action, _ATTRIBUTE, tuple)
    return tuple(values())


def style_names() -> tuple[str, ...]:
    """The styles that are installed."""
    from animevid.styles import list_styles

    return tuple(dict.fromkeys(style.card.name for style in list_styles()))


def _backend_names() -> tuple[str, ...]:
    from animevid.backends import backend_names

    return "auto", *backend_names()


def _preset_names() -> tuple[str, ...]:
    from animevid.io.encoders import X26X_PRESETS

    return X26X_PRESETS


#: Flags of ``animevid.options`` that take more than what is offered.
BY_FLAG: dict[str, Values] = {
    "--style": style_names,
    "--backend": _backend_names,
    "--preset": _preset_names,
    "--compare": lambda: ("side", "split"),
    "--net-size": lambda: ("full",),
    "--size": lambda: ("50%", "480p", "720p", "1080p"),
}
