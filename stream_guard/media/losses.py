"""What a source says of its pictures and PyAV gives no way to write: put into words instead."""

from __future__ import annotations

import av

from .containers import Container
from .side_data import kinds


def lost_with_pictures(picture: av.VideoFrame, encoder: str, container: Container, tags: dict[str, str]) -> list[str]:
    """Warnings for one encoded stream, from its first picture; `tags` are those that its output will have."""
    found, warnings = kinds(picture), []
    if "SPHERICAL" in found:
        warnings.append(
            "the video is a spherical one (360 degrees), which cannot be written here: players will show it flat "
            "until its metadata are put in again"
        )
    # x264 writes it into the pictures themselves, Matroska by its tag.
    kept = encoder == "libx264" or ("stereo_mode" in tags and container.format in ("matroska", "webm"))
    if "STEREO3D" in found and not kept:
        warnings.append(
            f"the video is stereoscopic (3D), which cannot be written with {encoder} into {container.format}: players "
            "will show both views at once; libx264 keeps it"
        )
    return warnings
