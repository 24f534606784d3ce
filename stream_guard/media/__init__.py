"""Reading and writing video files. The only package that imports PyAV."""

from .info import CopiedPacket, SinkReport, SourceInfo, SourceReport, StreamInfo, VideoInfo
from .settings import EncoderSettings
from .sink import FileSink
from .source import Source, open_source
from .transcode import transcode

__all__ = [
    "CopiedPacket",
    "EncoderSettings",
    "FileSink",
    "SinkReport",
    "Source",
    "SourceInfo",
    "SourceReport",
    "StreamInfo",
    "VideoInfo",
    "open_source",
    "transcode",
]
