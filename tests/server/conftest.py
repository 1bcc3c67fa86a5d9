"""What live tests share: a screen without a monitor, and a quick style."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL draws into memory: the window is real, only nobody sees it."""
    pytest.importorskip("pygame", reason="pygame-ce is not installed: pip install 'animevid[live]'")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
