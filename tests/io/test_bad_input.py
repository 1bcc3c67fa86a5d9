"""Bad input gives a one-line error; the readable part of a damaged file is converted, and damage is counted."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction

import pytest
from animevid.errors import InputError, UnsupportedInputError, UsageError
from animevid.io import VideoSource, open_source
from animevid.options import SourceOptions
from av.error import PatchWelcomeError
from passing import pass_through, read_frames


def _refused(spec, error, word, **options):
    with pytest.raises(error, match=word) as caught:
        open_source(spec, SourceOptions(**options))
    assert "\n" not in str(caught.value)
    assert type(caught.value).__name__ != "FFmpegError"


def test_a_missing_file(tmp_path):
    _refused(tmp_path / "no.mp4", InputError, "does not exist")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    _refused(tmp_path / "empty.mp4", InputError, "not a video")


def test_a_text_that_is_called_mp4(tmp_path):
    (tmp_path / "text.mp4").write_text("Dear diary,\n" * 200)
    _refused(tmp_path / "text.mp4", InputError, "not a video")


def test_noise_that_is_called_mkv(tmp_path):
    import numpy as np

    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(20_000))
    _refused(tmp_path / "noise.mkv", InputError, "noise.mkv")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    _refused(tmp_path, InputError, "no images")


def test_a_glob_that_matches_nothing(tmp_path):
    _refused(tmp_path / "*.png", InputError, "no images")


def test_a_song_with_a_cover_is_no_video(tmp_path):
    import av
    import numpy as np
    from av.stream import Disposition

    song = tmp_path / "song.m4a"
    with av.open(str(song), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1, width=32, height=32, pix_fmt="yuvj420p")
        cover.disposition = Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        quiet.sample_rate = 48000
        out.mux(sound.encode(quiet))
        out.mux(sound.encode(None))
    with av.open(str(song)) as container:
        assert container.streams.video[0].disposition & Disposition.attached_pic
    _refused(song, InputError, "has no video stream")


def test_sound_without_video(make_clip, tmp_path):
    import av

    source = tmp_path / "sound.m4a"
    with av.open(str(make_clip("a.mp4", audio_codec="aac"))) as clip, av.open(str(source), "w", format="mp4") as out:
        stream = out.add_stream_from_template(clip.streams.audio[0])
        for packet in clip.demux(audio=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    _refused(source, InputError, "no video stream")


def test_a_container_without_frames(make_clip, tmp_path):
    import av

    target = tmp_path / "none.mkv"
    with av.open(str(target), "w") as out:
        out.add_stream("libx264", rate=25)
        out.start_encoding()
    _refused(target, InputError, "none.mkv")


def test_a_stream_that_is_not_there(make_clip):
    _refused(make_clip("even.mp4"), UsageError, "stream_index = 7", stream_index=7)


def test_a_stream_that_is_not_video(make_clip):
    _refused(make_clip("a.mp4", audio_codec="aac"), UsageError, "stream_index = 1", stream_index=1)


@pytest.mark.parametrize("url", ["gopher://x/y.mp4", "concat://a|b"])
def test_a_protocol_that_is_not_on_the_list(url):
    _refused(url, UsageError, "scheme")


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:x.mp4", "data:text/plain,hello"])
def test_a_local_name_never_becomes_a_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    _refused(name, InputError, "does not exist")


def test_a_playlist_on_disk_may_not_fetch_from_the_network(tmp_path):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    _refused(playlist, InputError, "list.m3u8")


def test_a_server_that_does_not_answer():
    _refused("http://127.0.0.1:9/x.mp4", InputError, "127.0.0.1")


def test_a_file_that_may_not_be_read(make_clip, tmp_path):
    import os

    path = tmp_path / "locked.mp4"
    shutil.copy(make_clip("even.mp4"), path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user (root?) may read everything")
    _refused(path, InputError, "permissions")


def test_an_encrypted_video(make_clip, tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed: it makes the encrypted file")
    target = tmp_path / "secret.mp4"
    key = "00112233445566778899aabbccddeeff"
    command = ["ffmpeg", "-v", "error", "-i", str(make_clip("even.mp4")), "-c", "copy"]
    command += ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key, str(target)]
    subprocess.run(command, check=True)
    _refused(target, UnsupportedInputError, "encrypted")


def test_an_mp4_whose_index_is_cut_off_is_refused(make_clip, tmp_path):
    data = make_clip("even.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    _refused(tmp_path / "cut.mp4", InputError, "cut off")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["no_duration.webm", "signer_ccby.mkv"])
def test_a_video_that_breaks_off_is_converted_as_far_as_it_goes(clips, tmp_path, name):
    data = (clips / name).read_bytes()
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(data[: len(data) // 2])
    whole = len(read_frames(clips / name))
    report = pass_through(cut, tmp_path / "out.mkv")
    assert 0 < report.frames_written < whole
    assert len(read_frames(tmp_path / "out.mkv")) == report.frames_written


def test_an_mp4_that_breaks_off_after_its_index_is_converted_as_far_as_it_goes(make_clip, tmp_path):
    clip = make_clip("fast.mp4", frames=40, width=320, height=240, container_options={"movflags": "+faststart"})
    data = clip.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with VideoSource(cut) as source:
        frames = list(source)
        assert 0 < len(frames) < 40
        assert source.info.frame_count == 40
        assert "cut off" in source.read_error


@pytest.mark.shared
def test_damage_is_concealed_and_counted(clips, tmp_path):
    data = bytearray((clips / "portrait_540x960_aac.mp4").read_bytes())
    for position in range(len(data) // 4, len(data) // 3, 20_011):
        data[position : position + 300] = bytes(300)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    with VideoSource(damaged) as source:
        frames = list(source)
        assert sum(frame.concealed for frame in frames) > 0
        assert source.frames_concealed >= sum(frame.concealed for frame in frames)
        assert 275 < len(frames) <= 285
    assert pass_through(damaged, tmp_path / "out.mp4", frames=100).frames_written == 100


def test_a_gap_in_a_broadcast_is_counted(make_clip, tmp_path):
    clip = make_clip("video.ts", frames=50, width=320, height=240, time_base=Fraction(1, 90000))
    data = bytearray(clip.read_bytes())
    del data[188 * 40 : 188 * 43]  # three transport packets lost
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    with VideoSource(damaged) as source:
        assert 30 < len(list(source)) < 50
        assert source.frames_concealed > 0


def test_a_whole_video_has_nothing_concealed(make_clip):
    with VideoSource(make_clip("even.mp4")) as source:
        assert len(list(source)) == 10
        assert source.frames_concealed == 0
        assert source.read_error is None


def test_a_source_may_be_closed_while_another_thread_reads(make_clip):
    import threading

    clip = make_clip("long.mp4", frames=200, audio_codec="aac", audio_seconds=Fraction(8))
    for _ in range(5):
        source = VideoSource(clip)
        started = threading.Event()

        def read(source=source, started=started):
            for _ in source:
                started.set()

        reader = threading.Thread(target=read)
        reader.start()
        started.wait()
        source.close()
        reader.join()


def test_what_a_decoder_cannot_do_amid_a_video_is_damage_and_no_end(make_clip):
    """Chained Ogg: FFmpeg's Theora decoder calls the second video's headers not yet implemented."""

    class Decoder:
        def __init__(self, inner):
            self.inner, self.count = inner, 0

        def decode(self, packet):
            self.count += 1
            if self.count == 5:
                raise PatchWelcomeError(0, "Not yet implemented")
            return self.inner.decode(packet)

    with VideoSource(make_clip("even.mp4")) as source:
        source._decoder = Decoder(source._decoder)
        assert len(list(source)) == 9
        assert source.frames_concealed == 1
