"""No output of animevid contains a password, token or stream key of an address."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from animevid.cli import main
from animevid.redaction import redacted, redacted_text
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("srt://h:9?passphrase=S3cret&mode=caller", "srt://h:9?passphrase=***&mode=caller"),
        ("srt://h:9?streamid=#!::u=me,s=S3cret&latency=20000", "srt://h:9?streamid=***&latency=20000"),
        ("srt://h:9?mode=caller;token=S3cret", "srt://h:9?mode=***"),
        ("https://h/live.m3u8?token=S3cret", "https://h/live.m3u8?token=***"),
        ("https://h/a.mp4?X-Amz-Signature=S3cret&X-Amz-Expires=9", "https://h/a.mp4?X-Amz-Signature=***&X-Amz-Expires=***"),
        ("https://h/a.mp4?S3cret", "https://h/a.mp4?***"),
        ("https://h/a.mp4?pass%77ord=S3cret", "https://h/a.mp4?pass%77ord=***"),
        ("https://h/a.mp4#access_token=S3cret", "https://h/a.mp4#***"),
        ("rtsp://me:S3cret@camera/1?timeout=5", "rtsp://me:***@camera/1?timeout=5"),
        ("rtsp://me:S3@cret@camera/1", "rtsp://me:***@camera/1"),
        ("rtsp://me@camera/1", "rtsp://me@camera/1"),
        ("rtmp://live.example/app/S3cret", "rtmp://live.example/app/***"),
        ("RTMPS://live.example:443/rtmp/S3cret?s_bl=1&a=S3cret", "RTMPS://live.example:443/rtmp/***?s_bl=***&a=***"),
        ("rtmp://live.example/app/instance/S3cret", "rtmp://live.example/app/***"),
        ("rtmp://live.example//S3cret", "rtmp://live.example//***"),
        ("rtmp://live.example/app/S3cret token=S3cret", "rtmp://live.example/app/***"),
        ("rtmp://live.example/app token=S3cret", "rtmp://live.example/app ***"),
        ("rtmp://live.example/app", "rtmp://live.example/app"),
        ("udp://239.0.0.1:5000?ttl=4&pkt_size=1316", "udp://239.0.0.1:5000?ttl=4&pkt_size=1316"),
        ("video?token=1#2.mp4", "video?token=1#2.mp4"),
        ("-", "-"),
    ],
)  # fmt: skip
def test_what_only_its_owner_may_know_is_hidden(url: str, shown: str):
    assert redacted(url) == shown
    assert "S3cret" not in shown


@given(st.text(alphabet=st.characters(exclude_characters="&"), min_size=5).filter(lambda text: text.strip()))
def test_a_parameter_that_is_not_known_is_hidden_whatever_its_value(value: str):
    assert redacted(f"srt://host:9?streamid={value}&mode=caller") == "srt://host:9?streamid=***&mode=caller"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Error opening output file rtmp://h/app/S3cret.", "Error opening output file rtmp://h/app/***"),
        ("'srt://h:9?passphrase=S3cret': refused", "'srt://h:9?passphrase=***': refused"),
        ("[Errno 5] 'rtmp://h/app/S3cret token=S3cret' failed", "[Errno 5] 'rtmp://h/app/***' failed"),
        ("a.mp4: no such file", "a.mp4: no such file"),
    ],
)
def test_addresses_in_a_text_are_found(text: str, shown: str):
    assert redacted_text(text) == shown


@pytest.mark.parametrize("url", ["rtmp://127.0.0.1:9/live/S3cret", "tcp://127.0.0.1:9?timeout=99999&key=S3cret"])
@pytest.mark.parametrize("options", [["-vv"], ["--json"], ["--dry-run"], ["-vv", "--dry-run", "--format", "S3cret_"]])
def test_neither_errors_nor_logs_nor_plans_nor_progress_tell_a_secret(
    url: str, options: list[str], make_clip, packed_style: Path, capfd: pytest.CaptureFixture[str]
):
    clip = make_clip("secret.mp4", frames=3)
    try:
        main([str(clip), url, "--style", str(packed_style), "--reconnect", "0", *options])
        main([url, "out.mp4", "--style", str(packed_style), "--reconnect", "0", *options])
        main([str(clip), "out.mp4", url, "--style", str(packed_style)])  # one name too many
    finally:
        for name in ("animevid", "animevid_trainer"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    out, err = capfd.readouterr()
    assert "127.0.0.1:9" in out + err
    assert "S3cret" not in (out + err).replace("S3cret_", "")
