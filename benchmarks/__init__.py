"""Benchmarks, one script per question. ``python -m benchmarks`` runs a few and writes ``benchmarks/RESULTS.md``."""
