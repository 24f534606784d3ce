"""How the video is encoded: what the user asked for, and what the container and the source make of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from av.codec import Codec

from ..errors import ConfigError, UnknownNameError
from .versions import encoder_option_names

MAX_GOP = 1_000_000
MAX_BIT_RATE = 2_000_000_000
"""The encoders' own libraries hold it as 32 bits with a sign."""
MAX_THREADS = 1024
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What the user asked for; None leaves the choice to the container and the encoder's own habits.

    `crf` is the encoder's quality scale (lower is better), `bit_rate` in bit/s excludes it. `gop` is the longest
    distance of two key frames in frames. `options` are the encoder's own, by FFmpeg's names. `threads` 0 chooses.
    """

    codec: str | None = None
    preset: str | None = None
    crf: float | None = None
    bit_rate: int | None = None
    gop: int | None = None
    options: Mapping[str, str] = field(default_factory=lambda: _NO_OPTIONS)
    threads: int = 0
    pix_fmt: str | None = None
    """A pixel format instead of the source's own, such as `yuv420p` for players that know no other."""
    hwaccel: str = "none"
    """The device that decodes: where no codec is named, `cuda` takes NVENC instead of the container's usual encoder."""

    def __post_init__(self) -> None:
        self._check_numbers()
        if self.crf is not None and self.bit_rate is not None:
            raise ConfigError(f"crf {self.crf:g} and bit rate {self.bit_rate} were both given; give one of them")
        if self.bit_rate is not None and self.bit_rate <= 0:
            raise ConfigError(f"a bit rate of {self.bit_rate} was given; it must be above 0 (bit/s)")
        if self.gop is not None and self.gop <= 0:
            raise ConfigError(f"a GOP of {self.gop} frames was given; it must be at least 1")
        if self.threads < 0:
            raise ConfigError(f"{self.threads} threads were asked for; give 0 (choose for me) or more")

    def _check_numbers(self) -> None:
        """Numbers that do not fit into the fields of FFmpeg's and the encoders', or into no number at all."""
        if self.gop is not None and self.gop > MAX_GOP:
            raise ConfigError(f"a GOP of {self.gop} frames was given; it must be at most {MAX_GOP}")
        if self.threads > MAX_THREADS:
            raise ConfigError(f"{self.threads} threads were asked for; give at most {MAX_THREADS}")
        if self.bit_rate is not None and self.bit_rate > MAX_BIT_RATE:
            raise ConfigError(f"a bit rate of {self.bit_rate} was given; it must be at most {MAX_BIT_RATE} (bit/s)")
        if self.crf is not None and not math.isfinite(self.crf):
            raise ConfigError(f"a crf of {self.crf} was given; it must be a number")


@dataclass(frozen=True, slots=True)
class Encoder:
    """One encoder's habits: defaults, presets and the range of crf."""

    name: str
    codec: str
    """The codec by FFmpeg's canonical name."""
    preset_option: str | None = None
    preset: str | None = None
    presets: tuple[str, ...] = ()
    crf: float | None = None
    crf_range: tuple[float, float] | None = None
    extra: tuple[tuple[str, str], ...] = ()
    max_denominator: int = 0x7FFFFFFF
    """The finest time base that the codec can write."""
    quality: tuple[str, ...] = ("crf",)
    """FFmpeg's name of the quality scale; where only a range of quantizers can be given, its two ends."""
    bit_rate: bool = True
    """Whether it goes by a bit rate."""
    software: str = ""
    """For an encoder on a device: the one on the processor that stands in for it."""
    translations: tuple[tuple[str, str], ...] = ()
    """Names of presets that are taken too, and what they are here."""


_NAMES = "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo"
_X26X = tuple(_NAMES.split())
# NVENC's presets by the names of x264's: from the fastest to the best. They are not equally fast, only so ordered.
_NVENC_PRESETS = tuple(zip(_X26X, ("p1", "p1", "p2", "p3", "p4", "p4", "p5", "p6", "p7", "p7"), strict=True))
_QUANTIZER = ("qmin", "qmax")

ENCODERS = (
    Encoder("libx264", "h264", "preset", "veryfast", _X26X, 20, (0, 51)),
    Encoder("libx264rgb", "h264", "preset", "veryfast", _X26X, 20, (0, 51)),
    Encoder(
        "libx265",
        "hevc",
        "preset",
        "veryfast",
        _X26X,
        22,
        (0, 51),
        (("x265-params", "log-level=error"), ("a53cc", "1")),
    ),
    Encoder(
        "libvpx-vp9",
        "vp9",
        "cpu-used",
        "6",
        tuple(str(i) for i in range(-8, 10)),
        28,
        (0, 63),
        (("deadline", "realtime"), ("row-mt", "1")),
    ),
    Encoder("libsvtav1", "av1", "preset", "9", tuple(str(i) for i in range(-1, 14)), 30, (0, 63)),
    Encoder("prores_ks", "prores", bit_rate=False),
    Encoder("ffv1", "ffv1", bit_rate=False),
    # Left alone, FFmpeg gives these two 200 kbit/s at any size.
    Encoder("mjpeg", "mjpeg", crf=3, crf_range=(1, 31), quality=_QUANTIZER),
    Encoder("mpeg4", "mpeg4", crf=3, crf_range=(1, 31), quality=_QUANTIZER, max_denominator=65535),
    Encoder("gif", "gif", max_denominator=100, bit_rate=False),
    *(
        Encoder(
            f"{codec}_nvenc",
            codec,
            "preset",
            "p2",
            tuple(f"p{i}" for i in range(1, 8)),
            crf,
            (1, most),
            (("rc", "vbr"),),
            quality=("cq",),
            software=software,
            translations=_NVENC_PRESETS,
        )
        for codec, software, crf, most in (
            ("h264", "libx264", 20, 51),
            ("hevc", "libx265", 22, 51),
            ("av1", "libsvtav1", 30, 63),
        )
    ),
)
# What people call the codecs, beside the encoders' own names.
ALIASES = {"h264": "libx264", "hevc": "libx265", "h265": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}


def encoder_named(name: str) -> Encoder:
    """The encoder by its own or its codec's name; UnknownNameError lists those that are known and built in."""
    for encoder in ENCODERS:
        if encoder.name == ALIASES.get(name, name) and _built_in(encoder.name):
            return encoder
    valid = [e.name for e in ENCODERS if _built_in(e.name)]
    raise UnknownNameError("video codec", name, valid + [a for a, n in ALIASES.items() if n in valid])


def check_settings(settings: EncoderSettings, usual: str) -> None:
    """Raises what opening it would: UnknownNameError, ConfigError. `usual` is the encoder where no codec is named."""
    encoder_options(encoder_named(settings.codec or usual), settings)


def encoder_options(encoder: Encoder, settings: EncoderSettings) -> dict[str, str]:
    """The options for FFmpeg. Raises for an unknown preset, a crf out of range, and what the encoder does not know."""
    options = dict(encoder.extra)
    _set_preset(options, encoder, settings)
    _set_quality(options, encoder, settings)
    _check_known(encoder, settings)
    for name, value in settings.options.items():
        options[name] = joined(options.get(name, ""), value) if name.endswith("-params") else value
    return options


def joined(before: str, after: str) -> str:
    """Two lists of a library's own parameters, such as `x264-params`, as one. Where both name one, `after` counts."""
    return ":".join(part for part in (before, after) if part)


def _set_preset(options: dict[str, str], encoder: Encoder, settings: EncoderSettings) -> None:
    preset = settings.preset if settings.preset is not None else encoder.preset
    if preset is None:
        return
    if encoder.preset_option is None:
        raise ConfigError(f"the encoder {encoder.name} has no presets; leave the preset {preset!r} out")
    preset = dict(encoder.translations).get(preset, preset)
    if preset not in encoder.presets:
        raise UnknownNameError(f"preset of {encoder.name}", preset, list(encoder.presets))
    options[encoder.preset_option] = preset


def _set_quality(options: dict[str, str], encoder: Encoder, settings: EncoderSettings) -> None:
    if settings.bit_rate is not None and not encoder.bit_rate:
        raise ConfigError(f"the encoder {encoder.name} goes by no bit rate; leave it out")
    if settings.bit_rate is not None or {"qp", "crf", *encoder.quality} & set(settings.options):
        return
    crf = settings.crf if settings.crf is not None else encoder.crf
    if crf is None:
        return
    if encoder.crf_range is None:
        raise ConfigError(f"the encoder {encoder.name} knows no crf; leave it out")
    low, high = encoder.crf_range
    if not low <= crf <= high:
        raise ConfigError(f"crf {crf:g} was given; {encoder.name} takes {low:g} (best) to {high:g}")
    options |= dict.fromkeys(encoder.quality, f"{crf:g}")


def _check_known(encoder: Encoder, settings: EncoderSettings) -> None:
    if not settings.options:
        return
    known = encoder_option_names(encoder.name)
    if known is None:
        return  # The sink names what is left over once the encoder is open.
    general, own = known
    for name in settings.options:
        if name not in general | own:
            raise UnknownNameError(f"option of {encoder.name}", name, sorted(own))


def _built_in(name: str) -> bool:
    try:
        return bool(Codec(name, "w").is_encoder)
    except ValueError:
        return False
