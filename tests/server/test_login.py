"""Guessing a token takes too long, and its cookie is useless to other sites."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
from aiohttp.test_utils import make_mocked_request
from animevid.server import auth
from animevid.server.auth import COOKIE, Guard

TOKEN = "a token that is long enough"


@pytest.mark.parametrize("how", ["form", "header", "address"])
def test_each_wrong_token_costs_time(served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, *rest: Any) -> None:
        waits.append(seconds)
        await sleep(0, *rest)

    monkeypatch.setattr(auth.asyncio, "sleep", note)

    async def talk(client: Any) -> int:
        if how == "form":
            answer = await client.post("/login", data={"token": "guess"})
        elif how == "header":
            answer = await client.get("/api/config", headers={"Authorization": "Bearer guess"})
        else:
            answer = await client.get("/", params={"token": "guess"})
        return int(answer.status)

    assert served(talk, guard=Guard("127.0.0.1", TOKEN)) == 401
    assert [seconds for seconds in waits if 0.2 < seconds < 5]


@pytest.mark.parametrize("secure", [True, False])
def test_the_cookie_goes_over_tls_alone_where_there_is_tls(secure: bool) -> None:
    request = make_mocked_request("GET", "/")
    if secure:
        request = request.clone(scheme="https")
    cookie = Guard("0.0.0.0", TOKEN).welcome(request).cookies[COOKIE]
    assert bool(cookie["secure"]) == secure
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
