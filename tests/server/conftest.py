"""Fixtures of live tests: a virtual screen, and a server with a fast style."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDL draws into memory: a real window, but an invisible one."""
    pytest.importorskip("pygame", reason="pygame-ce is not installed: pip install 'animevid[live]'")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def served(packed_style: Path) -> Callable[..., Any]:
    """``served(talk, **options)`` runs ``talk(client)`` against a server with these options."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")
    from aiohttp.test_utils import TestClient, TestServer
    from animevid.confinement import missing
    from animevid.server.app import ServerOptions, make_app
    from animevid.server.auth import Guard
    from animevid.styles import load_style

    def run(talk: Callable[[Any], Awaitable[Any]], **changes: Any) -> Any:
        options = ServerOptions(**{"styles": (load_style(packed_style),), "guard": Guard("127.0.0.1"), **changes})
        if missing():  # uploads are tested without confinement, too; test_sandbox.py tests that they are refused
            options = replace(options, jobs=replace(options.jobs, may_be_unconfined=True))

        async def session() -> Any:
            async with TestClient(TestServer(make_app(options))) as client:
                return await talk(client)

        return asyncio.run(session())

    return run


@pytest.fixture(scope="module")
def browser(open_browser: tuple[Any, str]) -> Iterator[tuple[Any, str]]:
    """Chromium and the address of a server; closes the page, whose video would slow down later tests."""
    yield open_browser
    open_browser[0].get("about:blank")


@pytest.fixture(scope="session")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """Chromium with a camera that plays eight seconds of numbered frames, and the address of a server with two styles
    and a test pattern as the host's camera.
    """
    try:
        import live_browser
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    if why := live_browser.why_no_chromium():
        pytest.skip(why)
    from small_styles import PACKED, save_style

    folder = tmp_path_factory.mktemp("browser")
    styles = folder / "home" / "animevid" / "styles"
    styles.mkdir(parents=True)
    save_style(styles / "posterize.onnx", replace(PACKED, name="posterize", title="Posterize"))
    save_style(styles / "negative.onnx", replace(PACKED, name="negative", title="Negative"), effect="negative")
    video = live_browser.write_camera_video(folder / "camera.y4m", frames=live_browser.VIDEO_FRAMES)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # for the server only
            patch.setenv("XDG_DATA_HOME", str(folder / "home"))
            arguments = ("--style", "posterize", "--device", "testpattern", "--size", "320x180")
            url = stack.enter_context(live_browser.serving(*arguments))
        yield stack.enter_context(live_browser.chromium(video)), url
