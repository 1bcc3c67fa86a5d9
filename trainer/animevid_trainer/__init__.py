"""Trains styles. Imports ``animevid`` first, which disables the telemetry of ONNX Runtime before exporters import
it."""

import animevid as animevid
