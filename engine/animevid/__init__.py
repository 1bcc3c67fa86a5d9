"""animevid: anime stylization of video, in real time on a CPU.

::

    import animevid

    animevid.stylize("in.mp4", "out.mp4")                    # sound, subtitles and tags are kept

    with animevid.Stylizer() as stylizer:                    # NumPy, Pillow or torch in, the same out
        image = stylizer(image)

    for frame in animevid.stylized_frames("in.mp4"):         # Frame: planes and exact time
        rgb = frame.to_rgb()

``animevid.errors`` has all exceptions that animevid raises on purpose. Names are loaded at first use, so
``import animevid`` is cheap.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from animevid import errors

if TYPE_CHECKING:
    from animevid.api import stylize, stylized_frames
    from animevid.options import EncodeOptions
    from animevid.render.stylizer import Stylizer
    from animevid.render.temporal import TemporalFilter
    from animevid.styles import Style, list_styles

__version__ = "0.1.0"

# Nothing leaves the machine: from 1.29 on, ONNX Runtime reports to its maker as soon as it is imported, unless this is
# set before. Every process of ours imports this module first, the sandboxed ones too.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = [
    "EncodeOptions",
    "Style",
    "Stylizer",
    "TemporalFilter",
    "__version__",
    "errors",
    "list_styles",
    "stylize",
    "stylized_frames",
]

_PUBLIC = {
    "EncodeOptions": "animevid.options",
    "TemporalFilter": "animevid.render.temporal",
    "Style": "animevid.styles",
    "Stylizer": "animevid.render.stylizer",
    "list_styles": "animevid.styles",
    "stylize": "animevid.api",
    "stylized_frames": "animevid.api",
}


#: Former public names -> present ones.
_ALIASES = {"EncoderSettings": "EncodeOptions", "SteadySteps": "TemporalFilter"}


def __getattr__(name: str) -> object:
    name = _ALIASES.get(name, name)
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
