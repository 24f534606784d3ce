"""Live media: one connection in, one encode out to many places."""

from .contract import AudioInfo, LiveOutput, LiveReader, LiveWriter, Retry
from .redact import redact, redact_text
from .source import LiveSource, open_live

__all__ = [
    "AudioInfo",
    "LiveOutput",
    "LiveReader",
    "LiveSource",
    "LiveWriter",
    "Retry",
    "open_live",
    "redact",
    "redact_text",
]
