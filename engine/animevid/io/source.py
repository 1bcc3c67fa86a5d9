"""The base class of sources: files, streams, folders of images, GIFs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from animevid.errors import UsageError
from animevid.frame import Frame
from animevid.io.immersive import Immersive
from animevid.io.network.protocols import Spec
from animevid.io.packets import PacketQueue
from animevid.pixels.colour import Colour
from animevid.redaction import redacted

if TYPE_CHECKING:
    from av.stream import Stream


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a container."""

    index: int
    kind: str  # "video", "audio", "subtitle", "attachment", "data" or "unknown"
    codec: str
    language: str | None = None
    title: str | None = None
    is_default: bool = False
    is_cover: bool = False  # an attached picture, not video


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named span on the source's clock."""

    start_seconds: Fraction
    end_seconds: Fraction
    title: str
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Properties of an open source.

    ``width`` and ``height`` are the stored frame's; ``display_width`` and ``display_height`` those of the frames that
    the source yields (upright, if it turns them), in pixels that are ``sample_aspect_ratio`` times as wide as high
    (after the turn). ``colour``, ``bit_depth`` and ``has_alpha`` describe those frames. ``is_variable_rate`` is a
    hint; time stamps are used in either case. ``duration_seconds`` and ``frame_count`` are ``None`` if the container
    does not say (``frame_count`` is an estimate otherwise). ``is_still``: one image without time. ``immersive``:
    spherical and stereoscopic properties. ``notices`` are one-line remarks for users.
    """

    width: int
    height: int
    display_width: int
    display_height: int
    rotation_degrees: int
    sample_aspect_ratio: Fraction
    average_rate: Fraction | None
    is_variable_rate: bool
    time_base: Fraction
    duration_seconds: Fraction | None
    frame_count: int | None
    colour: Colour
    bit_depth: int
    pixel_format: str
    has_alpha: bool
    codec: str
    container: str
    stream_index: int = 0
    is_still: bool = False
    other_streams: tuple[StreamInfo, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    immersive: Immersive | None = None
    notices: tuple[str, ...] = ()


class Source(ABC):
    """An iterator of :class:`Frame` with exact times, and the packets of other streams beside it. A context manager.

    ``packets`` queues the packets of other streams for a sink made before the first frame is taken. ``origin_seconds``
    is the time on the source's clock that becomes zero in an output, ``end_seconds`` the end of a cut.
    """

    spec: Spec
    info: SourceInfo
    packets: PacketQueue
    origin_seconds: Fraction
    frames_decoded: int
    frames_concealed: int
    #: Why reading stopped before the end, as one line; ``None`` if it did not.
    read_error: str | None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def close(self) -> None:
        """Free the file. Safe to call twice."""

    @property
    def end_seconds(self) -> Fraction | None:
        return None

    @property
    def can_be_sought(self) -> bool:
        """Whether the source can be read from any of its key frames on, and its packets without decoding."""
        return False

    def passing_packets(self) -> Iterator[Fraction]:
        """Read to the end without decoding, if ``can_be_sought``; yields the decoding times of the frames on the
        source's clock. Other streams' packets go to ``packets``.

        Raises:
            UsageError: it cannot be read that way.
        """
        raise UsageError(f"path = {redacted(self.spec)!r} can only be read frame by frame: give a video file")

    @property
    def is_finite(self) -> bool:
        """False for a source that may never end by itself: a camera, a live stream."""
        return True

    @property
    def is_live(self) -> bool:
        """Whether the source continues while it is not read."""
        return False

    @property
    def is_on_device(self) -> bool:
        """Whether frames are in GPU memory."""
        return False

    @property
    def notices_so_far(self) -> tuple[str, ...]:
        """One-line remarks on problems found while reading."""
        return ()

    @property
    def unrelated_streams(self) -> Mapping[int, str]:
        """Stream index -> reason, for streams of the container that do not belong to the video."""
        return {}

    @property
    def lost_images(self) -> tuple[str, ...]:
        """One line for each separate image that is damaged or skipped (frames of a video are only counted)."""
        return ()

    @property
    def media_streams(self) -> Sequence[Stream]:
        """The open ``av`` streams of the container in order; empty if there is no container."""
        return ()

    @property
    def image_names(self) -> Sequence[str]:
        """Names of a source of separate images, in order, with their folders below ``image_root``; none otherwise."""
        return ()

    @property
    def image_root(self) -> Path:
        """The folder in which ``image_names`` lie."""
        return Path()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
