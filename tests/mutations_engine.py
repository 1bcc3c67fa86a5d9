"""Breaks the engine in one user-visible place at a time and checks that tests fail.

``python tests/mutations_engine.py`` from the repository's root applies each mutation to a copy of the engine and runs
the tests closest to it; ``--only WORD`` and ``--every N`` select some. The exit code is 1 if more than ``--allowed``
(5 %) survive. All mutations take a quarter of an hour; the test suite tries a few.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence

from mutating import ROOT, Mutation, Mutator

PACKAGE = ROOT / "engine" / "animevid"


def _those(file: str, tests: str, *changes: tuple[str, str, str]) -> tuple[Mutation, ...]:
    """``file``, or if the code has moved, the only module of the engine that has ``old``."""
    paths = tuple(f"tests/{name}" for name in tests.split())
    return tuple(Mutation(what, _holder(file, old), old, new, paths) for what, old, new in changes)


def _holder(file: str, text: str) -> str:
    found = [name for name, source in _sources().items() if text in source]
    return found[0] if len(found) == 1 else file


@functools.cache
def _sources() -> dict[str, str]:
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


MUTATIONS: tuple[Mutation, ...] = (
    *_those(
        "http_fetch.py",
        "test_http_fetch.py styles/test_download.py",
        ("a server that gives no length sends for ever", "if have_bytes + received > limits.max_bytes or", "if"),
        ("a download has no longest time", "if seconds > limits.max_seconds:", "if False:"),
        ("a slow download is never given up", "if seconds > limits.grace_seconds and", "if False and"),
        ("headers are waited for as long as they come", "2 * limits.silence_seconds, lambda", "9e9, lambda"),
        (
            "a redirect out of https is followed",
            'downgrade = old.scheme == "https" and new.scheme == "http"',
            "downgrade = False",
        ),
        (
            "a password goes to the server that a redirect names",
            "and authorization is not None and new[:2] == old[:2]:",
            "and authorization is not None:",
        ),
    ),
    *_those(
        "io/dash/choice.py",
        "io/test_dash.py",
        (
            "DASH: the variant of most bits",
            "(each.width * each.height, each.rate, each.bandwidth)",
            "(each.bandwidth,)",
        ),
        ("DASH: the sound of fewest bits", "lambda each: (each.bandwidth,)", "lambda each: (-each.bandwidth,)"),
        ("DASH: a variant without a decoder", "if known is not None and not _has_decoder(known):", "if False:"),
        ("DASH: a dubbed sound comes first", '"main" not in groups[key][0].roles', "0"),
    ),
    *_those(
        "io/dash/segments.py",
        "io/test_dash.py",
        ("DASH: $Time$ of a timeline begins at 0", 'now = whole_number(given.get("t"), now)', "pass"),
        ("DASH: $Time$ of equal segments begins at 0", "yield offset + at * step, start", "yield at * step, start"),
        (
            "DASH: repeated segments lack the last",
            "number = whole_number(repeated, 0) + 1",
            "number = int(repeated) or 1",
        ),
        (
            "DASH: a repetition up to the next entry is one segment",
            "number = max(1, -((now - end) // length))",
            "number = 1",
        ),
    ),
    *_those(
        "io/dash/manifest.py",
        "io/test_dash.py",
        ("DASH: each period begins at 0", "starts[-1] + (lengths[at - 1] or 0) if starts", "Fraction(0) if starts"),
        ("DASH: storyboards are taken for the video", "if any(is_beside_the_video(each)", "if any(False"),
    ),
    *_those(
        "io/dash/container.py",
        "io/test_dash.py",
        (
            "DASH: a period is placed by its segments' own clock",
            "period.start_seconds - each.addressing.offset_seconds",
            "period.start_seconds",
        ),
        (
            "DASH: sound of a period reaches into the next",
            "if (number and seconds < part.start_seconds) or",
            "if False and",
        ),
        ("DASH: sound is read far ahead of the video", "- min(self.shifts.values()) <= _APART_SECONDS", "<= 1e9"),
        (
            "DASH: a cut begins at the first segment",
            "if seconds is None or self.is_measured:",
            "if True:",
        ),
    ),
    *_those(
        "io/hdr.py",
        "io/test_skin_tones.py io/test_colour.py",
        ("HLG without its system gamma", "np.maximum(luminance, 1e-6), 0.2)", "np.maximum(luminance, 1e-6), 0.0)"),
        (
            "BT.2020 colours kept as they are",
            "cv2.transform(light * gain[..., None], _BT2020_TO_BT709)",
            "(light * gain[..., None])",
        ),
        (
            "HLG's curve for PQ",
            "if self._transfer == TRANSFER_PQ else hlg_to_scene(code)",
            "if self._transfer != TRANSFER_PQ else hlg_to_scene(code)",
        ),
        ("a peak of 400 nits", "MASTER_PEAK_NITS = 1000.0", "MASTER_PEAK_NITS = 400.0"),
        (
            "red and blue exchanged",
            "return np.clip(np.stack([r, g, b], axis=2), 0, 1)",
            "return np.clip(np.stack([b, g, r], axis=2), 0, 1)",
        ),
    ),
    *_those(
        "io/streams.py",
        "io/test_cuts.py io/test_streams.py io/test_containers.py",
        (
            "re-encoded sound of a cut begins where the video did",
            "frame.pts -= ticks_from_seconds(self._origin, frame.time_base)",
            "pass",
        ),
        (
            "the last of re-encoded sound is lost",
            "yield from self._encode(None)\n        yield from self._count(self.stream.encode(None))",
            "yield from ()",
        ),
        (
            "cues of a cut at their old times",
            "begin = packet.pts - ticks_from_seconds(self._origin, self._time_base)",
            "begin = packet.pts",
        ),
        ("copied sound of a cut at its old time", "packet.pts -= self._shift", "pass"),
        (
            "languages lost",
            "stream_muxer.stream.metadata.update(stream_tags(dict(source_stream.metadata), muxer=output.format.name))",
            "pass",
        ),
        (
            "what plays by default is lost",
            "stream_muxer.stream.disposition = Disposition(source_stream.disposition)",
            "pass",
        ),
        ("the old rotation tag is kept", '        "rotate",\n', ""),
        ("an MP4's brands are tags of a Matroska", '        "major_brand",\n', ""),
        (
            "two cues of one start pushed apart",
            'not in ("audio", "video")  # cues may share a start time',
            'in ("audio", "video")',
        ),
        ("a cue lasts no time", "packet.duration = cue.end - cue.start", "packet.duration = 1"),
        ("stereo whatever it was", "encoded_layout(decision.target_codec, layout, rate_hz=rate)", '"stereo"'),
        ("only the last sound in FLV", "kept[0] if kept else None", "kept[-1] if kept else None"),
    ),
    *_those(
        "io/sinks/container.py",
        "io/test_cuts.py io/test_retries.py io/test_names.py io/test_formats_page.py io/test_streams.py "
        "io/test_time.py io/test_colour.py io/test_playlist.py io/test_sink.py",
        (
            "chapters of a cut at their old times",
            "start = max(chapter.start_seconds, source.origin_seconds) - source.origin_seconds",
            "start = chapter.start_seconds",
        ),
        ("a chapter beyond the cut's end", "end = min(end, source.end_seconds - source.origin_seconds)", "pass"),
        (
            "frames' durations lost",
            "raw.duration = 0 if duration is None else ticks_from_seconds(duration, base)",
            "raw.duration = 0",
        ),
        (
            "frames of a cut at their old times",
            "self._pace(frame.pts_seconds - self.origin_seconds, ",
            "self._pace(frame.pts_seconds, ",
        ),
        (
            "a viewer waits ten seconds to tune in",
            "_MAX_WAIT_TO_TUNE_IN = Fraction(2)",
            "_MAX_WAIT_TO_TUNE_IN = Fraction(10)",
        ),
        ("fragmented MP4 into a pipe is not", '"+frag_keyframe+empty_moov+default_base_moof"', '"+faststart"'),
        ("title and date lost", "output.metadata.update(lasting_metadata(template.info.metadata))", "pass"),
        (
            "the video's language lost",
            "self._stream.metadata.update(stream_tags(dict(stream.metadata), muxer=self._format))",
            "pass",
        ),
        ("no clock of the container's own", "tick = container_of(self.muxer).tick", "tick = None"),
        ("HEVC with the tag that Apple's players refuse", "stream.codec_context.codec_tag = tag", "pass"),
    ),
    *_those(
        "files.py",
        "io/test_playlist_order.py io/test_names.py io/test_sink.py io/test_playlist.py",
        ("the playlist before its segments", "for path in (*new, self.path):", "for path in (self.path, *new):"),
        ("a link is replaced", "return Path(os.path.realpath(path)) if path.is_symlink() else path", "return path"),
        ("permissions are the process's", "os.chmod(self.path, stat.S_IMODE(target.stat().st_mode))", "pass"),
        (
            "a name cut by letters",
            'os.fsencode(target.stem)[:_KEPT_STEM_BYTES].decode("utf-8", "ignore")',
            "target.stem[:_KEPT_STEM_BYTES]",
        ),
        (
            "a file that appeared meanwhile is replaced",
            "if not self._overwrite:\n                os.link",
            "if False:\n                os.link",
        ),
        ("the input may be the output", "_same_file(path, local_path(source)):", "False:"),
        (
            "old segments stay",
            "                path.unlink(missing_ok=True)\n        except",
            "                pass\n        except",
        ),
    ),
    *_those(
        "io/sources/container.py",
        "io/test_cuts.py io/test_time.py io/test_timeline.py io/test_video_shapes.py io/test_orientation.py "
        "io/test_containers.py io/test_colour.py io/test_images.py io/test_bad_input.py cli/test_choices.py",
        ("fields are never made whole", "if options.deinterlace and not on_device else None", "if False else None"),
        (
            "a cut that ends a frame late",
            "if end is not None and seconds >= end:\n                self._pass",
            "if end is not None and seconds > end:\n                self._pass",
        ),
        (
            "a cut begins at the key frame before",
            "if start_ticks is None or frame.pts is None or frame.pts >= start_ticks:",
            "if True:",
        ),
        (
            "an alpha channel that is not used",
            "self._reader.keep_alpha = not is_opaque(self._reader.read(self._first))",
            "pass",
        ),
        (
            "pixels keep their shape while the frame turns",
            "sample_aspect_ratio=1 / ratio if turned else ratio,\n        average_rate=rate",
            "sample_aspect_ratio=ratio,\n        average_rate=rate",
        ),
        ("cut-off videos are not said", "if 0 < size < last.pos + last.size:", "if False:"),
        (
            "grey frames of a recording that begins in between",
            "chain(from_first_key(self._demuxed, self._video_index, self._begin_whole), (None,))",
            "chain(self._demuxed, (None,))",
        ),
        (
            "sound of before a cut",
            "if (self.start is None and not self._begins_late) or seconds >= self.origin_seconds:",
            "if True:",
        ),
        (
            "a cover is taken for the video",
            "videos = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]",
            "videos = list(streams.video)",
        ),
    ),
    *_those(
        "io/sinks/frame_metadata.py",
        "io/test_frame_metadata.py",
        ("captions are lost", "captions = captions_of(raw, codec=self._codec)", 'captions = b""'),
        (
            "captions are put beside other frames",
            "self._captions.note(seconds, captions)",
            "self._captions.note(seconds + 1, captions)",
        ),
        ("captions are no unit of the stream", "return re.sub(rb", "return payload or re.sub(rb"),
        ("a spherical video becomes a flat one", "if path is None or not self._keeps_boxes:", "if True:"),
        ("the older box is left out", "self.sphere is None or self.sphere.is_cube", "True or self.sphere.is_cube"),
        ("what says sphere outlives another shape", "abs(after / before - 1) > SHAPE_TOLERANCE:", "False:"),
        ("chunks are looked for where they were", "if place > behind:", "if False:"),
        ("Matroska forgets that there are two views", 'stream.metadata["stereo_mode"] = ', "_ = "),
        ("lost captions are not said", "self._captions_lost |= bool(frame.captions)", "self._captions_lost |= False"),
    ),
    *_those(
        "io/colour.py",
        "io/test_colour.py io/test_cuts.py io/test_planes_io.py",
        (
            "full range is taken for limited",
            "known_range = ColourRange(colour_range)",
            "known_range = ColourRange.LIMITED",
        ),
    ),
    *_those(
        "io/timeline.py",
        "io/test_timeline.py",
        (
            "a clock that goes back by a second is believed",
            "_BACK_SECONDS = Fraction(1, 2)",
            "_BACK_SECONDS = Fraction(90)",
        ),
        ("leaps are kept", "_LEAP_SECONDS = Fraction(10)", "_LEAP_SECONDS = Fraction(100000)"),
    ),
    *_those(
        "io/planes_io.py",
        "io/test_video_to_jpeg.py io/test_planes_io.py io/test_images.py io/test_colour.py io/test_photos.py",
        (
            "video's range in JPEG",
            'if self.pixel_format == "yuvj420p" and name == "yuv420p" and same_code:',
            'if self.pixel_format == "yuvj420p" and name == "yuv420p":',
        ),
        (
            "the output's range is that of the input",
            "dst_color_range=int(ColourRange.FULL if to_rgb else goal.range)",
            "dst_color_range=int(source.range)",
        ),
        ("alpha is dropped without black", "planes = flatten_alpha(planes)", "planes = replace(planes, alpha=None)"),
        ("the last column is black", "target[:height, width:] = source[:height, width - 1 : width]", "pass"),
        ("10 bits become 8", "return 8 if max(part.bits for part in pixel_format.components) <= 8 else 10", "return 8"),
    ),
    *_those(
        "io/sinks/animation.py",
        "io/test_animation_faithful.py io/test_images.py io/test_photos.py",
        (
            "animations loop for ever",
            "self._plays = how_often_played(local_path(template.spec)) or 0",
            "self._plays = 0",
        ),
        ("a GIF of one loop too many", "str(self._plays - 1)}", "str(self._plays)}"),
        ("every entry of a palette is see-through", "colours[:_SEE_THROUGH, 0] = 255", "pass"),
        ("GIF frames faster than viewers show", "_MIN_GIF_FRAME_TICKS = 2", "_MIN_GIF_FRAME_TICKS = 1"),
        (
            "the quality of WebP is not passed on",
            'context.options = {"quality": str(self._quality)}',
            'context.options = {"quality": "5"}',
        ),
        ("the last frame's duration is FFmpeg's guess", "if self._last_duration:", "if False:"),
    ),
    *_those(
        "pixels/palette.py",
        "pixels/test_palette.py io/test_gif.py io/test_animation_faithful.py",
        (
            "one palette for all frames",
            "if self._palette is None or self._is_worse",
            "if self._palette is None or False and self._is_worse",
        ),
        ("a palette for each frame", "if self._palette is None or self._is_worse", "if True or self._is_worse"),
        ("colours of the median cut alone", "_REFINEMENTS = 4", "_REFINEMENTS = 0"),
        ("a dither that lightens", "(matrix - 31.5) / 32", "matrix / 32"),
    ),
    *_those(
        "io/open.py",
        "cli/test_choices.py io/test_images.py io/test_photos.py io/test_formats_page.py",
        (
            "a video to %03d.webp is an animation",
            '(suffix == ".webp" and (is_still or is_pattern))',
            '(suffix == ".webp" and is_still)',
        ),
        ("standard input is never a photo", "if may_be_still(file.head):", "if False:"),
        (
            "anamorphic videos are squeezed in images",
            "        return False\n    muxer",
            "        return True\n    muxer",
        ),
    ),
    *_those(
        "io/sources/images.py",
        "io/test_photos.py io/test_images.py io/test_heif.py",
        (
            "photos lie on their side",
            "return (turn_upright(planes, orientation) if self._upright else planes), facts",
            "return planes, facts",
        ),
        (
            "damaged photos are not said",
            "is_damaged = frame.is_corrupt or is_cut_short(data, kind)",
            "is_damaged = False",
        ),
        ("only the first tile", "return put_together(tiles, part) if", "return tiles[0] if"),
        ("EXIF is lost", "exif=lasting_exif(tags.exif)", 'exif=b""'),
        ("colour profiles are ignored", "if tags.profile:", "if False:"),
        ("the folder's rate", "step = 1 / self._rate", "step = Fraction(1, 25)"),
    ),
    *_those(
        "io/sources/image_files.py",
        "io/test_images.py cli/test_harms_nothing.py",
        ("2 after 10", 'parts = re.split(r"(\\d+)", str(path))', "parts = [str(path)]"),
        ("subfolders are forgotten", "return path.name if name.startswith(os.pardir) else name", "return path.name"),
    ),
    *_those(
        "io/sinks/images.py",
        "io/test_images.py io/test_photos.py io/test_video_to_jpeg.py",
        ("JPEG at the worst quality", '"qmin": str(scale), "qmax": str(scale)', '"qmin": "31", "qmax": "31"'),
        (
            "frames are numbered from 0",
            "self._pattern % (self.frames_written + 1)",
            "self._pattern % self.frames_written",
        ),
        ("PNG of 8 bits", "deep, has_alpha = planes.bit_depth > 8,", "deep, has_alpha = False,"),
    ),
    *_those(
        "io/sinks/published.py",
        "io/test_retries.py io/test_published.py",
        ("an encoder's error is taken for a lost server", "or not _is_of_the_network(error):", "or False:"),
        ("pauses are not reset", "            self._backoff.reset()\n", ""),
        (
            "a video's frames are dropped while the server is away",
            "if self._drops:\n            self._template",
            "if True:\n            self._template",
        ),
    ),
    *_those(
        "io/pacing.py",
        "io/test_pacing.py",
        ("everything at once", "while (left := due - self._now()) > 0 and not self._should_stop():", "while False:"),
        ("held for hours", "MAX_HOLD_SECONDS = 10.0", "MAX_HOLD_SECONDS = 1e9"),
    ),
    *_those(
        "io/sources/reconnecting.py",
        "io/test_retries.py io/test_reconnecting.py",
        ("reading again without a pause reset", "                    self._backoff.reset()\n", ""),
        ("the gap is closed", "gap = Fraction(max(0.0, away, missed)).limit_denominator(1000)", "gap = Fraction(0)"),
        ("sound of before the break goes back", "continue  # audio of the last connection", "pass  # audio"),
    ),
    *_those(
        "io/encoders.py",
        "io/test_formats_page.py io/test_encoders.py io/test_colour.py",
        (
            "--crf is ignored",
            'f"{crf if crf is not None else _DEFAULT_CRF[encoder]:g}"',
            'f"{_DEFAULT_CRF[encoder]:g}"',
        ),
        ("the bit rate is ignored", "context.bit_rate = plan.bitrate_bps", "pass"),
        ("10 bits become 8", "if frame_format.bit_depth == 8:", "if True:"),
        ("the shape of pixels is lost", "context.sample_aspect_ratio = frame_format.sample_aspect_ratio", "pass"),
    ),
    *_those(
        "run/conversion.py",
        "cli/test_choices.py cli/test_convert.py test_api.py io/test_formats_page.py",
        ("--compare split at the middle whatever is asked", "position=self._options.split_position", "position=0.5"),
        ("reading that stopped early is not said", "if self._source.read_error:", "if False:"),
        ("--size changes the shape", "if abs(shape - 1) > SHAPE_TOLERANCE:", "if False:"),
        ("separate images all of one size", "frames.fit_each if self._separate_images else frames.fit", "frames.fit"),
        ("every frame is drawn by itself", "if options.deflicker and not separate_images", "if False"),
        ("unchanged frames are drawn again", "FrameReuse(filtered) if options.skip_static else filtered", "filtered"),
    ),
    *_those(
        "run/queues.py",
        "run/test_latest_and_counter.py run/test_pipeline.py run/test_live.py",
        (
            "a slow sink does not hold the source back",
            "while len(self._items) >= self._capacity and not self._cancelled:",
            "while False:",
        ),
        (
            "the oldest frame wins",
            "                self._items.popleft()\n                self._dropped += 1",
            "                self._items.pop()\n                self._dropped += 1",
        ),
        ("whoever asks most gets most turns", "self._changed.wait_for(lambda: self._served == number)", "pass"),
    ),
    *_those(
        "run/adaptive.py",
        "run/test_adaptive.py",
        (
            "one slow frame lowers the quality",
            "load = costs[len(costs) // 2] / frame_seconds",
            "load = costs[-1] / frame_seconds",
        ),
        ("quality never comes back", "if load * price < limits.load_allowed_after_step_up:", "if False:"),
        ("it swings", "self._patience = min(self._patience * 2, limits.max_patience_seconds)", "pass"),
    ),
    *_those(
        "render/temporal.py",
        "render/test_temporal.py render/test_stylizer.py run/test_live.py",
        ("unchanged frames show the wrong one", "return replace(self._shown[1], alpha=planes.alpha)", "return planes"),
        ("the old drawing at another strength", "self._shown[0] == options", "True"),
        ("alpha of the frame before", "replace(self._shown[1], alpha=planes.alpha)", "self._shown[1]"),
    ),
    *_those(
        "render/stylizer.py",
        "render/test_stylizer.py run/test_live.py",
        ("strength is ignored", "strength = self._options.strength\n", "strength = 1.0\n"),
    ),
    *_those(
        "render/geometry.py",
        "render/test_stylizer.py run/test_live.py",
        (
            "large frames are stylized whole",
            "if not net_pixels or height * width <= net_pixels * _NET_PIXELS_SLACK:",
            "if True:",
        ),
    ),
    *_those(
        "server/auth.py",
        "server/test_login.py server/test_auth.py",
        (
            "any token opens",
            'return hmac.compare_digest((given or "").encode("utf-8", "replace"), '
            'self.token.encode("utf-8", "replace"))',
            "return bool(given)",
        ),
        ("a wrong token costs nothing", "_WRONG_TOKEN_SECONDS = 0.5", "_WRONG_TOKEN_SECONDS = 0.0"),
        ("the cookie goes over plain HTTP", "secure=request.secure", "secure=False"),
        ("scripts see the cookie", "httponly=True", "httponly=False"),
        ("other sites may change things", "not self.origin_allowed(request)", "False"),
        ("foreign names are served", "if not self.host_allowed(request.host):", "if False:"),
        ("no security headers", "response.headers.update(SECURITY_HEADERS)", "pass"),
    ),
    *_those(
        "server/uploads.py",
        "server/test_jobs.py server/test_auth.py server/test_uploads.py",
        (
            "several conversions at once",
            "self._one_at_a_time = asyncio.Semaphore(1)",
            "self._one_at_a_time = asyncio.Semaphore(9)",
        ),
        ("the line has no end", "> self.limits.waiting:", "> 1000:"),
        (
            "files of removed jobs stay",
            "        await _cancel(job.task)\n        shutil.rmtree(job.folder, ignore_errors=True)",
            "        await _cancel(job.task)",
        ),
        ("results are kept for ever", "now - job.touched_at_seconds > self.limits.keep_seconds", "False"),
        ("uploads of any size", "if received > limits.upload_bytes:", "if False:"),
        (
            "jobs that never end",
            "async with asyncio.timeout(self.limits.wall_seconds):",
            "async with asyncio.timeout(None):",
        ),
        (
            "everybody reads the uploads",
            "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600",
            "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644",
        ),
    ),
    *_those(
        "cli/progress.py",
        "cli/test_progress.py cli/test_convert.py cli/test_choices.py",
        ("JSON goes into the video", "sys.stderr if", "sys.stdout if"),
    ),
)


PRELOADED = ("av", "cv2", "numpy", "onnx", "onnxruntime", "PIL.Image", "aiohttp", "hypothesis", "pytest")
WORDS = ("-x", "-q", "-p", "no:cacheprovider", "--benchmark-disable")
MUTATOR = Mutator(PACKAGE, PRELOADED, WORDS)


def gone() -> list[Mutation]:
    """The mutations whose code snippet no longer occurs exactly once and must be rewritten."""
    return MUTATOR.gone(MUTATIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is imported
    return MUTATOR.main(MUTATIONS, arguments, script=__file__, about=__doc__, allowed=0.05)


if __name__ == "__main__":
    sys.exit(main())
