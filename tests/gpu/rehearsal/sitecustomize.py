"""On ``PYTHONPATH``, every Python that starts takes the tests' stand-in for TensorRT; see ``tests/gpu/rehearse.sh``."""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

if importlib.util.find_spec("animevid") is not None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

    from gpu import fake_tensorrt

    fake_tensorrt.install()
    if not any(map(importlib.util.find_spec, ("tensorrt_rtx", "tensorrt"))):  # what is installed is asked first
        sys.modules["tensorrt"] = types.ModuleType("tensorrt")
        sys.modules["tensorrt"].__spec__ = ModuleSpec("tensorrt", None)
