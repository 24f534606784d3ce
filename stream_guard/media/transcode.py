"""A plain transcode: the baseline that protection is measured against, on the same code path."""

from __future__ import annotations

from ..types import Frame
from .info import SinkReport, SourceReport
from .settings import EncoderSettings
from .sink import FileSink
from .source import open_source


def transcode(
    source_path: str,
    target_path: str,
    settings: EncoderSettings | None = None,
    *,
    overwrite: bool = False,
    all_video: bool = False,
) -> tuple[SourceReport, SinkReport]:
    """Decode and encode every frame, carry everything else. Raises what `open_source` and `FileSink` raise."""
    with open_source(source_path, all_video=all_video) as source:
        with FileSink(target_path, source, settings, overwrite=overwrite) as sink:
            for item in source.read():
                if isinstance(item, Frame):
                    sink.write(item)
                else:
                    sink.write_packet(item)
        return source.report, sink.report
