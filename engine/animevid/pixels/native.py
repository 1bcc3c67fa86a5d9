"""Loads the compiled kernels, or warns once that their NumPy/OpenCV references run instead.

``ANIMEVID_NO_NATIVE=1`` forces the references. ``kernels`` is ``None`` if there are no compiled kernels.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from types import ModuleType

_log = logging.getLogger(__name__)


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get("ANIMEVID_NO_NATIVE", "") not in ("", "0"):
        _log.info("ANIMEVID_NO_NATIVE is set: pixels are converted by NumPy and OpenCV, which is slower")
        return None, "ANIMEVID_NO_NATIVE is set"
    try:
        compiled = import_module("animevid._native")
        if not hasattr(compiled, "guided_upsample"):
            raise ImportError("they are of an older version")
        return compiled, ""
    except ImportError as error:
        _log.warning(
            "the compiled kernels cannot be used (%s): pixels are converted by NumPy and OpenCV, which is slower; "
            "install a C++17 compiler and reinstall animevid to get them",
            error,
        )
        return None, f"{error}; install with a C++ compiler, or take a wheel"


kernels: ModuleType | None
#: Why ``kernels`` is ``None``, with the way out.
why_not: str
kernels, why_not = _load()


def is_native() -> bool:
    """Whether the compiled kernels are in use."""
    return kernels is not None
