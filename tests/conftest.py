"""Fixtures shared by all tests: paths of the real clips, photos and weights."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the 400,000 objects of imported modules: a full collection of them takes 0.3 s."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # Hypothesis, which may be imported for the summary, looks for objects of other modules


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


@pytest.fixture(scope="session")
def packed_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style file that posterizes packed YUV 4:2:0 and is run near 320x180."""
    from small_styles import PACKED, save_style

    return save_style(tmp_path_factory.mktemp("styles") / "packed.onnx", PACKED)


@pytest.fixture(scope="session")
def nchw_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style file that posterizes RGB, ``(N, 3, H, W)``."""
    from small_styles import NCHW, save_style

    return save_style(tmp_path_factory.mktemp("styles") / "nchw.onnx", NCHW)


@pytest.fixture(scope="session")
def nhwc_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A style file that posterizes BGR, ``(N, H, W, 3)``."""
    from small_styles import NHWC, save_style

    return save_style(tmp_path_factory.mktemp("styles") / "nhwc.onnx", NHWC)


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a small clip once per session: ``make_clip("odd.mp4", width=63)``; see ``ClipSpec``."""
    from small_clips import ClipSpec, write_clip

    folder = tmp_path_factory.mktemp("clips")
    made: dict[tuple[str, str], Path] = {}

    def make(name: str, **changes: Any) -> Path:
        key = (name, repr(changes))
        if key not in made:
            place = Path(tempfile.mkdtemp(dir=folder))
            made[key] = write_clip(place / name, ClipSpec(**changes))
        return made[key]

    return make
