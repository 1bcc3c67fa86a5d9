"""Reading and writing with PyAV: frames with exact time, colour and rotation; packets of other streams are copied."""

from animevid.frame import Frame
from animevid.io.encoders import EncoderPlan, FrameFormat
from animevid.io.open import open_sink, open_source
from animevid.io.sink import Sink, SinkReport
from animevid.io.sinks.animation import AnimationSink
from animevid.io.sinks.container import VideoSink
from animevid.io.sinks.container_plan import frame_format_of
from animevid.io.sinks.images import ImageFolderSink, ImageSink
from animevid.io.source import Chapter, Source, SourceInfo, StreamInfo
from animevid.io.sources.container import VideoSource
from animevid.io.sources.images import ImageSource
from animevid.io.sources.reconnecting import ReconnectingSource, may_come_back
from animevid.io.streams import StreamAction, StreamDecision
from animevid.options import EncodeOptions, OutputOptions

#: Former names.
EncoderSettings, OutputSettings = EncodeOptions, OutputOptions
PictureKind, picture_kind_of = FrameFormat, frame_format_of

__all__ = [
    "AnimationSink",
    "Chapter",
    "EncodeOptions",
    "EncoderPlan",
    "Frame",
    "FrameFormat",
    "ImageFolderSink",
    "ImageSink",
    "ImageSource",
    "OutputOptions",
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
    "frame_format_of",
    "may_come_back",
    "open_sink",
    "open_source",
]
