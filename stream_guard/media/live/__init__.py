"""Live media: one connection in, one encode out to many places."""

from .contract import AudioInfo, LiveOutput, LiveReader, LiveWriter
from .mould import LIVE_ENCODER
from .places import check_places
from .redact import redact, redact_text
from .sink import LiveSink
from .source import LiveSource, open_live

__all__ = [
    "LIVE_ENCODER",
    "AudioInfo",
    "LiveOutput",
    "LiveReader",
    "LiveSink",
    "LiveSource",
    "LiveWriter",
    "check_places",
    "open_live",
    "redact",
    "redact_text",
]
