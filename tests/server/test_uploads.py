"""Photos, previews, and converting again: uploads to the page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from animevid.server import cards
from animevid.server.uploads import JobLimits
from animevid.styles import list_styles


async def finished(client: Any, job: dict[str, Any]) -> dict[str, Any]:
    while job["state"] not in ("held", "done", "failed"):
        await asyncio.sleep(0.05)
        job = await (await client.get(f"/api/jobs/{job['id']}")).json()
    return job


async def sent(client: Any, data: bytes, **query: str) -> dict[str, Any]:
    return await finished(client, await (await client.post("/api/jobs", data=data, params=query)).json())


async def image(client: Any, address: str) -> Any:
    return cv2.imdecode(np.frombuffer(await (await client.get(address)).read(), np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def photo() -> Any:
    """BGRA, 96x128, half of it transparent."""
    pixels = np.random.default_rng(1).integers(0, 255, (6, 8, 4), np.uint8).repeat(16, 0).repeat(16, 1)
    pixels[..., 3] = 255
    pixels[:, 64:, 3] = 0
    return pixels


@pytest.mark.parametrize(("suffix", "saved_as"), [(".jpg", "image/jpeg"), (".png", "image/png")])
def test_a_photo_is_drawn_and_shown_before_and_after(
    served: Callable[..., Any], photo: Any, suffix: str, saved_as: str
):
    async def talk(client: Any) -> None:
        job = await sent(client, cv2.imencode(suffix, photo)[1].tobytes(), name=f"me{suffix}", hold="1")
        assert (job["state"], job["photo"], job["error"]) == ("done", True, None)  # a photo is converted at once
        at = f"/api/jobs/{job['id']}"
        before, after = [await image(client, f"{at}/{name}.jpg") for name in ("before", "after")]
        assert before.shape == after.shape == (96, 128, 3)
        assert np.abs(before.astype(int) - after).mean() > 2
        result = await client.get(f"{at}/result")
        assert (result.headers["Content-Type"], suffix in result.headers["Content-Disposition"]) == (saved_as, True)
        drawn = cv2.imdecode(np.frombuffer(await result.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        assert drawn.shape == (96, 128, 4 if suffix == ".png" else 3)  # transparent pixels stay transparent

    served(talk)


def test_one_frame_of_a_held_video_is_drawn_before_it_is_converted(
    served: Callable[..., Any], make_clip: Callable[..., Path]
):
    video = make_clip("held.mp4", frames=60).read_bytes()

    async def talk(client: Any) -> None:
        job = await sent(client, video, hold="1")
        assert (job["state"], job["preview"]) == ("held", None)
        at = f"/api/jobs/{job['id']}"
        pale = await (await client.post(f"{at}/preview", json={"strength": 0})).json()
        assert pale["preview"]["width"] == 64
        assert 0 < pale["preview"]["seconds"] < 60
        assert pale["preview"]["duration_seconds"] == pale["preview"]["film_seconds"] > 0  # the earlier name
        before, faint = [await image(client, f"{at}/{name}.jpg") for name in ("before", "after")]
        strong = await (await client.post(f"{at}/preview", json={"strength": 1})).json()
        assert strong["preview"]["number"] > pale["preview"]["number"]
        drawn = await image(client, f"{at}/after.jpg")
        assert np.abs(before.astype(int) - faint).mean() < 2 < np.abs(before.astype(int) - drawn).mean()
        assert (await client.get(f"{at}/result")).status == 409

        started = await client.post(f"{at}/start", json={"strength": 0.5})
        done = await finished(client, await started.json())
        assert (done["state"], done["strength"]) == ("done", 0.5)
        assert await (await client.get(f"{at}/original")).read() == video
        again = await finished(client, await (await client.post(f"{at}/start", json={"strength": 1})).json())
        assert (again["state"], again["strength"]) == ("done", 1)

    served(talk)


def test_a_preview_of_what_is_no_video_says_why(served: Callable[..., Any]):
    async def talk(client: Any) -> Any:
        job = await sent(client, b"not a video", hold="1")
        return await (await client.post(f"/api/jobs/{job['id']}/preview", json={})).json()

    job = served(talk)
    assert job["state"] == "failed"
    assert "not a video or photo" in job["error"]


@pytest.fixture
def child_that_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(_: Any, request: Any, job: Any) -> str | None:
        job.result.write_bytes(b"done")
        return None

    monkeypatch.setattr("animevid.server.uploads.Jobs._run_sandbox", write)


@pytest.mark.usefixtures("child_that_does_nothing")
def test_originals_make_room_and_what_is_held_is_bounded(served: Callable[..., Any]):
    async def talk(client: Any) -> None:
        first, second = [await sent(client, bytes(1000)) for _ in range(2)]
        first = await (await client.get(f"/api/jobs/{first['id']}")).json()
        assert (first["hasOriginal"], second["hasOriginal"]) == (False, True)
        refused = await client.post(f"/api/jobs/{first['id']}/start", json={})
        assert "send the file again" in (await refused.json())["error"]
        await sent(client, b"a video", hold="1")
        assert (await client.post("/api/jobs", data=b"a video", params={"hold": "1"})).status == 503

    served(talk, jobs=JobLimits(originals_bytes=1500, held=1))


def test_the_cards_that_are_shipped_are_drawn_by_the_styles_that_are_shipped():
    folder = cards.PHOTO.parents[3] / "styles"
    shipped = [style for style in list_styles() if style.path.parent == folder and style.card.quality == "fast"]
    assert len(shipped) >= 3
    assert [style.card.name for style in shipped if not cards.is_drawn(style)] == [], "run: python -m benchmarks.cards"
    assert all(cards.PHOTO.with_name(f"{style.card.name}.jpg").stat().st_size < 40_000 for style in shipped)


def test_a_style_of_ones_own_gets_a_card_with_both_photos(served: Callable[..., Any]):
    async def talk(client: Any) -> Any:
        return [await image(client, f"/styles/{name}.jpg") for name in ("original", "test-packed")]

    photos, drawn = served(talk)
    assert photos.shape == drawn.shape == (360, 240, 3)
    for half in (slice(0, 180), slice(180, 360)):
        assert 2 < np.abs(photos[half].astype(int) - drawn[half]).mean() < 80
