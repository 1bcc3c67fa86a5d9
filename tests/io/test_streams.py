"""No other stream is lost silently: it is copied where it can be, else converted or dropped with a notice."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction

import av
import pytest
from animevid.io import StreamAction, VideoSink, VideoSource
from animevid.io.cues import subtitle_text
from animevid.io.sinks.images import encode_image
from animevid.options import OutputOptions, SourceOptions
from passing import pass_through, read_frames

CHAPTERS = ((Fraction(0), Fraction(1, 5), "Opening"), (Fraction(1, 5), Fraction(2, 5), "Ending"))


def _decisions(source, target):
    with VideoSource(source) as template, VideoSink(target, template=template) as sink:
        return {decision.stream.kind: decision for decision in sink.decisions}


def _payloads(path, kind):
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (round(float(packet.pts * packet.time_base), 3), bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        ]


def _audio_seconds(path):
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.mark.parametrize(
    ("codec", "source", "target"),
    [
        ("aac", "a.mp4", "b.mkv"),
        ("aac", "a.mkv", "b.mp4"),
        ("libopus", "a.mkv", "b.webm"),
        ("libmp3lame", "a.mp4", "b.mov"),
    ],
)
def test_audio_is_copied_bit_for_bit_between_containers(make_clip, tmp_path, codec, source, target):
    clip, output = make_clip(source, audio_codec=codec), tmp_path / target
    assert _decisions(clip, output)["audio"].action is StreamAction.COPY
    pass_through(clip, output)
    assert [data for _, data in _payloads(output, "audio")] == [data for _, data in _payloads(clip, "audio")]


@pytest.mark.parametrize(("codec", "target", "becomes"), [("aac", "b.webm", "opus"), ("libmp3lame", "b.webm", "opus")])
def test_audio_the_container_cannot_hold_is_encoded_again(make_clip, tmp_path, codec, target, becomes):
    clip, output = make_clip("a.mkv", audio_codec=codec), tmp_path / target
    decision = _decisions(clip, output)["audio"]
    assert decision.action is StreamAction.REENCODE
    assert "re-encoded" in str(decision)
    pass_through(clip, output)
    with av.open(str(output)) as container:
        assert container.streams.audio[0].codec_context.name.removeprefix("lib") == becomes
    assert _audio_seconds(output) == pytest.approx(_audio_seconds(clip), abs=0.06)


@pytest.mark.parametrize(
    ("source", "kind", "target", "becomes"),
    [
        ("a.mkv", "subrip", "b.mkv", "subrip"),
        ("a.mkv", "subrip", "b.mp4", "mov_text"),
        ("a.mkv", "subrip", "b.webm", "webvtt"),
        ("a.mp4", "mov_text", "b.mp4", "mov_text"),
        ("a.mp4", "mov_text", "b.mkv", "subrip"),
    ],
)
def test_text_subtitles_survive_a_change_of_container(make_clip, tmp_path, source, kind, target, becomes):
    clip, output = make_clip(source, subtitles=kind, frames=10), tmp_path / target
    pass_through(clip, output)
    with av.open(str(output)) as container:
        stream = container.streams.subtitles[0]
        assert stream.codec_context.codec.canonical_name == becomes
        assert stream.metadata["language"] == "ger"
    lines = [(time, subtitle_text(data, codec=becomes)) for time, data in _payloads(output, "subtitle")]
    assert [line for line in lines if line[1]] == [(0.0, "line 0"), (0.1, "line 1")]


def test_ffprobe_agrees_about_changed_subtitles(make_clip, probe, tmp_path):
    output = tmp_path / "b.mp4"
    pass_through(make_clip("a.mkv", subtitles="subrip"), output)
    stream = next(stream for stream in probe(output)["streams"] if stream["codec_type"] == "subtitle")
    assert stream["codec_name"] == "mov_text"
    assert stream["tags"]["language"] == "ger"


@pytest.mark.parametrize(
    ("payload", "codec", "text"),
    [
        (b"\x00\x05hello\x00\x00\x00\x0cstyl\x00\x00\x00\x00", "mov_text", "hello"),
        (b"0,0,Default,,0,0,0,,{\\i1}one{\\i0}\\Ntwo, three", "ass", "one\ntwo, three"),
        (b"plain <i>text</i> &amp; {\\an8}more", "subrip", "plain text & more"),
        (b"0,0,D,,0,0,0,,{\\p1}m 0 0 l 9 9{\\p0}words", "ass", "words"),
    ],
)
def test_the_text_of_a_subtitle_packet_is_found(payload, codec, text):
    assert subtitle_text(payload, codec=codec) == text


def test_a_font_attachment_is_copied_where_it_can_be(make_clip, tmp_path):
    clip = make_clip("font.mkv", attachment=b"not really a font")
    output = tmp_path / "out.mkv"
    pass_through(clip, output)
    with av.open(str(output)) as container:
        attachment = next(stream for stream in container.streams if stream.type == "attachment")
        assert attachment.data == b"not really a font"
        assert attachment.name == "note.ttf"


def test_a_dropped_attachment_is_reported_in_one_line(make_clip, tmp_path):
    report = pass_through(make_clip("font.mkv", attachment=b"not really a font"), tmp_path / "out.mp4")
    (line,) = report.decisions
    assert "attachment" in line
    assert "dropped" in line
    assert "\n" not in line


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_and_metadata_are_carried(make_clip, probe, tmp_path, suffix):
    clip = make_clip(f"book{suffix}", chapters=CHAPTERS, metadata={"title": "A video", "artist": "Somebody"})
    output = tmp_path / f"out{suffix}"
    pass_through(clip, output)
    probed = probe(output)
    chapters = [(float(c["start_time"]), float(c["end_time"]), c["tags"]["title"]) for c in probed["chapters"]]
    assert chapters == [(float(start), float(end), title) for start, end, title in CHAPTERS]
    tags = {key.lower(): value for key, value in probed["format"]["tags"].items()}
    assert (tags["title"], tags["artist"]) == ("A video", "Somebody")


def test_chapters_of_a_cut_move_with_it(make_clip, probe, tmp_path):
    output = tmp_path / "out.mkv"
    pass_through(make_clip("book.mkv", chapters=CHAPTERS), output, start_seconds=Fraction(3, 25))
    chapters = [(float(c["start_time"]), float(c["end_time"])) for c in probe(output)["chapters"]]
    assert chapters == [(0.0, 0.08), (0.08, 0.28)]


def test_streams_are_left_out_on_request(make_clip, tmp_path):
    output = tmp_path / "out.mp4"
    pass_through(make_clip("a.mp4", audio_codec="aac"), output, settings=OutputOptions(copy_streams=False))
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.shared
def test_audio_that_cannot_be_decoded_is_still_copied(clips, tmp_path):
    source, output = clips / "broken_audio.mp4", tmp_path / "out.mp4"
    report = pass_through(source, output)
    assert report.packets_copied == 431
    assert _payloads(output, "audio") == _payloads(source, "audio")


@pytest.mark.shared
def test_real_audio_and_subtitles_change_container(clips, probe, tmp_path):
    output = tmp_path / "out.mkv"
    pass_through(clips / "nasa_2video_2audio_2subs.mp4", output)
    streams = probe(output)["streams"]
    assert [stream["codec_name"] for stream in streams] == ["h264", "aac", "subrip", "h264", "aac", "subrip"]


@pytest.mark.shared
def test_waiting_packets_do_not_pile_up(clips):
    """Only packets between the frame being read and the one being written are queued."""
    with VideoSource(clips / "bbb_480p_30s_aac.mp4", SourceOptions(end_seconds=Fraction(8))) as source:
        source.packets.subscribe(frozenset({1}))
        most = 0
        for _ in source:
            most = max(most, len(source.packets.take()))
        assert most < 120


def test_without_a_sink_nothing_is_kept_back(make_clip):
    with VideoSource(make_clip("a.mp4", audio_codec="aac")) as source:
        list(source)
        assert source.packets.take() == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover_image_stays_one_or_is_named_as_dropped(make_clip, tmp_path, suffix):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed: it makes the file with a cover")
    clip, cover = tmp_path / "video.mp4", tmp_path / "cover.png"
    cover.write_bytes(encode_image(read_frames(make_clip("even.mp4"))[0].planes, ".png"))
    command = ["ffmpeg", "-v", "error", "-i", str(make_clip("even.mp4")), "-i", str(cover), "-map", "0", "-map", "1"]
    subprocess.run([*command, "-c", "copy", "-disposition:v:1", "attached_pic", str(clip)], check=True)
    with VideoSource(clip) as source:
        assert [stream.is_cover for stream in source.info.other_streams] == [True]
    output = tmp_path / f"out{suffix}"
    report = pass_through(clip, output)
    assert report.frames_written == 10
    with VideoSource(output) as source:
        covers = [stream.is_cover for stream in source.info.other_streams]
        assert source.info.codec == "h264"
    assert covers == [True]
    (line,) = report.decisions
    assert line.startswith("cover image")
    assert ("copied" if covers else "dropped") in line


def test_a_gif_as_cover_stays_one_in_matroska_and_is_no_kind_of_mp4(make_clip, tmp_path):
    video, gif = (
        tmp_path / "video.mkv",
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
    )
    with av.open(str(make_clip("even.mp4"))) as clip, av.open(str(video), "w") as output:
        stream = output.add_stream_from_template(clip.streams.video[0])
        output.add_attachment("cover.gif", "image/gif", gif)
        for packet in clip.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    assert "no cover images of this kind" in pass_through(video, tmp_path / "out.mp4").decisions[0]
    assert pass_through(video, tmp_path / "out.mkv").decisions[0].endswith("(gif): copied")
    with VideoSource(tmp_path / "out.mkv") as source:
        assert [stream.is_cover for stream in source.info.other_streams] == [True]


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_a_time_code_track_does_not_stand_in_the_way(make_clip, tmp_path, suffix):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed: it makes the file with a time code")
    clip, output = tmp_path / "video.mov", tmp_path / f"out{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", str(make_clip("even.mp4")), "-c", "copy", "-timecode", "01:00:00:00"]
    subprocess.run([*command, str(clip)], check=True)
    report = pass_through(clip, output)
    assert report.frames_written == 10
    assert all("data" in line for line in report.decisions)
    with av.open(str(output)) as container:
        tags = {**container.metadata, **container.streams.video[0].metadata}
    assert "01:00:00:00" in tags.values()
