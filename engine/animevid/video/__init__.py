"""PyAV in, PyAV out: packets to frames with exact time, colour and rotation; everything not video passes by."""

from animevid.video.animation import AnimationSink
from animevid.video.base import Chapter, Sink, SinkReport, Source, SourceInfo, StreamInfo
from animevid.video.encoders import EncoderPlan, EncoderSettings, PictureKind
from animevid.video.frame import Frame
from animevid.video.images import ImageSource
from animevid.video.open import open_sink, open_source
from animevid.video.reconnect import ReconnectingSource, may_come_back
from animevid.video.sink import OutputSettings, VideoSink, picture_kind_of
from animevid.video.source import VideoSource
from animevid.video.stills import ImageFolderSink, ImageSink
from animevid.video.streams import StreamAction, StreamDecision

__all__ = [
    "AnimationSink",
    "Chapter",
    "EncoderPlan",
    "EncoderSettings",
    "Frame",
    "ImageFolderSink",
    "ImageSink",
    "ImageSource",
    "OutputSettings",
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
    "open_sink",
    "open_source",
    "picture_kind_of",
]
