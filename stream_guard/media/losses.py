"""What a source says of its pictures and PyAV gives no way to write: put into words instead."""

from __future__ import annotations

import struct

import av
from av.stream import Stream

from ..types import UPRIGHT
from .containers import Container
from .hdr import DYNAMIC
from .inner import beside_stream
from .orientation import orientation_of
from .side_data import kinds, side_data

_DOLBY_VISION, _CROPPING = 29, 36  # AV_PKT_DATA_DOVI_CONF and AV_PKT_DATA_FRAME_CROPPING
_LAYERED = 8  # AV_STEREO3D_UNSPEC: of a second view that is a layer of its own, as cameras of phones store it
_UNWRITTEN = {
    "SPHERICAL": "the video is a spherical one (360 degrees), which cannot be written here: players will show it flat "
    "until its metadata are put in again",
    "ICC_PROFILE": "the colour profile (ICC) beside the pictures cannot be written here: players will go by the colour "
    "tags alone",
    "AMBIENT_VIEWING_ENVIRONMENT": "the light in which the video is meant to be watched (ambient viewing environment) "
    "cannot be written here",
    "AFD": "what part of the picture counts (active format description) cannot be written here",
    "S12M_TIMECODE": "the timecodes within the pictures (SMPTE ST 12-1) cannot be written here",
}
_WRITTEN = {("ICC_PROFILE", "mjpeg")}
_STATIC_HDR = "the HDR mastering metadata begin later than the pictures and cannot be carried"
_WRITTEN_FIRST = {
    "MASTERING_DISPLAY_METADATA": _STATIC_HDR,
    "CONTENT_LIGHT_LEVEL": _STATIC_HDR,
    "DISPLAYMATRIX": "the picture is turned or mirrored and was not at its start, which cannot be written here: it "
    "will be shown as at the start",
}
"""What encoders or containers are told once, before the first picture."""


def lost_with_pictures(picture: av.VideoFrame, encoder: str, container: Container, tags: dict[str, str]) -> list[str]:
    """Warnings for one encoded stream, from its first picture; `tags` are those that its output will have."""
    found = kinds(picture)
    warnings = [words for kind, words in _UNWRITTEN.items() if kind in found and (kind, encoder) not in _WRITTEN]
    if "STEREO3D" in found and side_data(picture).get("STEREO3D", b"")[:4] == struct.pack("=i", _LAYERED):
        return [*warnings, "the video has a second view (3D) in a layer of its own, which is not read: it becomes flat"]
    # x264 writes it into the pictures themselves, Matroska by its tag.
    kept = encoder == "libx264" or ("stereo_mode" in tags and container.format in ("matroska", "webm"))
    if "STEREO3D" in found and not kept:
        warnings.append(
            f"the video is stereoscopic (3D), which cannot be written with {encoder} into {container.format}: players "
            "will show both views at once; libx264 keeps it"
        )
    return warnings


class Latecomers:
    """What pictures bring along that the first did not, and so nobody looked for."""

    def __init__(self, first: av.VideoFrame, encoder: str) -> None:
        self._seen = kinds(first)
        self._encoder = encoder

    def look(self, picture: av.VideoFrame, seconds: float) -> list[str]:
        """Warnings for each kind that is lost, once. `seconds` is the picture's time. Costs a microsecond or two."""
        found = kinds(picture)
        if found <= self._seen:
            return []
        new, self._seen = sorted(found - self._seen), self._seen | found
        words = dict.fromkeys(self._words(kind, picture) for kind in new)
        return [f"{each} (from {seconds:.3f} s on)" for each in words if each]

    def _words(self, kind: str, picture: av.VideoFrame) -> str:
        if (kind, self._encoder) in _WRITTEN or (kind == "DISPLAYMATRIX" and orientation_of(picture) == UPRIGHT):
            return ""
        if kind in DYNAMIC:
            return f"HDR metadata that changes over time ({kind}) cannot be carried"
        return _UNWRITTEN.get(kind) or _WRITTEN_FIRST.get(kind, "")


def lost_with_stream(stream: Stream) -> list[str]:
    """Warnings for one encoded stream, from what its source's container says of it."""
    found, warnings = beside_stream(stream), []
    if len(sides := found.get(_CROPPING, b"")) == 16 and any(sides):
        rows = dict(zip(("top", "bottom", "left", "right"), struct.unpack("=4I", sides), strict=True))
        listed = ", ".join(f"{count} at the {side}" for side, count in rows.items() if count)
        warnings.append(
            f"the input's container hides a border of the picture ({listed}, in pixels), which cannot be written here: "
            "players will show it"
        )
    if len(setup := found.get(_DOLBY_VISION, b"")) >= 8 and not setup[7]:
        warnings.append(
            f"the video is Dolby Vision of profile {setup[2]}, whose colours only its own metadata explain, and those "
            "cannot be read or written here: faces may not be found, and players will show wrong colours (green and "
            "violet); turn it into HDR10 or SDR first"
        )
    return warnings
