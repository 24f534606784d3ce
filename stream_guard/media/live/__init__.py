"""Live media: one connection in, one encode out to many places.

open_live(url, *, options={}, open_timeout_seconds=10, read_timeout_seconds=10, stall_seconds=5, max_width=0,
max_height=0, max_rate=0, allow_files=False, check_url=None, threads=0) -> LiveSource
"""

from .contract import AudioInfo, LiveOutput, LiveReader, LiveWriter, Retry

__all__ = ["AudioInfo", "LiveOutput", "LiveReader", "LiveWriter", "Retry"]
