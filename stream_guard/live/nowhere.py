"""The sink of a stream that is only looked at: nothing is encoded."""

from __future__ import annotations

from typing import Any

from ..media import CopiedPacket
from ..media.live import LiveReader
from ..types import Frame


class Nowhere:
    """Takes everything and keeps nothing; a LiveWriter without outputs."""

    @property
    def outputs(self) -> tuple[dict[str, Any], ...]:
        return ()

    @property
    def recording(self) -> None:
        return None

    def fits(self, source: LiveReader) -> str:
        return ""

    def write(self, frame: Frame) -> None:
        pass

    def write_packet(self, copied: CopiedPacket) -> None:
        pass

    def write_silence(self, until_seconds: float) -> None:
        pass

    def close(self, timeout_seconds: float = 0.0, *, for_good: bool = True) -> None:
        pass

    def abort(self) -> None:
        pass
