"""Per-frame metadata: captions, and spherical or stereoscopic (3D) properties."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from av.stream import Disposition

from animevid.io.captions import Captions
from animevid.io.encoders import SHAPE_TOLERANCE, EncoderPlan, FrameFormat
from animevid.io.immersive import Immersive
from animevid.io.mp4_boxes import add_boxes
from animevid.io.sinks.container_plan import correct_decoding_times
from animevid.io.source import Source

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    from animevid.io.network.protocols import MediaOutput
    from animevid.io.packets import MediaPacket

log = logging.getLogger(__name__)

_HOLD_BOXES = ("mp4", "mov")
_HOLD_STEREO = ("matroska", "webm")


class FrameMetadata:
    """Copies this metadata from ``template`` into one output. One thread uses it.

    Args:
        template: the source; ``None``: no metadata.
        frame_format: the format of the output's frames.
        muxer: FFmpeg's name for the container.
        is_file: whether the output is a file, so that boxes can be inserted when it is finished.
    """

    def __init__(self, template: Source | None, frame_format: FrameFormat, *, muxer: str, is_file: bool) -> None:
        self._captions = Captions()
        self._has_captions = False
        self._muxer = muxer
        self._number = 0
        immersive = template.info.immersive if template is not None else None
        self._immersive = immersive or Immersive()
        lost: tuple[str, ...] = ()
        reason = ""
        if immersive is not None and template is not None:
            lost, reason = _lost(immersive, template, frame_format, muxer=muxer, is_file=is_file)
        said = f"the source is {' and '.join(lost)}: this metadata is lost ({reason})"
        #: A one-line notice if something is lost.
        self.notices: tuple[str, ...] = (said,) if lost else ()
        self._keeps_boxes = muxer in _HOLD_BOXES and not set(self._immersive.kinds) & set(lost)

    def tag(self, output: MediaOutput, stream: VideoStream) -> None:
        """Set the tags of the output's ``stream`` before its header is written."""
        self._number = sum(
            1
            for other in output.streams.video
            if other.index < stream.index and not other.disposition & Disposition.attached_pic
        )
        if self._muxer in _HOLD_STEREO and self._immersive.stereo is not None:
            stream.metadata["stereo_mode"] = self._immersive.stereo.matroska_name

    def note(self, captions: bytes, seconds: Fraction) -> None:
        """Store the ``captions`` of the frame at ``seconds`` (on the output's clock) for its packet."""
        self._has_captions = True
        self._captions.note(seconds, captions)

    def through(self, packets: Sequence[MediaPacket], plan: EncoderPlan) -> Iterable[MediaPacket]:
        """An encoder's packets with their captions, ready to be muxed."""
        correct_decoding_times(packets)
        return self._captions.put_into(packets, codec=plan.codec) if self._has_captions else packets

    def complete(self, path: Path | None) -> None:
        """Insert the boxes that can only be added to the finished file."""
        if path is None or not self._keeps_boxes:
            return
        found = self._immersive
        into_entry, into_track = found.entry_boxes, found.track_boxes
        if into_entry and not add_boxes(path, video_track=self._number, into_entry=into_entry, into_track=into_track):
            log.warning("the metadata of %s video could not be written", " and ".join(found.kinds))


def _lost(
    immersive: Immersive, template: Source, frame_format: FrameFormat, *, muxer: str, is_file: bool
) -> tuple[tuple[str, ...], str]:
    """The properties that the output cannot store, and the reason."""
    info, kinds, unknown = template.info, immersive.kinds, immersive.lost
    before = Fraction(info.display_width, info.display_height) * info.sample_aspect_ratio
    after = Fraction(frame_format.width, frame_format.height) * frame_format.sample_aspect_ratio
    if info.rotation_degrees or abs(after / before - 1) > SHAPE_TOLERANCE:
        return kinds + unknown, "its frames are turned or of another shape"
    if muxer in _HOLD_STEREO and immersive.sphere is not None:
        return kinds[:1] + unknown, "only MP4 and MOV hold it"
    if muxer not in (*_HOLD_STEREO, *_HOLD_BOXES) or (muxer in _HOLD_BOXES and not is_file):
        return kinds + unknown, "only MP4 and MOV files hold it"
    return unknown, "its kind is not supported"
