"""What commands say while they work, on stderr."""

# ruff: noqa: T201

from __future__ import annotations

import sys


def show_data(what: str, done: int, total: int) -> None:
    """``what: done/total``, every now and then."""
    if done == total or done % 64 == 0:
        print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)
