"""A playlist appears after its segments."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from passing import pass_through


def test_a_playlist_is_published_after_its_segments(
    make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []

    def noted(move: Callable[..., None]) -> Callable[..., None]:
        def note(source: Any, target: Any, **options: Any) -> None:
            moved.append(Path(target).name)
            move(source, target, **options)

        return note

    for name in ("replace", "link"):  # a new name is linked, so that nothing is overwritten
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    clip = make_clip("video.mp4", frames=200, audio_codec="aac", audio_seconds=Fraction(8))
    pass_through(clip, tmp_path / "video.m3u8")
    assert len(moved) > 1
    assert moved[-1] == "video.m3u8"
    assert all(name.endswith(".ts") for name in moved[:-1])
    listed = [line for line in (tmp_path / "video.m3u8").read_text().splitlines() if not line.startswith("#")]
    assert listed == moved[:-1]
