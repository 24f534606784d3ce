"""HDR metadata of a first picture, as encoders and containers want them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import av

from .side_data import kinds, side_data

# AVMasteringDisplayMetadata: three primaries and the white point as x and y, the lowest and highest luminance, each a
# rational of two int32; then two flags that say which half is there.
_MASTERING = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")
DYNAMIC = ("DYNAMIC_HDR_PLUS", "DYNAMIC_HDR_VIVID", "DOVI_RPU_BUFFER", "DOVI_METADATA")


@dataclass(frozen=True, slots=True)
class StaticHdr:
    """Mastering display: chromaticities of red, green, blue and white, luminance in cd/m2; light levels in cd/m2."""

    primaries: tuple[tuple[float, float], ...] | None = None
    luminance: tuple[float, float] | None = None
    """Lowest and highest."""
    light: tuple[int, int] | None = None
    """Brightest pixel and brightest frame average."""

    @property
    def empty(self) -> bool:
        return (self.primaries is None or self.luminance is None) and self.light is None

    @property
    def alone(self) -> str:
        """What there is of the mastering display, where it is only half; else empty."""
        if (self.primaries is None) == (self.luminance is None):
            return ""
        return "luminance" if self.primaries is None else "primaries"


def static_hdr(picture: av.VideoFrame) -> StaticHdr:
    data = side_data(picture)
    primaries, luminance = _mastering(data.get("MASTERING_DISPLAY_METADATA"))
    raw = data.get("CONTENT_LIGHT_LEVEL")
    light = _LIGHT.unpack_from(raw) if raw is not None and len(raw) >= _LIGHT.size else None
    return StaticHdr(primaries, luminance, None if light is None else (light[0], light[1]))


def dynamic_hdr(picture: av.VideoFrame) -> list[str]:
    """Names of HDR metadata that changes from frame to frame, which no encoder here carries on."""
    return sorted(name for name in kinds(picture) if name in DYNAMIC)


def hdr_options(encoder: str, hdr: StaticHdr) -> tuple[str, str] | None:
    """The encoder's option and its value for static HDR metadata; None where it has none."""
    if encoder == "libx264":
        return "x264-params", _join(_integers("mastering-display", hdr), _pair("cll", hdr))
    if encoder == "libx265":
        return "x265-params", _join(_integers("master-display", hdr), _pair("max-cll", hdr))
    if encoder == "libsvtav1":
        return "svtav1-params", _join(_floats("mastering-display", hdr), _pair("content-light", hdr))
    return None


def _mastering(
    raw: bytes | None,
) -> tuple[tuple[tuple[float, float], ...] | None, tuple[float, float] | None]:
    if raw is None or len(raw) < _MASTERING.size:
        return None, None
    numbers = _MASTERING.unpack_from(raw)
    values = [numbers[i] / numbers[i + 1] if numbers[i + 1] else 0.0 for i in range(0, 20, 2)]
    points = tuple((values[i], values[i + 1]) for i in range(0, 8, 2))
    return (points if numbers[20] else None), ((values[8], values[9]) if numbers[21] else None)


def _integers(name: str, hdr: StaticHdr) -> str:
    """x264's and x265's notation: chromaticity in 0.00002, luminance in 0.0001 cd/m2."""
    return _mastering_text(name, hdr, lambda v: str(round(v * 50000)), lambda v: str(round(v * 10000)))


def _floats(name: str, hdr: StaticHdr) -> str:
    return _mastering_text(name, hdr, lambda v: f"{v:.5f}", lambda v: f"{v:.4f}")


def _mastering_text(name: str, hdr: StaticHdr, point: Callable[[float], str], level: Callable[[float], str]) -> str:
    if hdr.primaries is None or hdr.luminance is None:
        return ""
    red, green, blue, white = (f"({point(x)},{point(y)})" for x, y in hdr.primaries)
    low, high = hdr.luminance
    return f"{name}=G{green}B{blue}R{red}WP{white}L({level(high)},{level(low)})"


def _pair(name: str, hdr: StaticHdr) -> str:
    return "" if hdr.light is None else f"{name}={hdr.light[0]},{hdr.light[1]}"


def _join(*parts: str) -> str:
    return ":".join(part for part in parts if part)
