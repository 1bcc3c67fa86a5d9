"""Benchmarks: one script a question. ``python -m benchmarks`` runs a short set and writes ``benchmarks/RESULTS.md``."""
