"""The same classes read and write pipes and network streams, with a list of allowed protocols."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pytest
from animevid.errors import UsageError
from animevid.io import VideoSource, open_sink, open_source
from animevid.io.network.protocols import is_local_file, output_url, scheme_of
from animevid.options import OutputOptions
from passing import read_frames, times

_PASS = (
    "import sys\n"
    "from animevid.io import *\n"
    "with open_source(sys.argv[1]) as s, open_sink(sys.argv[2], template=s) as k:\n"
    "    for f in s: k.write(f)\n"
    "    k.finish()\n"
)


def _python(*arguments, **options):
    paths = [str(Path(entry).resolve()) for entry in sys.path if entry]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-c", _PASS, *map(str, arguments)], env=environment, capture_output=True, check=True, **options
    )


@pytest.mark.parametrize(
    ("spec", "scheme", "local"),
    [
        ("a.mp4", None, True),
        ("C:\\video.mp4", None, True),
        ("file:///tmp/a.mp4", "file", True),
        ("RTSP://camera/1", "rtsp", False),
        ("https://host/a.mp4", "https", False),
        ("-", None, False),
    ],
)
def test_names_and_addresses_are_told_apart(spec, scheme, local):
    assert scheme_of(spec) == scheme
    assert is_local_file(spec) == local


def test_an_address_that_cannot_be_written_is_refused():
    with pytest.raises(UsageError, match="scheme"):
        output_url("gopher://host/x")


def test_addresses_are_published_in_the_container_they_need():
    assert output_url("rtmp://host/live") == ("rtmp://host/live", "flv")
    assert output_url("-") == ("pipe:1", "matroska")
    assert output_url("video.mp4") is None


def test_a_video_comes_in_through_a_pipe(make_clip, tmp_path):
    clip, target = make_clip("pipe.mkv", audio_codec="aac"), tmp_path / "out.mp4"
    with clip.open("rb") as stdin:
        _python("-", target, stdin=stdin)
    assert times(target) == times(clip)


def test_a_video_goes_out_through_a_pipe(make_clip, tmp_path):
    clip = make_clip("pipe.mkv", audio_codec="aac")
    (tmp_path / "out.mkv").write_bytes(_python(clip, "-").stdout)
    assert times(tmp_path / "out.mkv") == times(clip)


@pytest.fixture
def server(tmp_path):
    """A web server on this machine: (address, folder)."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path
        running.shutdown()
        thread.join()


def test_a_video_is_read_from_a_web_server(make_clip, server):
    address, folder = server
    clip = make_clip("web.mkv")
    (folder / "web.mkv").write_bytes(clip.read_bytes())
    assert times(f"{address}/web.mkv") == times(clip)


def test_what_a_web_server_lacks_is_reported_in_one_line(server):
    from animevid.errors import InputError

    with pytest.raises(InputError, match="does not exist"):
        open_source(f"{server[0]}/nothing.mkv")


def test_an_hls_playlist_is_read_and_starts_at_zero(make_clip, server, tmp_path):
    address, folder = server
    clip = make_clip("part.ts", time_base=Fraction(1, 90000))
    (folder / "part.ts").write_bytes(clip.read_bytes())
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\npart.ts\n#EXT-X-ENDLIST\n")
    target = tmp_path / "out.mp4"
    with open_source(f"{address}/list.m3u8") as source, open_sink(target, template=source) as sink:
        for frame in source:
            sink.write(frame)
        sink.finish()
    written = times(target)
    assert len(written) == 10
    assert written[0] < Fraction(1, 10)


@pytest.mark.parametrize("name", ["mixed", "leading"])
def test_a_playlist_on_a_server_that_crashes_ffmpeg_is_refused(server, name):
    from animevid.errors import InputError

    address, folder = server
    variant = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"
    (folder / "mixed.m3u8").write_text(variant + "low.m3u8\n#EXTINF:1,\npart.ts\n")
    (folder / "leading.m3u8").write_text(variant + "mixed.m3u8\n")
    with pytest.raises(InputError, match="variants and segments at once"):
        open_source(f"{address}/{name}.m3u8?token=1")


def test_a_playlist_on_a_server_that_is_too_large_is_refused(server):
    from animevid.errors import InputError

    address, folder = server
    (folder / "big.m3u8").write_bytes(b"#EXTM3U\n" + b"#\n" * (5 << 20))
    with pytest.raises(InputError, match="larger than any playlist"):
        open_source(f"{address}/big.m3u8?token=1")


def test_a_file_address_is_a_file(make_clip):
    clip = make_clip("even.mp4")
    assert len(read_frames(f"file://{clip}")) == 10


def test_a_stream_can_be_published_over_udp(make_clip):
    clip = make_clip("even.mp4")
    with VideoSource(clip) as source, open_sink("udp://127.0.0.1:29999", template=source) as sink:
        for frame in source:
            sink.write(frame)
        assert sink.finish().frames_written == 10


def test_a_container_can_be_chosen_for_a_pipe(make_clip, tmp_path):
    with VideoSource(make_clip("even.mp4")) as source:
        sink = open_sink("-", template=source, settings=OutputOptions(muxer="mp4"))
        assert sink.muxer == "mp4"
        sink.abort()
