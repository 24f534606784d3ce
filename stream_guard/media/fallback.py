"""An encoder on a device where it opens, else the one on the processor that stands in for it, in words."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from typing import cast

import av
from av.error import FFmpegError

from .containers import Container
from .formats import depth_of
from .hwaccel import reason
from .info import VideoInfo
from .settings import ENCODERS, Encoder, EncoderSettings, encoder_named

ON_DEVICE = {"cuda": {"libx264": "h264_nvenc", "libx265": "hevc_nvenc", "libsvtav1": "av1_nvenc"}}
"""By the device that decodes: the encoder on it for each one on the processor."""
_LEAST_SIDE = 256
"""NVENC refuses pictures that are smaller than about 145x49, so a trial is at least this large."""

_log = logging.getLogger(__name__)


def usual_encoder(settings: EncoderSettings, container: Container, info: VideoInfo) -> Encoder:
    """The encoder that was asked for, else the container's usual one; AV1 where VP9 would lose bit depth."""
    if settings.codec is not None:
        return encoder_named(settings.codec)
    if container.video == "libvpx-vp9" and depth_of(info.pix_fmt) > 8:
        return encoder_named("libsvtav1")
    return encoder_named(container.video)


def resolved(settings: EncoderSettings, container: Container, info: VideoInfo, warnings: list[str]) -> EncoderSettings:
    """The settings with an encoder that opens here; unchanged unless a device is to encode.

    One that was named and does not open is told in `warnings`; one that was only implied is told in the log.
    """
    usual = usual_encoder(settings, container, info)
    if usual.software:
        trouble = encoder_trouble(usual.name, info)
        return _instead(settings, usual, trouble, warnings) if trouble else settings
    implied = ON_DEVICE.get(settings.hwaccel, {}).get(usual.name)
    if settings.codec is not None or settings.pix_fmt is not None or settings.options or implied is None:
        return settings
    if settings.preset is not None and settings.preset not in dict(encoder_named(implied).translations):
        return settings
    trouble = encoder_trouble(implied, info)
    if trouble:
        _log.info("the encoder %s can't be used (%s); %s encodes", implied, trouble, usual.name)
        return settings
    return replace(settings, codec=implied)


def encoder_trouble(name: str, info: VideoInfo) -> str:
    """Why the encoder does not open for a picture of this size, in words; empty where it does. Takes a moment."""
    try:
        trial = cast(av.VideoCodecContext, av.CodecContext.create(name, "w"))
        trial.width, trial.height = max(info.width, _LEAST_SIDE), max(info.height, _LEAST_SIDE)
        trial.pix_fmt = "p010le" if depth_of(info.pix_fmt) > 8 else "nv12"
        trial.time_base = Fraction(1, 25)
        trial.open()
    except ValueError:
        return "FFmpeg was built without it"
    except (FFmpegError, OSError) as error:
        return f"it does not open: {reason(error)}"
    if min(info.width, info.height) < _LEAST_SIDE // 2:
        return f"it takes no picture as small as {info.width}x{info.height}"
    return ""


def _instead(settings: EncoderSettings, wanted: Encoder, trouble: str, warnings: list[str]) -> EncoderSettings:
    """The same wish for the encoder on the processor: its own options can't go along, its presets by their order."""
    words = f"the encoder {wanted.name} can't be used ({trouble}); {wanted.software} encodes instead"
    if settings.options:
        words += f", without the options {', '.join(sorted(settings.options))}"
    if words not in warnings:
        warnings.append(words)
    _log.info("%s", words)
    standing_in = next(encoder for encoder in ENCODERS if encoder.name == wanted.software)
    return replace(settings, codec=wanted.software, preset=_preset(settings.preset, wanted, standing_in), options={})


def _preset(preset: str | None, wanted: Encoder, standing_in: Encoder) -> str | None:
    """The preset by x264's names where the stand-in has those; None leaves the choice to it."""
    if preset is None or preset in standing_in.presets:
        return preset
    named = {theirs: ours for ours, theirs in reversed(wanted.translations)}.get(preset)
    return named if named in standing_in.presets else None
