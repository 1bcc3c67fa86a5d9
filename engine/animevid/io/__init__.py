"""PyAV in, PyAV out: packets to frames with exact time, colour and rotation; everything not video passes by."""

from animevid.frame import Frame
from animevid.io.encoders import EncoderPlan, PictureKind
from animevid.io.open import open_asked, open_sink, open_source
from animevid.io.sink import Sink, SinkReport
from animevid.io.sinks.animation import AnimationSink
from animevid.io.sinks.container import VideoSink
from animevid.io.sinks.container_plan import picture_kind_of
from animevid.io.sinks.images import ImageFolderSink, ImageSink
from animevid.io.source import Chapter, Source, SourceInfo, StreamInfo
from animevid.io.sources.container import VideoSource
from animevid.io.sources.images import ImageSource
from animevid.io.sources.reconnecting import ReconnectingSource, may_come_back
from animevid.io.streams import StreamAction, StreamDecision
from animevid.options import EncodeOptions, OutputOptions

#: What they were called before.
EncoderSettings, OutputSettings = EncodeOptions, OutputOptions

__all__ = [
    "AnimationSink",
    "Chapter",
    "EncodeOptions",
    "EncoderPlan",
    "Frame",
    "ImageFolderSink",
    "ImageSink",
    "ImageSource",
    "OutputOptions",
    "PictureKind",
    "ReconnectingSource",
    "Sink",
    "SinkReport",
    "Source",
    "SourceInfo",
    "StreamAction",
    "StreamDecision",
    "StreamInfo",
    "VideoSink",
    "VideoSource",
    "may_come_back",
    "open_asked",
    "open_sink",
    "open_source",
    "picture_kind_of",
]
