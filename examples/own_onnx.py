"""Stylize an array with an ONNX file of your own.  python examples/own_onnx.py STYLE.onnx

A file that animevid trained says by itself how it wants its input; other files are inspected, see docs/styles.md.
"""

import sys

import animevid
import numpy as np

frame_hwc = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)  # RGB
with animevid.Stylizer(sys.argv[1]) as stylizer:
    stylized_hwc = stylizer(frame_hwc)
    print(f"{stylizer.card.name}: {stylized_hwc.shape} {stylized_hwc.dtype}")
