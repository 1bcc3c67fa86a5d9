"""Fixtures that every room shares: where the real clips, photos and weights lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, photos and weights: ``$ANIMEVID_SHARED`` or ``../shared`` beside the repository.

    A missing folder skips the test, except where ``CI`` is set: there it must exist.
    """
    folder = Path(os.environ.get("ANIMEVID_SHARED") or _REPOSITORY.parent / "shared")
    if not (folder / "clips").is_dir():
        message = f"{str(folder)!r} has no clips; set ANIMEVID_SHARED to the folder of shared test data"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def clips(shared: Path) -> Path:
    """The folder of real clips."""
    return shared / "clips"
