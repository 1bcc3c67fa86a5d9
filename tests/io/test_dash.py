"""MPEG-DASH: the best video and its sound, from manifests of every addressing; hostile ones are refused in one line."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from animevid.errors import InputError, UnsupportedInputError, UsageError
from animevid.io import open_source
from animevid.io.dash import manifest as manifests
from animevid.io.dash.finding import remote_manifest
from animevid.io.dash.places import Place
from animevid.io.dash.segments import track_of
from animevid.options import SourceOptions
from passing import packet_times, pass_through, read_frames, times

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg: apt-get install ffmpeg")
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "12", "-c:a", "aac", "-ac", "2"]
NS = 'xmlns="urn:mpeg:dash:schema:mpd:2011"'


def ffmpeg(*arguments: str, folder: Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", *arguments], cwd=folder, check=True)


def make_dash(clip: Path, folder: Path, *options: str, begin: str = "4", size: str = "160x90") -> Path:
    """Two seconds of ``clip`` as DASH, in segments of half a second."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [] if "-s:v:0" in options else ["-s:v:0", size]
    video = ["-ss", begin, "-t", "2", "-i", str(clip), "-map", "0:v", *sizes]
    ffmpeg(*video, *options, "-seg_duration", "0.5", "-f", "dash", "m.mpd", folder=folder)
    return folder / "m.mpd"


@pytest.fixture(scope="module")
def clip(clips: Path) -> Path:
    return clips / "bbb_480p_30s_aac.mp4"


@pytest.fixture(scope="module")
def variants(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of two sizes, the smaller one first and last and with more bits, and a sound."""
    mpd = make_dash(
        clip, tmp_path_factory.mktemp("dash"), "-map", "0:v", "-map", "0:v", "-map", "0:a", *H264,
        "-s:v:0", "80x44", "-s:v:1", "160x90", "-s:v:2", "80x44",
    )  # fmt: skip
    text = re.sub(r'bandwidth="\d+" width="160"', 'bandwidth="1" width="160"', mpd.read_text())
    mpd.write_text(re.sub(r'mediaPresentationDuration="\S+"', "", text))
    return mpd


@needs_ffmpeg
def test_the_best_variant_and_its_sound_come_out_in_step(variants: Path, tmp_path: Path, probe: Callable[..., Any]):
    with open_source(variants) as source:
        assert (source.info.width, source.info.height) == (160, 90)
        assert 2 <= source.info.duration_seconds < 2.03  # the sum of its segments
        assert "the best of 3 variants is taken (160x90)" in source.info.notices
    pass_through(variants, tmp_path / "out.mp4")
    probed = probe(tmp_path / "out.mp4")
    assert sorted(stream["codec_type"] for stream in probed["streams"]) == ["audio", "video"]
    kinds = {stream["codec_type"]: stream["index"] for stream in probed["streams"]}
    video, sound = (packet_times(probed, kinds[kind]) for kind in ("video", "audio"))
    assert len(video) == 48
    assert 94 <= len(sound) <= 96
    # Its encoder's 1024 samples come before the first frame.
    assert video[0] - sound[0] == pytest.approx(1024 / 48000, abs=0.001)


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    [
        [*H264, "-single_file", "1", "-use_template", "0"],  # byte ranges of one file
        [*H264, "-use_template", "0"],  # a list of files
        [*H264, "-media_seg_name", "c$RepresentationID$-$Time$.m4s"],
        ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "12", "-c:a", "libopus",
         "-dash_segment_type", "webm", "-use_timeline", "0"],
    ],
    ids=["ranges", "list", "times", "webm"],
)  # fmt: skip
def test_every_addressing_is_read_and_can_be_sought(clip: Path, tmp_path: Path, options: list[str]):
    mpd = make_dash(clip, tmp_path, "-map", "0:a", *options)
    with open_source(mpd) as source:
        source.packets.subscribe(frozenset(range(4)))
        frames = list(source)
        assert 1.9 < source.packets.last_dts_seconds(source.info.other_streams[0].index) < 2.1
    assert len(frames) == 48
    cut = read_frames(mpd, start_seconds=Fraction(13, 10))
    assert len(cut) == 48 - 31 or len(cut) == 48 - 32
    assert np.array_equal(cut[0].planes.y, frames[-len(cut)].planes.y)


@needs_ffmpeg
def test_a_single_file_without_ranges_is_read(clip: Path, tmp_path: Path):
    make_dash(clip, tmp_path, "-map", "0:a", *H264, "-single_file", "1")
    sets = "".join(
        f'<AdaptationSet contentType="{kind}"><Representation id="{at}" bandwidth="1" mimeType="{kind}/mp4">'
        f"<BaseURL>m%2Dstream{at}.mp4</BaseURL></Representation></AdaptationSet>"
        for at, kind in enumerate(("video", "audio"))
    )
    whole = tmp_path / "whole.mpd"
    whole.write_text(f'<MPD {NS} mediaPresentationDuration="PT2S"><Period>{sets}</Period></MPD>')
    assert len(times(whole)) == 48
    assert times(whole, start_seconds=Fraction(1)) == [Fraction(n, 24) for n in range(24, 48)]


@pytest.mark.parametrize("options", [{}, {"movflags": "+faststart"}, {"movflags": "+frag_keyframe"}])
def test_an_mp4_is_read_wherever_its_index_is(make_clip: Callable[..., Path], tmp_path: Path, options: dict[str, str]):
    clip = make_clip("a.mp4", audio_codec="aac", container_options=options)
    shutil.copy(clip, tmp_path / "v.mp4")
    (tmp_path / "m.mpd").write_text(manifest(attributes=""))
    with open_source(tmp_path / "m.mpd") as source:
        source.packets.subscribe(frozenset(range(4)))
        frames = list(source)
        assert source.packets.last_dts_seconds(source.info.other_streams[0].index) > Fraction(3, 10)
    assert [frame.pts_seconds for frame in frames] == times(clip)
    assert all(np.array_equal(ours.planes.y, its.planes.y) for ours, its in zip(frames, read_frames(clip), strict=True))


@needs_ffmpeg
def test_periods_follow_each_other_and_each_is_decoded_as_what_it_is(
    clip: Path, tmp_path: Path, probe: Callable[..., Any]
):
    """The second period has other parameter sets, another time scale and one sound more."""
    periods = []
    for name, size, encoder in (("a", "160x90", H264), ("b", "128x72", [*H264[:3], "veryfast", "-g", "12", *H264[8:]])):
        text = make_dash(clip, tmp_path / name, "-map", "0:a", *encoder, begin="4", size=size).read_text()
        found = re.search(r"<Period[^>]*>(.*)</Period>", text, re.DOTALL)
        assert found is not None
        periods.append(f'<Period id="{name}" duration="PT2S"><BaseURL>{name}/</BaseURL>{found[1]}</Period>')
    second = re.findall(r"<AdaptationSet.*?</AdaptationSet>", periods[1], re.DOTALL)[1]
    periods[1] = periods[1].replace("</Period>", second.replace('lang="und"', 'lang="de"') + "</Period>")
    mpd = tmp_path / "m.mpd"
    mpd.write_text(f'<MPD {NS} type="static">{"".join(periods)}</MPD>')

    frames = read_frames(mpd)
    assert [frame.pts_seconds for frame in frames] == [Fraction(n, 24) for n in range(96)]
    alone = read_frames(tmp_path / "b" / "m.mpd")
    inner = frames[48 + 20].planes.y[10:80, 20:140]
    assert abs(float(inner.mean()) - float(alone[20].planes.y[8:64, 16:112].mean())) < 3  # the picture, not smears

    pass_through(mpd, tmp_path / "out.mkv")
    probed = probe(tmp_path / "out.mkv")
    sound = packet_times(probed, next(s["index"] for s in probed["streams"] if s["codec_type"] == "audio"))
    steps = np.diff(sound)
    assert sound[-1] == pytest.approx(4, abs=0.05)
    assert float(steps.min()) > 0.015
    assert float(steps.max()) < 0.03
    assert times(mpd, start_seconds=Fraction(5, 2)) == [Fraction(n, 24) for n in range(60, 96)]
    with open_source(mpd) as source:
        assert source.info.duration_seconds == 4
        assert "sound that the first period lacks is left out: de" in source.info.notices


@needs_ffmpeg
def test_an_hls_playlist_whose_map_changes_is_read_in_parts(clip: Path, tmp_path: Path):
    """Fragmented MP4 with another initialization, as ad breaks have it: FFmpeg reads the first one only."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:1"]
    for name, size in (("a", "160x90"), ("b", "128x72")):
        (tmp_path / name).mkdir()
        options = [*H264, "-s", size, "-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "1", "-hls_list_size", "0"]
        ffmpeg("-ss", "4", "-t", "2", "-i", str(clip), *options, "p.m3u8", folder=tmp_path / name)
        found = re.sub(r"(init\.mp4|p\d+\.m4s)", rf"{name}/\1", (tmp_path / name / "p.m3u8").read_text())
        lines += ["#EXT-X-DISCONTINUITY", *found[found.index("#EXT-X-MAP") :].replace("#EXT-X-ENDLIST", "").split()]
    playlist = tmp_path / "m.m3u8"
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    with open_source(playlist) as source:
        source.packets.subscribe(frozenset(range(4)))
        moments = [float(frame.pts_seconds - source.origin_seconds) for frame in source]
        assert 3.9 < source.packets.last_dts_seconds(source.info.other_streams[0].index) < 4.1
    assert len(moments) == 96
    assert max(np.diff(moments)) < 0.1
    assert moments[-1] == pytest.approx(4, abs=0.1)
    assert len(times(playlist, start_seconds=Fraction(3))) in (24, 25)


@needs_ffmpeg
def test_a_period_whose_segments_go_on_counting_begins_where_the_manifest_says(clip: Path, tmp_path: Path):
    """As if it had a presentationTimeOffset, which such manifests lack."""
    text = make_dash(clip, tmp_path, "-map", "0:a", *H264).read_text()
    found = re.search(r"<Period[^>]*>(.*)</Period>", text, re.DOTALL)
    assert found is not None
    later = re.sub(r'startNumber="1"', 'startNumber="3"', found[1])
    later = re.sub(r"(<SegmentTimeline>).*?(</SegmentTimeline>)", r"", later, flags=re.DOTALL)
    later = re.sub(r'timescale="\d+"', 'timescale="10" duration="5"', later)
    mpd = tmp_path / "m.mpd"
    mpd.write_text(
        f'<MPD {NS} mediaPresentationDuration="PT3S"><Period duration="PT2S">{found[1]}</Period>'
        f'<Period duration="PT1S">{later}</Period></MPD>'
    )
    moments = times(mpd)
    assert len(moments) == 72
    assert max(np.diff([float(each) for each in moments])) < 0.1


@needs_ffmpeg
def test_video_and_sound_with_clocks_of_their_own_come_out_in_step(clip: Path, tmp_path: Path):
    """The video's clock shows 1 s where the period begins, the sound's 0 s."""
    make_dash(clip, tmp_path / "v", *H264, begin="3")
    sound = ["-ss", "4", "-t", "1", "-i", str(clip), "-vn", *H264[-4:], "-seg_duration", "0.5", "-f", "dash", "m.mpd"]
    (tmp_path / "a").mkdir()
    ffmpeg(*sound, folder=tmp_path / "a")
    numbers = (
        'timescale="10" duration="5" media="{0}/chunk-stream0-$Number%05d$.m4s" initialization="{0}/init-stream0.m4s"'
    )
    mpd = tmp_path / "m.mpd"
    mpd.write_text(
        f'<MPD {NS} mediaPresentationDuration="PT1S"><Period>'
        f'<AdaptationSet contentType="video"><SegmentTemplate startNumber="3" presentationTimeOffset="10" '
        f'{numbers.format("v")}/><Representation id="v" bandwidth="1"/></AdaptationSet>'
        f'<AdaptationSet contentType="audio"><SegmentTemplate {numbers.format("a")}/>'
        f'<Representation id="a" bandwidth="1"/></AdaptationSet></Period></MPD>'
    )
    for start in (None, Fraction(1, 2)):
        with open_source(mpd, SourceOptions(start_seconds=start)) as source:
            source.packets.subscribe(frozenset(range(4)))
            first, taken = None, []
            for frame in source:
                first = frame.pts_seconds - source.origin_seconds if first is None else first
                taken += source.packets.take()
                ahead = taken[-1].pts * taken[-1].time_base - frame.pts_seconds if taken else 0
                assert ahead < Fraction(1, 4)  # read side by side
            begin = taken[0].pts * taken[0].time_base - source.origin_seconds
            end = taken[-1].pts * taken[-1].time_base - source.origin_seconds
        assert first is not None
        assert first < Fraction(1, 20)
        assert abs(begin) < Fraction(1, 20)
        assert 0.9 < end + (start or 0) < 1.1


@needs_ffmpeg
def test_each_language_is_kept_once_at_its_best_the_main_one_first(
    clip: Path, tmp_path: Path, probe: Callable[..., Any]
):
    make_dash(clip, tmp_path, "-map", "0:a", "-map", "0:a", *H264, "-b:a:0", "32k", "-b:a:1", "96k")
    mpd = tmp_path / "m.mpd"
    text = mpd.read_text()
    sets = re.findall(r"<AdaptationSet.*?</AdaptationSet>", text, re.DOTALL)
    two = re.findall(r"<Representation.*?</Representation>", "".join(sets[1:]), re.DOTALL)

    def sound(number: int, language: str, role: str, *which: str) -> str:
        head = f'<AdaptationSet id="{number}" contentType="audio" lang="{language}"><Role value="{role}"/>'
        return f"{head}{''.join(which)}</AdaptationSet>"

    new = sound(1, "fr", "dub", two[0]) + sound(2, "en", "main", *two)
    text_set = '<AdaptationSet mimeType="text/vtt" lang="en"><Representation id="t" bandwidth="1"/></AdaptationSet>'
    mpd.write_text(text.replace(sets[1], new + text_set).replace(sets[2], ""))
    pass_through(mpd, tmp_path / "out.mkv")
    sounds = [s for s in probe(tmp_path / "out.mkv")["streams"] if s["codec_type"] == "audio"]
    assert [each["tags"]["language"] for each in sounds] == ["eng", "fre"] or [
        each["tags"]["language"] for each in sounds
    ] == ["en", "fr"]
    with av.open(str(tmp_path / "out.mkv")) as container:
        english, french = (sum(packet.size for packet in packets_of(container, at)) for at in (0, 1))
    assert english > 2 * french  # 96 kbit/s, of which there are 32 too
    with open_source(mpd) as source:
        assert "subtitles of DASH are left out" in source.info.notices


def packets_of(container: Any, sound: int) -> list[Any]:
    container.seek(0)
    return [packet for packet in container.demux(container.streams.audio[sound]) if packet.size]


class _Server(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/moved/"):
            target = "file:///etc/hostname" if self.path.endswith(".m4s") else self.path.removeprefix("/moved")
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        self.path = self.path.replace("/manifest", "/m.mpd")
        super().do_GET()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """A function that serves a folder and gives its address."""
    running: list[http.server.ThreadingHTTPServer] = []

    def serve(folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Server, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


@needs_ffmpeg
@pytest.mark.parametrize("name", ["m.mpd?token=1", "moved/m.mpd", "manifest"])
def test_a_video_on_a_web_server_is_read(variants: Path, serve: Callable[[Path], str], name: str):
    with open_source(f"{serve(variants.parent)}/{name}") as source:
        assert len(list(source)) == 48
        assert source.is_finite


@needs_ffmpeg
def test_a_server_cannot_send_a_reader_to_a_local_file(variants: Path, serve: Callable[[Path], str], tmp_path: Path):
    shutil.copytree(variants.parent, tmp_path / "x")
    mpd = tmp_path / "x" / "m.mpd"
    mpd.write_text(mpd.read_text().replace('media="chunk', 'media="moved/chunk'))
    with pytest.raises(InputError, match=r"cannot be read|holds no frame"):
        open_source(f"{serve(tmp_path / 'x')}/m.mpd")


SEGMENT_TIMES = {
    "a timeline": (
        'timescale="10" presentationTimeOffset="100"', '<S t="100" d="10" r="1"/><S d="5"/><S t="150" d="10"/>',
        {100: 0, 110: 1, 120: 2, 150: 5},
    ),
    "up to the next entry": ("", '<S t="0" d="2" r="-1"/><S t="6" d="2"/>', {0: 0, 2: 2, 4: 4, 6: 6}),
    "up to the period's end": (
        'timescale="10" presentationTimeOffset="100"', '<S t="100" d="30" r="-1"/>', {100: 0, 130: 3, 160: 6},
    ),
    "equal lengths": (
        'timescale="10" presentationTimeOffset="70" duration="25"', "", {70: 0, 95: 2.5, 120: 5, 145: 7.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SEGMENT_TIMES)
def test_addresses_hold_the_segments_own_times(kind: str):
    """``$Time$`` counts on the segments' clock, which shows ``presentationTimeOffset`` where the period begins."""
    attributes, entries, expected = SEGMENT_TIMES[kind]
    inner = template("$Time$", attributes, TIMELINE.format(entries) if entries else "")
    (period,) = manifests.read_manifest(manifest(mpd='mediaPresentationDuration="PT8S"', inner=inner).encode()).periods
    track = track_of(period.representations[0], period, Place("m.mpd", "http://127.0.0.1/m.mpd"))
    assert {int(each.address.rpartition("/")[2]): each.start_seconds for each in track.segments} == expected


@needs_ffmpeg
def test_a_cut_downloads_the_segments_that_it_needs(clip: Path, serve: Callable[[Path], str], tmp_path: Path):
    make_dash(clip, tmp_path, *H264)
    _Server.asked.clear()
    with open_source(f"{serve(tmp_path)}/m.mpd", SourceOptions(start_seconds=Fraction(3, 2))) as source:
        assert len(list(source)) == 12
    assert _Server.asked.count("/chunk-stream0-00001.m4s") == 1  # to see what the video is
    assert "/chunk-stream0-00004.m4s" in _Server.asked


def test_headers_cannot_be_given_for_a_video_of_many_files(serve: Callable[[Path], str], tmp_path: Path):
    (tmp_path / "m.mpd").write_text(manifest())
    with pytest.raises(UsageError, match="'headers' cannot be given for DASH"):
        open_source(f"{serve(tmp_path)}/m.mpd", SourceOptions(input_options={"headers": "X: 1"}))


def manifest(
    *, mpd: str = 'mediaPresentationDuration="PT2S"', inner: str = "<BaseURL>v.mp4</BaseURL>", **more: str
) -> str:
    attributes = more.get("attributes", 'codecs="avc1.42c00c"')
    return (
        f'{more.get("before", "")}<MPD {NS} {mpd}><Period>{more.get("period", "")}<AdaptationSet contentType="video">'
        f'{more.get("group", "")}<Representation id="v" bandwidth="1" {attributes}>{inner}</Representation>'
        "</AdaptationSet></Period></MPD>"
    )


def template(media: str, more: str = "", inner: str = "") -> str:
    return f'<SegmentTemplate media="{media}" {more}>{inner}</SegmentTemplate>'


TIMELINE = "<SegmentTimeline>{}</SegmentTimeline>"
LAUGHS = '<!DOCTYPE MPD [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
HOSTILE = {
    "entities": (manifest(before=LAUGHS), "document type declaration"),
    "external entity": (manifest(before='<!DOCTYPE MPD SYSTEM "file:///etc/passwd">'), "document type declaration"),
    "entities in UTF-16": (manifest(before=LAUGHS).encode("utf-16"), "document type declaration"),
    "deep": (manifest(period="<a>" * 70 + "</a>" * 70), "in one another"),
    "many elements": (manifest(period="<a/>" * 100_001), "more than 100000 elements"),
    "many periods": (f"<MPD {NS}>{'<Period/>' * 1001}</MPD>", "more than 1000 periods"),
    "torn": (manifest()[:-9], "not well-formed"),
    "unknown encoding": ('<?xml version="1.0" encoding="x-nix"?>' + manifest(), "not well-formed"),
    "another root": ("<html><MPD></MPD></html>", "root element is 'html'"),
    "parent folder": (manifest(inner="<BaseURL>../secret.mp4</BaseURL>"), "in its folder only"),
    "escaped parent folder": (manifest(inner="<BaseURL>%2e%2e/secret.mp4</BaseURL>"), "in its folder only"),
    "parent folder by parts": (manifest(period="<BaseURL>../</BaseURL>"), "in its folder only"),
    "absolute": (manifest(inner="<BaseURL>/etc/passwd</BaseURL>"), "in its folder only"),
    "file address": (manifest(inner="<BaseURL>file:///etc/passwd</BaseURL>"), "in its folder only"),
    "network from a file": (manifest(inner="<BaseURL>http://127.0.0.1:9/?token=x</BaseURL>"), r"token=\*\*\*.*URL"),
    "line feed": (manifest(inner=template("v&#10;#EXT-X-KEY:METHOD=NONE&#10;.mp4")), "control characters"),
    "quotation mark": (manifest(inner=template("v.mp4", 'initialization="v&quot;.mp4"')), "quotation marks"),
    "long name": (manifest(inner=f"<BaseURL>{'x' * 5000}</BaseURL>"), "too long"),
    "endless timeline": (
        manifest(inner=template("v.mp4", inner=TIMELINE.format('<S d="1" r="99999999999"/>'))), "more than 50000",
    ),
    "endless template": (
        manifest(mpd='mediaPresentationDuration="P99999D"', inner=template("v.mp4", 'duration="1"')), "more than 50000",
    ),
    "no length": (manifest(inner=template("v.mp4", inner=TIMELINE.format('<S t="0"/>'))), "without a length"),
    "no media": (manifest(inner="<SegmentTemplate/>"), "no media"),
    "a huge number": (manifest(inner=template("v.mp4", f'duration="{"9" * 5000}"')), "where a number is expected"),
    "a negative number": (manifest(inner=template("v.mp4", 'duration="-1"')), "where a number is expected"),
    "a time that is none": (manifest(mpd='mediaPresentationDuration="P1e999S"'), "where a duration is expected"),
    "a range that is none": (manifest(inner='<SegmentList><SegmentURL mediaRange="9-1"/></SegmentList>'), "byte range"),
    "an empty list": (manifest(inner="<SegmentList/>"), "has no segments"),
    "missing": (manifest(), "'v.mp4', which is not in its folder"),
    "a filled template": (
        manifest(inner=template("$RepresentationID$-$Number%03d$-$Time$-$Bandwidth%02d$$$.mp4", 'duration="1"')),
        r"'v-001-0-01\$\.mp4', which is not in its folder",
    ),
    "thumbnails alone": (
        manifest(group='<EssentialProperty schemeIdUri="http://dashif.org/guidelines/thumbnail_tile" value="9x9"/>'),
        "has no video",
    ),
    "no video": (manifest().replace("video", "audio"), "has no video"),
    "nothing": (f"<MPD {NS}/>", "lists no period"),
    "live": (manifest(mpd='type="dynamic"'), "live DASH, which is not read"),
    "encrypted": (manifest(group='<ContentProtection schemeIdUri="urn:x"/>'), "is encrypted"),
    "unknown codec": (manifest(attributes='codecs="ac-4"'), "coded as 'ac-4', which this FFmpeg cannot decode"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_cannot_be_played_is_refused_in_one_line(tmp_path: Path, kind: str):
    text, words = HOSTILE[kind]
    mpd = tmp_path / "m.mpd"
    mpd.write_bytes(text if isinstance(text, bytes) else text.encode())
    begun = time.monotonic()
    with pytest.raises(InputError, match=words) as caught:
        open_source(mpd)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 10
    assert isinstance(caught.value, UnsupportedInputError) == (kind in ("live", "encrypted", "unknown codec"))


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x.mp4", "data:video/mp4;base64,AAAA"])
def test_a_remote_manifest_names_web_addresses_only(serve: Callable[[Path], str], tmp_path: Path, address: str):
    (tmp_path / "m.mpd").write_text(manifest(inner=f"<BaseURL>{address}</BaseURL>"))
    with pytest.raises(InputError, match="on web servers only"):
        open_source(f"{serve(tmp_path)}/m.mpd")


def test_a_manifest_may_not_be_huge(serve: Callable[[Path], str], tmp_path: Path):
    (tmp_path / "m.mpd").write_text(manifest() + " " * (8 << 20))
    shutil.copy(tmp_path / "m.mpd", tmp_path / "noise.mkv")
    for name in (tmp_path / "m.mpd", f"{serve(tmp_path)}/m.mpd"):
        with pytest.raises(InputError, match="larger than any manifest"):
            open_source(name)
    with pytest.raises(InputError, match="is not a video"):
        open_source(f"{serve(tmp_path)}/noise.mkv")


def test_a_password_stays_with_its_server(serve: Callable[[Path], str], tmp_path: Path):
    (tmp_path / "m.mpd").write_text(manifest(inner="<BaseURL>//user:secret@127.0.0.1:9/v.mp4</BaseURL>"))
    address = serve(tmp_path).replace("http://", "http://me:hidden@")
    found = remote_manifest(f"{address}/moved/m.mpd")
    assert found is not None
    assert found[1].address == f"{address}/m.mpd"
    with pytest.raises(InputError) as caught:
        open_source(f"{address}/m.mpd")
    assert "hidden" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_content_decides_not_the_name(make_clip: Callable[..., Path], tmp_path: Path):
    shutil.copy(make_clip("a.mp4"), tmp_path / "a.mpd")
    assert len(times(tmp_path / "a.mpd")) == 10


def test_durations_are_exact():
    assert manifests.read_manifest(b'<MPD mediaPresentationDuration="P1DT2H3M4.5S"/>').duration_seconds == (
        86400 + 7200 + 180 + Fraction(9, 2)
    )
