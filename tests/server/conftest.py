"""What live tests share: a screen without a monitor, and a server with a quick style."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL draws into memory: the window is real, only nobody sees it."""
    pytest.importorskip("pygame", reason="pygame-ce is not installed: pip install 'animevid[live]'")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def served(packed_style: Path) -> Callable[..., Any]:
    """``served(talk, **options)`` runs ``talk(client)`` against a server with these options."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")
    from aiohttp.test_utils import TestClient, TestServer
    from animevid.server.app import ServerOptions, make_app
    from animevid.server.auth import Guard
    from animevid.styles import load_style

    def run(talk: Callable[[Any], Awaitable[Any]], **changes: Any) -> Any:
        options = ServerOptions(**{"styles": (load_style(packed_style),), "guard": Guard("127.0.0.1"), **changes})

        async def session() -> Any:
            async with TestClient(TestServer(make_app(options))) as client:
                return await talk(client)

        return asyncio.run(session())

    return run
