"""A file carried over as it is."""

from __future__ import annotations

from pathlib import Path

from stream_guard.media import EncoderSettings, SinkReport, transcode

QUICK = EncoderSettings(preset="ultrafast", threads=1)


def carried(source: Path, target: Path, **more: object) -> SinkReport:
    return transcode(str(source), str(target), QUICK, **more)[1]  # type: ignore[arg-type]
