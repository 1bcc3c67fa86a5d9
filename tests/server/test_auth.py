"""The server's security: one test per guarantee, with the real application."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from animevid.cli import main
from animevid.io.sources.camera import TEST_PATTERN
from animevid.options import CameraOptions
from animevid.server.app import make_app
from animevid.server.auth import Guard, is_loopback
from animevid.server.sandbox import SandboxLimits, SandboxRequest, conversion_options
from animevid.server.uploads import JobLimits
from animevid.styles import CardHints, ColourOrder, Style, load_style
from small_networks import rgb_network

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'animevid[live]'")
pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'animevid[live]'")

TOKEN = "a token that nobody guesses"


def away(token: str = TOKEN, **changes: Any) -> Guard:
    return Guard("0.0.0.0", token, **changes)


async def finished(client: Any, job: dict[str, Any]) -> dict[str, Any]:
    while job["state"] not in ("done", "failed"):
        await asyncio.sleep(0.1)
        job = await (await client.get(f"/api/jobs/{job['id']}")).json()
    return job


# --- access ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("10.0.0.5", False)],
)
def test_only_loopback_addresses_count_as_this_machine(host: str, local: bool):
    assert is_loopback(host) is local


def test_the_command_listens_on_loopback_by_default():
    from animevid.cli.app import build_parser

    assert build_parser("serve").parse_args(["serve"][1:]).host == "127.0.0.1"


def test_a_short_token_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["serve", "--host", "0.0.0.0", "--token", "abc"]) == 2
    assert "12 characters" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/config", "/stream.mjpg", "/styles/test-packed.jpg", "/jobs/x"])
def test_without_the_token_nothing_is_served(served: Callable[..., Any], path: str):
    async def talk(client: Any) -> int:
        return (await client.get(path)).status

    assert served(talk, guard=away()) == 401


def test_a_wrong_token_is_refused_and_the_right_one_opens(served: Callable[..., Any]):
    async def talk(client: Any) -> list[int]:
        async def status(value: str) -> int:
            return (await client.get("/api/config", headers={"Authorization": f"Bearer {value}"})).status

        return [await status("a token that nobody guesser"), await status(TOKEN)]

    assert served(talk, guard=away()) == [401, 200]


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_do_not_see(served: Callable[..., Any]):
    async def talk(client: Any) -> tuple[int, str, str, int]:
        answer = await client.get("/", params={"token": TOKEN}, allow_redirects=False)
        page = await client.get("/")
        return answer.status, answer.headers["Location"], answer.headers["Set-Cookie"], page.status

    status, location, cookie, page = served(talk, guard=away())
    assert (status, location, page) == (303, "/", 200)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: calls.append((one, other)) or True)
    assert Guard("0.0.0.0", TOKEN).token_fits("x")
    assert calls == [(b"x", TOKEN.encode())]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_sites_page_may_not_change_anything(served: Callable[..., Any], origin: str):
    async def talk(client: Any) -> int:
        return (await client.post("/api/jobs", data=b"x", headers={"Origin": origin})).status

    assert served(talk) == 403


def test_a_cross_site_request_without_an_origin_is_refused_too(served: Callable[..., Any]):
    async def talk(client: Any) -> int:
        return (await client.post("/convert", data=b"x", headers={"Sec-Fetch-Site": "cross-site"})).status

    assert served(talk) == 403


def test_an_image_on_another_site_does_not_switch_the_hosts_camera_on(served: Callable[..., Any]):
    async def talk(client: Any) -> list[int]:
        headers = {"Sec-Fetch-Site": "cross-site"}
        return [(await client.get(path, headers=headers)).status for path in ("/stream.mjpg", "/api/config", "/")]

    assert served(talk, camera=CameraOptions(TEST_PATTERN, (48, 64))) == [403, 403, 200]


def test_a_proxy_in_front_is_allowed_by_name(served: Callable[..., Any]):
    async def talk(client: Any) -> int:
        headers = {"Origin": "https://anime.example", "Host": "anime.example"}
        return (await client.post("/api/peers", data=b"{}", headers=headers)).status

    assert served(talk, guard=Guard("127.0.0.1", None, ("https://anime.example",))) == 400


def test_a_foreign_host_name_that_points_here_is_refused(served: Callable[..., Any]):
    async def talk(client: Any) -> int:
        return (await client.get("/api/config", headers={"Host": "rebinding.example"})).status

    assert served(talk) == 421


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/api/jobs/x"])
def test_every_answer_carries_the_security_headers_and_a_strict_policy(served: Callable[..., Any], path: str):
    async def talk(client: Any) -> Any:
        return (await client.get(path)).headers

    headers = served(talk)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_the_page_needs_nothing_from_elsewhere_and_has_no_inline_code():
    folder = Path(make_app.__code__.co_filename).parent / "page"
    for name in ("index.html", "app.js", "style.css"):
        text = (folder / name).read_text()
        assert "https://" not in text
        assert "http://" not in text
    page = (folder / "index.html").read_text()
    assert " style=" not in page
    assert " onclick" not in page
    assert "<script>" not in page


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["/etc/passwd", "https://evil.example/x.onnx", "../x", "nobody"])
def test_viewers_name_styles_of_the_page_and_never_files(served: Callable[..., Any], style: str):
    async def talk(client: Any) -> tuple[int, str]:
        answer = await client.post("/api/jobs", params={"style": style}, data=b"x")
        return answer.status, (await answer.json())["error"]

    status, error = served(talk)
    assert status == 400
    assert "not served here" in error


def test_a_request_that_is_not_json_or_not_an_offer_is_one_line(served: Callable[..., Any]):
    async def talk(client: Any) -> list[int]:
        bodies = [b"", b"[]", b'{"sdp": 5}', b'{"sdp": "v=0 nonsense"}', b"[" * 100_000]
        return [(await client.post("/api/peers", data=body)).status for body in bodies]

    assert served(talk) == [400] * 5


def test_one_viewer_too_many_is_told_to_wait(served: Callable[..., Any]):
    async def talk(client: Any) -> Any:
        async with client.get("/stream.mjpg") as first:
            await first.content.readuntil(b"\xff\xd9")
            second = await client.post("/api/peers", data=json.dumps({"sdp": "v=0"}))
            return second.status, second.headers["Retry-After"], await second.json()

    options = {"camera": CameraOptions(TEST_PATTERN, (48, 64)), "max_viewers": 1}
    status, retry, body = served(talk, **options)
    assert (status, retry) == (503, "5")
    assert "places are taken" in body["error"]


# --- uploads --------------------------------------------------------------------------------------------------------


def test_a_file_is_converted_given_back_and_removed(served: Callable[..., Any], make_clip: Callable[..., Path]):
    clip = make_clip("up.mp4", frames=6, audio_codec="aac")

    async def talk(client: Any) -> Any:
        answer = await client.post("/api/jobs", params={"name": "../my video.mov"}, data=clip.read_bytes())
        job = await finished(client, await answer.json())
        result = await client.get(f"/api/jobs/{job['id']}/result")
        data, disposition = await result.read(), result.headers["Content-Disposition"]
        gone = await client.delete(f"/api/jobs/{job['id']}")
        return job, data, disposition, gone.status, (await client.get(f"/api/jobs/{job['id']}")).status

    job, data, disposition, gone, after = served(talk)
    assert job["state"] == "done", job["error"]
    assert data[4:8] == b"ftyp"
    assert disposition.startswith("attachment")
    assert "my%20video" in disposition
    assert ".." not in disposition
    assert (gone, after) == (204, 404)


def test_the_plain_form_works_without_scripts(served: Callable[..., Any], make_clip: Callable[..., Path]):
    clip = make_clip("form.mp4", frames=3)

    async def talk(client: Any) -> str:
        form = aiohttp.FormData()
        form.add_field("file", clip.read_bytes(), filename="form.mp4", content_type="video/mp4")
        page = await client.post("/convert", data=form)
        text = await page.text()
        while "Save the video" not in text and "did not work" not in text:
            await asyncio.sleep(0.2)
            text = await (await client.get(page.url.path)).text()
        return text

    assert "Save the video" in served(talk)


@pytest.fixture
def converted_by(served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[Style], Style]:
    """``converted_by(style)``: the style that converts an upload to a page that shows ``style``."""
    from animevid.server import uploads

    def ask(shown: Style) -> Style:
        asked: list[Style] = []

        async def look(_: Any, request: SandboxRequest, job: Any) -> str:
            style = conversion_options(SandboxRequest.from_json(request.to_json())).style
            assert isinstance(style, Style)
            assert style.model == shown.model
            asked.append(style)
            return "that was all"

        monkeypatch.setattr(uploads.Jobs, "_run_sandbox", look)

        async def talk(client: Any) -> None:
            await finished(client, await (await client.post("/api/jobs", data=b"a video")).json())

        served(talk, styles=(shown,))
        return asked[0]

    return ask


@pytest.mark.parametrize(
    ("precision", "may_be_int8"), [(None, True), ("fp32", False)], ids=["by name alone", "float32 asked for"]
)
def test_a_file_is_converted_in_the_precision_that_the_page_shows(
    converted_by: Callable[[Style], Style], precision: str | None, may_be_int8: bool
):
    style = converted_by(load_style("aozora", precision=precision))
    assert style.allow_int8 is may_be_int8
    assert style.path.name == load_style("aozora").path.name
    assert style.path.parent != load_style("aozora").path.parent  # a copy in a private folder


@pytest.mark.parametrize("has_card", [True, False], ids=["with hints", "inferred again"])
def test_a_file_is_converted_by_the_style_that_the_page_shows(
    converted_by: Callable[[Style], Style], tmp_path: Path, has_card: bool
):
    path = tmp_path / "own.onnx"
    path.write_bytes(rgb_network())  # without a card
    shown = load_style(path, hints=CardHints(colour_order=ColourOrder.BGR))

    style = converted_by(replace(shown, has_card=has_card))
    assert style.card == (shown.card if has_card else load_style(path).card)


@pytest.mark.parametrize("known_length", [True, False])
def test_an_upload_beyond_the_limit_is_refused_and_leaves_nothing(
    served: Callable[..., Any], known_length: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def body() -> Any:
        for _ in range(8):
            yield bytes(100_000)

    async def talk(client: Any) -> tuple[int, list[Path]]:
        answer = await client.post("/api/jobs", data=bytes(800_000) if known_length else body())
        return answer.status, [path for path in tmp_path.rglob("*") if path.is_file()]

    assert served(talk, jobs=JobLimits(upload_bytes=300_000)) == (413, [])


def test_uploads_lie_in_a_private_folder_that_goes_with_the_server(
    served: Callable[..., Any], make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def talk(client: Any) -> list[int]:
        await client.post("/api/jobs", data=make_clip("private.mp4", frames=3).read_bytes())
        return [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, *tmp_path.rglob("*")) if path != tmp_path]

    modes = served(talk)
    assert modes
    assert all(mode & 0o077 == 0 for mode in modes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"frame_pixels": 64 * 47}, "megapixels"),
        ({"side_px": 60}, "megapixels"),
        ({"duration_seconds": 0.1}, "too long here"),
        ({"video_pixels": 64 * 48 * 5}, "too long for its size"),
    ],
)
def test_too_long_and_too_large_videos_are_refused_before_they_are_decoded(
    served: Callable[..., Any], make_clip: Callable[..., Path], limits: dict[str, Any], says: str
):
    async def talk(client: Any) -> Any:
        answer = await client.post("/api/jobs", data=make_clip("limits.mp4", frames=10).read_bytes())
        return await finished(client, await answer.json())

    job = served(talk, jobs=JobLimits(sandbox=replace(SandboxLimits(), **limits)))
    assert job["state"] == "failed"
    assert says in job["error"]


def test_a_field_of_the_form_that_is_no_word_is_refused_before_it_fills_the_memory():
    from animevid.errors import LiveError
    from animevid.server.requests import form_word

    class Endless:
        name = "style"
        bytes_read = 0

        async def read_chunk(self, size: int) -> bytes:
            self.bytes_read += size
            return bytes(size)

    part = Endless()
    with pytest.raises(LiveError, match="longer than"):
        asyncio.run(form_word(part))
    assert part.bytes_read < 10_000


def test_an_upload_that_stalls_gives_its_place_away(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def body() -> Any:
        yield bytes(1000)
        await asyncio.sleep(30)

    async def talk(client: Any) -> tuple[int, str, list[Path]]:
        answer = await client.post("/api/jobs", data=body())
        return answer.status, (await answer.json())["error"], [path for path in tmp_path.rglob("*") if path.is_file()]

    status, error, left = served(talk, jobs=JobLimits(stall_seconds=0.3))
    assert (status, left) == (400, [])
    assert "nothing came" in error


def test_results_are_removed_when_their_time_is_over(
    served: Callable[..., Any],
    make_clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def talk(client: Any) -> list[Path]:
        answer = await client.post("/api/jobs", data=make_clip("old.mp4", frames=3).read_bytes())
        job = (await answer.json())["id"]
        for _ in range(600):
            if (await client.get(f"/api/jobs/{job}")).status == 404:
                break
            await asyncio.sleep(1)  # each request extends its time
        return [path for path in tmp_path.rglob("*") if path.is_file()]

    assert served(talk, jobs=JobLimits(keep_seconds=0.4)) == []


@pytest.fixture
def child_that_writes_1000_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the converting child: writes a thousand bytes, or fails if fewer are allowed."""
    from animevid.server.uploads import Jobs

    async def write(_: Jobs, request: SandboxRequest, job: Any) -> str | None:
        allowed = request.limits.output_bytes
        if allowed < 1000:
            return "file too large"
        job.result.write_bytes(bytes(1000))
        return None

    monkeypatch.setattr(Jobs, "_run_sandbox", write)


@pytest.mark.usefixtures("child_that_writes_1000_bytes")
def test_results_that_were_fetched_make_room_and_others_do_not(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def convert(client: Any) -> Any:
        return await finished(client, await (await client.post("/api/jobs", data=b"a video")).json())

    async def talk(client: Any) -> None:
        first, second = await convert(client), await convert(client)
        await (await client.get(f"/api/jobs/{second['id']}/result?inline")).read()  # showing it is not a download
        refused = await client.post("/api/jobs", data=b"a video")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert "not fetched yet" in (await refused.json())["error"]
        await (await client.get(f"/api/jobs/{second['id']}/result")).read()
        third = await convert(client)
        assert third["state"] == "done"
        assert (await client.get(f"/api/jobs/{second['id']}")).status == 404
        assert (await client.get(f"/api/jobs/{first['id']}")).status == 200
        assert sum(path.stat().st_size for path in tmp_path.rglob("result.mp4")) == 2000

    served(talk, jobs=JobLimits(kept_bytes=2000))


@pytest.mark.usefixtures("child_that_writes_1000_bytes")
def test_a_conversion_may_write_no_more_than_the_room_that_is_left(served: Callable[..., Any]):
    async def talk(client: Any) -> list[Any]:
        return [
            await finished(client, await (await client.post("/api/jobs", data=b"a video")).json()) for _ in range(2)
        ]

    first, second = served(talk, jobs=JobLimits(kept_bytes=1500))
    assert first["state"] == "done"
    assert second["error"] == "file too large (results that were not fetched yet left 0 MiB for it)"


def test_the_token_comes_from_a_file_or_the_environment(
    packed_style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def run(*arguments: str) -> str:
        given: list[Any] = []

        async def nobody(app: Any, listening: Any, **_: Any) -> None:
            listening.close()

        monkeypatch.setattr("animevid.server.listen.serve", nobody)
        make = lambda options: given.append(options) or aiohttp.web.Application()  # noqa: E731
        monkeypatch.setattr("animevid.server.app.make_app", make)
        code = main(["serve", "--port", "0", "--style", str(packed_style), *arguments])
        return str(given[0].guard.token) if code == 0 else capsys.readouterr().err

    (tmp_path / "token").write_text("a token of a file\n")
    (tmp_path / "short").write_text("short")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    assert run("--token-file", str(tmp_path / "token")) == "a token of a file"
    assert "12 characters" in run("--token-file", str(tmp_path / "short"))
    assert "cannot be read" in run("--token-file", str(tmp_path / "binary"))
    assert "cannot be read" in run("--token-file", str(tmp_path / "none"))
    assert "exclude each other" in run("--token-file", str(tmp_path / "token"), "--token", "a token of the line")
    monkeypatch.setenv("ANIMEVID_TOKEN", "a token of the room")
    assert run() == "a token of the room"
    assert "ANIMEVID_TOKEN" not in os.environ  # no child process inherits it


def test_off_loopback_a_token_is_made_up_and_tls_is_spoken_of(
    packed_style: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    given = []
    monkeypatch.setattr(
        "animevid.server.app.make_app", lambda options: given.append(options) or aiohttp.web.Application()
    )

    async def nobody(app: Any, listening: Any, **_: Any) -> None:
        listening.close()

    monkeypatch.setattr("animevid.server.listen.serve", nobody)
    assert main(["serve", "--host", "0.0.0.0", "--port", "0", "--style", str(packed_style)]) == 0
    assert len(given[0].guard.token) >= 24
    assert "TLS belongs in front" in capsys.readouterr().out


def test_frames_beyond_the_limit_are_made_smaller_before_they_are_stylized(packed_style: Path):
    import numpy as np
    from animevid.pixels import PlanesYUV420
    from animevid.server.webrtc import fitting

    planes = PlanesYUV420(np.zeros((1080, 1920), np.uint8), *(np.zeros((540, 960), np.uint8) for _ in range(2)))
    smaller = fitting(planes, 1280 * 720)
    assert smaller.height * smaller.width <= 1280 * 720
    assert smaller.width / smaller.height == pytest.approx(16 / 9, rel=0.01)
    assert fitting(smaller, 1280 * 720) is smaller
