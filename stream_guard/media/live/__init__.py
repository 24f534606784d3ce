"""Live media: one connection in, one encode out to many places."""

from .contract import AudioInfo, Dial, LiveOutput, LiveReader, LiveWriter, Tell, as_named
from .mould import LIVE_ENCODER
from .places import check_places, end_playlists, playlists
from .protocols import check_connects, file_path
from .redact import cut_path, redact, redact_text, secret_parts
from .sink import LiveSink
from .source import LiveSource, open_live

__all__ = [
    "LIVE_ENCODER",
    "AudioInfo",
    "Dial",
    "LiveOutput",
    "LiveReader",
    "LiveSink",
    "LiveSource",
    "LiveWriter",
    "Tell",
    "as_named",
    "check_connects",
    "check_places",
    "cut_path",
    "end_playlists",
    "file_path",
    "open_live",
    "playlists",
    "redact",
    "redact_text",
    "secret_parts",
]
