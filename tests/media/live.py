"""What the tests of live media share: connecting with patience, and reading a number of frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from stream_guard.errors import SourceError
from stream_guard.media import CopiedPacket, LiveSource, open_live
from stream_guard.types import Frame
from tests.support.servers import PATIENCE_SECONDS


def opened(url: str, **options: Any) -> LiveSource:
    """Connect as soon as there is something to see; the last reason is raised when there never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return open_live(url, **options)
        except SourceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def items(source: LiveSource, frames: int) -> Iterator[Frame | CopiedPacket]:
    """What comes until so many frames have come."""
    seen = 0
    for item in source.read():
        yield item
        seen += isinstance(item, Frame)
        if seen == frames:
            return


def frames_of(source: LiveSource, count: int) -> list[Frame]:
    return [item for item in items(source, count) if isinstance(item, Frame)]


def ending(source: LiveSource, action: Callable[[], object], *, at: int = 5) -> str:
    """Read to the end, calling `action` at the frame with this number; the words of the error, or nothing."""
    seen = 0
    try:
        for item in source.read():
            if isinstance(item, Frame):
                seen += 1
                if seen == at:
                    action()
    except SourceError as error:
        return str(error)
    return ""
