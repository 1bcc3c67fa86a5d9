"""Progress messages of commands, on stderr."""

# ruff: noqa: T201

from __future__ import annotations

import sys


def show_data(what: str, done: int, total: int) -> None:
    """Print ``what: done/total`` from time to time."""
    if done == total or done % 64 == 0:
        print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)
