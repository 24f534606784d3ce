"""Live media: one connection in, one encode out to many places."""

from .contract import AudioInfo, LiveOutput, LiveReader, LiveWriter
from .redact import redact, redact_text
from .sink import LiveSink
from .source import LiveSource, open_live

__all__ = [
    "AudioInfo",
    "LiveOutput",
    "LiveReader",
    "LiveSink",
    "LiveSource",
    "LiveWriter",
    "open_live",
    "redact",
    "redact_text",
]
