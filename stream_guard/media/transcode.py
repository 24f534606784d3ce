"""A plain transcode: the baseline that protection is measured against, on the same code path and threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator

from ..queues import AbortedError, FrameQueue
from ..types import Frame
from .info import SinkReport, SourceReport
from .settings import EncoderSettings
from .sink import FileSink
from .source import Item, Source, open_source

DEPTH = 8
"""Decoded frames on their way: enough to overlap decoding and encoding, few enough to stay small."""
START_SECONDS = 1.0
"""How long a thread whose start was interrupted may take to appear."""


def transcode(
    source_path: str,
    target_path: str,
    settings: EncoderSettings | None = None,
    *,
    overwrite: bool = False,
    all_video: bool = False,
) -> tuple[SourceReport, SinkReport]:
    """Decode and encode every frame, carry everything else; decoding runs ahead on a thread of its own.

    Raises what `open_source` and `FileSink` raise.
    """
    with open_source(source_path, all_video=all_video) as source:
        with (
            FileSink(target_path, source, settings, overwrite=overwrite) as sink,
            contextlib.closing(ahead(source)) as items,
        ):
            for item in items:
                if isinstance(item, Frame):
                    sink.write(item)
                else:
                    sink.write_packet(item)
        return source.report, sink.report


def ahead(source: Source) -> Generator[Item, None, None]:
    """`source.read()` on another thread, at most DEPTH frames ahead. Closing the generator ends the thread."""
    waiting: FrameQueue[Item] = FrameQueue(DEPTH)
    failures: list[BaseException] = []
    begun = threading.Event()

    def produce() -> None:
        begun.set()
        try:
            for item in source.read():
                waiting.put(item, is_frame=isinstance(item, Frame))
        except AbortedError:
            pass
        except BaseException as error:  # Raised again on the consumer's thread.
            failures.append(error)
        finally:
            waiting.end()

    thread = threading.Thread(target=produce, name="stream-guard-decode", daemon=True)
    try:
        thread.start()
        while (item := waiting.get()) is not None:
            yield item
    finally:
        waiting.abort()
        # An interrupt may come while the thread is being started: it reads the source for all that.
        if begun.wait(START_SECONDS):
            thread.join()
    if failures:
        raise failures[0]
