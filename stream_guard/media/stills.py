"""Stills beside a video, such as a cover. They are mostly pictures of it: what protects its faces must see them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from ..errors import StageError
from ..types import Frame, Orientation
from .orientation import orientation_of
from .probe import MAX_PIXELS
from .tracks import CopyTrack

Guard = Callable[[Frame], Frame]
"""Takes one picture through the stages of a pipeline. Raises StageError where that fails."""

DECODED = frozenset({"mjpeg", "png", "bmp", "webp", "tiff"})
"""Codecs with one picture a file: others may hide a second one behind the first."""
ENCODED = {"mjpeg": {"qmin": "2", "qmax": "2"}, "png": {}}
"""Those that a protected still is encoded in, with the options of the finest quality."""
TICK = Fraction(1, 25)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A still that may leave: `payload` is None where it may not. `words` say what became of it; empty if nothing."""

    payload: bytes | None
    words: str = ""


def guarded(codec: str, payload: bytes | None, stream: int, guard: Guard) -> Guarded:
    """The still as it may leave a run that protects: as it is without a face in it, protected, or not at all."""
    picture = _decoded(codec, payload) if payload else None
    if picture is None:
        return Guarded(None, "it can't be decoded here, so nobody knows whether it shows a face")
    turned = orientation_of(picture)
    try:
        seen = guard(Frame(picture, pts=0, time_base=TICK, index=0, stream=stream))
    except StageError as error:
        return Guarded(None, f"it can't be protected: {error}")
    if not seen.faces_known:
        return Guarded(None, "nobody looked for faces in it")
    if not seen.faces:
        return Guarded(payload)
    if seen.unprotected:
        reason = seen.unprotected[0].reason or "not_protected"
        return Guarded(None, f"it shows a face that could not be protected ({reason})")
    made = _encoded(codec, seen.picture, turned)
    if made is None:
        return Guarded(None, "it shows a face, and it can't be encoded anew as it was")
    return Guarded(made, "it shows a face")


def _decoded(codec: str, payload: bytes) -> av.VideoFrame | None:
    """The one picture of the still, whole; None where there is none or not one alone."""
    if codec not in DECODED:
        return None
    try:
        decoder = _context(codec, "r", {"max_pixels": str(MAX_PIXELS)})
        pictures = [*decoder.decode(av.Packet(payload)), *decoder.decode(None)]
    except (FFmpegError, ValueError):
        return None
    if len(pictures) != 1 or pictures[0].is_corrupt:
        return None
    pictures[0].pts, pictures[0].time_base = 0, TICK
    return pictures[0]


def _encoded(codec: str, picture: av.VideoFrame, turned: Orientation) -> bytes | None:
    """The picture in the same codec and pixel format; None where that fails or would lose how it is turned."""
    if codec not in ENCODED:
        return None
    try:
        encoder = _context(codec, "w", ENCODED[codec])
        encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, picture.format.name
        encoder.color_range = picture.color_range
        encoder.time_base = TICK
        made = b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))
    except (FFmpegError, ValueError):
        return None
    back = _decoded(codec, made)
    return made if back is not None and orientation_of(back) == turned else None


def _context(codec: str, mode: Any, options: dict[str, str]) -> VideoCodecContext:
    made = cast(VideoCodecContext, av.CodecContext.create(codec, mode))
    made.options = dict(options)
    return made


class StillTrack:
    """Writes the one picture that was looked at, whatever its stream says, at the time of its first packet."""

    def __init__(self, copied: CopyTrack, payload: bytes) -> None:
        self.stream = copied.stream
        self._copied = copied
        self._payload: bytes | None = payload

    def start(self) -> None:
        self._copied.start()

    def write(self, packet: av.Packet[Any]) -> Iterable[av.Packet[Any]]:
        payload, self._payload = self._payload, None
        if payload is None:
            return ()
        made: av.Packet[Any] = av.Packet(payload)
        made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
        made.time_base, made.is_keyframe = packet.time_base, True
        return self._copied.write(made)

    def finish(self) -> Iterable[av.Packet[Any]]:
        return self._copied.finish()
