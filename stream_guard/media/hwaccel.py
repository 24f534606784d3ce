"""Decoding on a device: which there are, which is taken, and in words why one is not.

A device is tried before the source is opened, so that a machine without it, or without its driver, reads the file as
ever. Inside FFmpeg a stream that the device can't decode falls back to software by itself; `told` says so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import av
from av.codec import Codec
from av.codec.hwaccel import HWAccel, HWConfig, hwdevices_available
from av.error import FFmpegError

from ..errors import UnknownNameError

NONE, AUTO = "none", "auto"
PREFERRED = ("cuda", "videotoolbox", "d3d11va", "d3d12va", "dxva2", "vaapi", "vdpau", "vulkan", "mediacodec")
"""The order in which `auto` tries them; others come after these."""
CODECS = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg4", "mjpeg")
DOWNLOADED = frozenset({"nv12", "nv16", "nv24", "p010le", "p012le", "p016le", "p210le", "p212le", "p216le"})
"""Formats of pictures that came from a device: decoders on the processor give planar ones."""
_REASONS = {1: "its driver or libraries can't be loaded", 12: "there is too little memory on it, or no such device"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What was asked for, what is used (`none`: the processor), and why not what was asked, in words."""

    asked: str = NONE
    used: str = NONE
    words: str = ""
    on_device: bool = False
    """Whether pictures stay in the device's memory."""

    @property
    def warns(self) -> bool:
        """Whether a device that was named does not work; with `auto` nothing was promised."""
        return bool(self.words) and self.asked != AUTO

    def setting(self) -> HWAccel | None:
        """What `av.open` takes. Pictures that stay need CUDA's primary context, which torch has too."""
        return None if self.used == NONE else HWAccel(self.used, is_hw_owned=self.on_device)


PLAIN = Acceleration()


@lru_cache(maxsize=1)
def decoding_devices() -> tuple[str, ...]:
    """The kinds of device that FFmpeg was built with and that one of its usual decoders works on, preferred first."""
    usable = {config.device_type.name for name in CODECS for config in _configs(name) if config.is_supported}
    there = [name for name in hwdevices_available() if name in usable]
    return tuple(sorted(there, key=lambda n: (PREFERRED.index(n) if n in PREFERRED else len(PREFERRED), n)))


def hwaccel_names() -> list[str]:
    """What `--hwaccel` takes here."""
    return [AUTO, NONE, *decoding_devices()]


def check_name(asked: str) -> None:
    """Raise UnknownNameError, listing those there are, for a device that is not compiled in."""
    if asked not in hwaccel_names():
        raise UnknownNameError("hwaccel", asked, hwaccel_names())


def choose(asked: str, *, on_device: bool = False) -> Acceleration:
    """Try the device asked for, or with `auto` each there is; the processor where none works, saying why once.

    `on_device` asks that pictures stay in the device's memory, which only `cuda` can. Raises UnknownNameError.
    """
    check_name(asked)
    if asked == NONE:
        return PLAIN
    failures = []
    for name in decoding_devices() if asked == AUTO else (asked,):
        trouble = device_trouble(name)
        if not trouble:
            _log.info("hwaccel %s: video is decoded on the device %s", asked, name)
            return _staying(Acceleration(asked, name, on_device=on_device and name == "cuda"))
        failures.append(f"{name}: {trouble}")
    why = "; ".join(failures) or "FFmpeg was built without any"
    words = f"hwaccel {asked} can't be used ({why}); video is decoded on the processor"
    _log.info("%s", words)
    return Acceleration(asked, NONE, words)


def _staying(chosen: Acceleration) -> Acceleration:
    """`chosen`, with pictures that are downloaded where they can't stay on the device.

    FFmpeg refuses CUDA's primary context where it was in use with other flags before (`cuda_context_init` in
    hwcontext_cuda.c), as torch leaves it.
    """
    if not chosen.on_device or not (trouble := device_trouble(chosen.used, shared=True)):
        return chosen
    words = (
        f"pictures can't stay on the device {chosen.used} ({trouble}; torch or another library may have been the first "
        "in this process to use it); each is downloaded once it is decoded"
    )
    _log.info("%s", words)
    return Acceleration(chosen.asked, chosen.used, words)


def device_trouble(name: str, *, shared: bool = False) -> str:
    """Why no decoder can be set up on this kind of device, in words; empty where one can.

    `shared`: in the context that others in this process use, too, so that pictures can stay there.
    """
    codec = next((c for c in CODECS if any(g.is_supported and g.device_type.name == name for g in _configs(c))), None)
    if codec is None:
        return "no decoder works on it"
    try:
        HWAccel(name, is_hw_owned=shared).create(Codec(codec, "r"))
    except (FFmpegError, NotImplementedError, RuntimeError) as error:
        return reason(error)
    return ""


def reason(error: Exception) -> str:
    """Why FFmpeg could not set up a device or an encoder on one; it says no more than a number."""
    return _REASONS.get(getattr(error, "errno", None) or 0) or str(getattr(error, "strerror", None) or error)


def told(chosen: Acceleration, context: av.VideoCodecContext, picture: av.VideoFrame) -> Acceleration:
    """`chosen` once the first picture shows whether this stream is decoded on the device; a fallback is logged."""
    if chosen.used == NONE:
        return chosen
    on_hardware = sample_format(picture) != picture.format.name or picture.format.name in DOWNLOADED
    if on_hardware or (context.is_hwaccel and picture.format.name.startswith("yuv444")):
        return chosen  # 4:4:4 has the same name from either
    words = (
        f"hwaccel {chosen.used} does not decode this {context.codec.canonical_name} stream "
        f"({picture.format.name} {picture.width}x{picture.height}); it is decoded on the processor"
    )
    _log.info("%s", words)
    return Acceleration(chosen.asked, NONE, words)


def sample_format(picture: av.VideoFrame) -> str:
    """The format of the picture's samples, also of one that lies on a device."""
    within = getattr(picture, "sw_format", None)  # PyAV 17 has none
    return picture.format.name if within is None else within.name


def _configs(codec: str) -> list[HWConfig]:
    try:
        return list(Codec(codec, "r").hardware_configs)
    except ValueError:
        return []
