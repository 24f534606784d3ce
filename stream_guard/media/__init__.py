"""Reading and writing video files and live streams. The only package that imports PyAV."""

from .info import CopiedPacket, SinkReport, SourceInfo, SourceReport, StreamInfo, VideoInfo
from .live import AudioInfo, LiveOutput, LiveSink, LiveSource, open_live, redact, redact_text
from .settings import EncoderSettings
from .sink import FileSink
from .source import Source, open_source
from .transcode import transcode

__all__ = [
    "AudioInfo",
    "CopiedPacket",
    "EncoderSettings",
    "FileSink",
    "LiveOutput",
    "LiveSink",
    "LiveSource",
    "SinkReport",
    "Source",
    "SourceInfo",
    "SourceReport",
    "StreamInfo",
    "VideoInfo",
    "open_live",
    "open_source",
    "redact",
    "redact_text",
    "transcode",
]
