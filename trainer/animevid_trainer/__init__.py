"""Trains styles. ``animevid`` comes first: it keeps ONNX Runtime, which the exporters import, from calling home."""

import animevid as animevid
