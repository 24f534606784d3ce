"""Takes a clip through a plain transcode, and reads the pictures of what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from stream_guard.media import EncoderSettings, open_source, transcode


def pictures(path: Path) -> list[av.VideoFrame]:
    with open_source(str(path)) as source:
        return [item.picture for item in source.read() if hasattr(item, "picture")]


def settings(codec: str, **more: Any) -> EncoderSettings:
    options = {"preset": "11"} if codec == "libsvtav1" else {}
    return EncoderSettings(codec=codec, threads=1, **options, **more)


def carried(source: Path, target: Path, codec: str, **more: Any) -> list[str]:
    return transcode(str(source), str(target), settings(codec, **more))[1].warnings
