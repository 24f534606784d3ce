"""The encoder of one protected stream: set up from what the source shows, fed with frames, exact in time."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, cast

import av
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from ..errors import ConfigError
from ..types import Frame
from .captions import CARRIED_BY, has_captions
from .clock import rescale
from .conform import Conformer
from .containers import Container
from .device import lies_on_device
from .fallback import resolved, usual_encoder
from .fields import FieldOrder
from .formats import FULL_ONLY, choose_format, has_alpha, subsampling
from .hdr import dynamic_hdr, hdr_options, static_hdr
from .info import VideoInfo
from .inner import Hidden, hidden
from .losses import Latecomers
from .orientation import orientation_of
from .palette import Palette
from .settings import ENCODERS, Encoder, EncoderSettings, encoder_options, joined
from .shape import carry_shape
from .side_data import display_matrix
from .versions import ENCODES_FROM_DEVICE, reformat, set_field_order

FALLBACK_RATE = Fraction(25)
HEADROOM_SECONDS = 1.0
"""A start later than this leaves room for decoding times before the first picture."""
INTERLACED = (2, 3, 4, 5)
TOP_FIRST, BOTTOM_FIRST, SWAPPED_BOTTOM_FIRST = 2, 3, 5
KEEPS_FIELDS = frozenset({"libx264", "mpeg4", "prores_ks", "ffv1"})
UNTIMED = 2
"""x265 up to 4.2 gives so few pictures decoding times out of memory that nobody set. None of them is reordered."""
UNTURNED = [1 << 16, 0, 0, 0, 1 << 16, 0]


def check_held(out: av.container.OutputContainer, container: Container, encoder: Encoder) -> None:
    """Raise ConfigError, naming the encoders that would do, where the container does not hold the codec."""
    held = container.copies if container.copies is not None else out.supported_codecs
    if encoder.codec not in held:
        fitting = ", ".join(sorted(e.name for e in ENCODERS if e.codec in held))
        raise ConfigError(f"{container.format} does not hold {encoder.codec} video; choose one of: {fitting}")


class VideoTrack:
    """Encodes one stream. `warnings` collects what could not be carried, in words."""

    def __init__(
        self,
        out: av.container.OutputContainer,
        container: Container,
        info: VideoInfo,
        first: av.VideoFrame,
        settings: EncoderSettings,
        warnings: list[str],
    ) -> None:
        self._info = info
        self._container = container
        self._warnings = warnings
        settings = resolved(settings, container, info, warnings)
        self._encoder = usual_encoder(settings, container, info)
        self.time_base = fitting_time_base(info, self._encoder)
        opaque = is_opaque(first)
        self.pix_fmt, loss = choose_format(
            self._encoder.name,
            info.pix_fmt,
            info.width,
            info.height,
            settings.pix_fmt,
            opaque=opaque,
            container=container.format,
        )
        self._palette = Palette() if self._encoder.name == "gif" else None
        if self._palette is not None:
            self.pix_fmt, loss = "pal8", ""
        self._warn(loss)
        self._on_device = bool(self._encoder.software) and lies_on_device(first) and ENCODES_FROM_DEVICE
        self._conformer = Conformer(info, self._encoder.name, self.pix_fmt, self._warn, on_device=self._on_device)
        self._durations: dict[int, int] = {}
        self._last: int | None = None
        self._late = False
        self._pictures = 0
        options, seen = encoder_options(self._encoder, settings), hidden(first)
        self._hdr(options, first)
        self._fields(options, seen)
        self._chroma(options, seen)
        if self._encoder.name == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # It would print its configuration to stderr.
        if info.start_seconds > 0 and not container.late_start:
            self._warn(f"{container.format} begins at zero: every time is moved back by {info.start_seconds:.3f} s")
        self.stream = self._add(out, options, settings)
        self._shape(self.stream.codec_context)
        self._warn(carry_shape(self.stream, container.format, info.sample_aspect_ratio))
        self._order: FieldOrder | None = None
        if info.interlaced:
            self._interlace(self.stream.codec_context, seen)
        self._rotate(first)
        self._latecomers = Latecomers(first, self._encoder.name)
        self._captions_lost = False
        self._look_for_captions(first)
        self._opaque_so_far = opaque and has_alpha(info.pix_fmt) and not has_alpha(self.pix_fmt)

    def encode(self, frame: Frame | None, *, key: bool = False) -> list[av.Packet[Any]]:
        """Packets that are ready after this frame, in the encoder's time base; None drains the encoder.

        `key` asks for a key frame here.
        """
        packets = self.stream.encode(None if frame is None else self._prepared(frame, key))
        if self._encoder.name == "libx265" and frame is None and self._pictures <= UNTIMED:
            for packet in packets:
                packet.dts = packet.pts
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
        return packets

    def _prepared(self, frame: Frame, key: bool) -> av.VideoFrame:
        self._warnings += self._latecomers.look(frame.picture, frame.time_seconds)
        self._look_for_captions(frame.picture)
        self._look_for_transparency(frame)
        self._conformer.look(frame.picture, frame.time_seconds)
        self._pictures += 1
        picture = self._converted(frame.picture)
        if self._order is not None:
            self._order.hold(picture, frame.time_seconds)
        pts = self._rising(rescale(frame.pts, frame.time_base, self.time_base), frame.time_seconds)
        picture.pts, picture.time_base = pts, self.time_base
        picture.duration = rescale(frame.duration, frame.time_base, self.time_base)
        self._durations[pts] = picture.duration
        # The encoder places its own key frames; the source's kinds would be obeyed.
        picture.pict_type = PictureType.I if key else PictureType.NONE
        return picture

    def _rising(self, pts: int, seconds: float) -> int:
        """The time, or one tick after the last: where the codec's clock is coarse, several pictures share a tick."""
        if self._last is not None and pts <= self._last:
            pts = self._last + 1
            if not self._late:
                self._warn(
                    f"{self._encoder.name} holds at most {1 / self.time_base} pictures a second: where they come "
                    f"faster, as at {seconds:.3f} s, they are shown one after the other, and so later than before"
                )
            self._late = True
        self._last = pts
        return pts

    def _converted(self, picture: av.VideoFrame) -> av.VideoFrame:
        if self._palette is not None:
            return self._palette.apply(picture, self._info.width, self._info.height)
        return self._conformer.conform(picture)

    def _add(
        self, out: av.container.OutputContainer, options: dict[str, str], settings: EncoderSettings
    ) -> VideoStream:
        check_held(out, self._container, self._encoder)
        rate = self._info.average_rate or FALLBACK_RATE
        device: dict[str, Any] = {"hwaccel": HWAccel("cuda", is_hw_owned=True)} if self._on_device else {}
        stream = cast(VideoStream, out.add_stream(self._encoder.name, rate=rate, options=options, **device))
        context = stream.codec_context
        context.width, context.height = self._info.width, self._info.height
        context.pix_fmt = self.pix_fmt
        context.time_base = self.time_base
        stream.time_base = self.time_base
        if self._encoder.codec == "hevc" and self._container.negative_times:
            context.codec_tag = "hvc1"  # The name under which Apple's players know it.
        # Threads over frames, not slices: slices would cost bits.
        context.thread_type = "AUTO"
        context.thread_count = settings.threads
        if settings.bit_rate is not None:
            context.bit_rate = settings.bit_rate
        if settings.gop is not None:
            context.gop_size = settings.gop
        self._reordering(context, settings)
        return stream

    def _reordering(self, context: av.VideoCodecContext, settings: EncoderSettings) -> None:
        """No B-frames where their decoding times would lie before zero and the container cannot say so."""
        if self._container.reordering_delay or self._info.start_seconds >= HEADROOM_SECONDS:
            return
        if "bf" not in settings.options:
            context.max_b_frames = 0

    def _shape(self, context: av.VideoCodecContext) -> None:
        info, colour = self._info, self._info.colour
        if info.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = info.sample_aspect_ratio
        context.color_range, context.colorspace = self._conformer.range, self._conformer.matrix
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if self._encoder.name.startswith("libvpx") and has_alpha(self.pix_fmt):
            self.stream.metadata["alpha_mode"] = "1"

    def _fields(self, options: dict[str, str], seen: Hidden) -> None:
        """libx264 does not ask for FFmpeg's field order: it says top first of the stream until told otherwise."""
        wanted = self._info.interlaced and self._encoder.name == "libx264" and not self._trouble_with_fields()
        if wanted and not self._top_first(seen):
            options["x264-params"] = joined("bff=1", options.get("x264-params", ""))

    def _top_first(self, seen: Hidden) -> bool:
        """Which field is shown first.

        The first picture knows it where the container's number does not: FFmpeg's documentation calls 4 bottom first
        and 5 top first, but FFmpeg itself writes them the other way round.
        """
        order = self._info.field_order
        if order in (TOP_FIRST, BOTTOM_FIRST) or seen.top_field_first is None:
            return order not in (BOTTOM_FIRST, SWAPPED_BOTTOM_FIRST)
        return seen.top_field_first

    def _interlace(self, context: av.VideoCodecContext, seen: Hidden) -> None:
        if trouble := self._trouble_with_fields():
            self._warn(f"the video is interlaced; {trouble}")
            return
        context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        if self._encoder.name == "libx264":
            self._order = FieldOrder(self._top_first(seen), self._warn)
        if self._info.field_order in INTERLACED:
            set_field_order(context, self._info.field_order)
        elif seen.top_field_first is not None:
            set_field_order(context, TOP_FIRST if seen.top_field_first else BOTTOM_FIRST)

    def _trouble_with_fields(self) -> str:
        """Why the encoder stores no fields; empty where it does."""
        name, rows = self._encoder.name, 2 * subsampling(self.pix_fmt)[1]
        if name not in KEEPS_FIELDS:
            return f"{name} stores it as whole frames"
        if name != "libx264" or self._info.height % rows == 0:
            return ""
        return (
            f"libx264 stores it as whole frames, because {self._info.height} lines of {self.pix_fmt} cannot be divided "
            f"by {rows}: --codec ffv1 keeps the fields"
        )

    def _chroma(self, options: dict[str, str], seen: Hidden) -> None:
        """Where the colour samples lie, if they stay there. JPEG has a place of its own for them."""
        grid = subsampling(self.pix_fmt)
        stays = grid == subsampling(self._info.pix_fmt) != (1, 1) and self._encoder.name not in FULL_ONLY
        if seen.chroma_location and stays:
            options.setdefault("chroma_sample_location", str(seen.chroma_location))

    def _look_for_captions(self, picture: av.VideoFrame) -> None:
        """Captions may begin later than the pictures, so each picture is looked at until some are found."""
        if self._captions_lost or self._encoder.name in CARRIED_BY or not has_captions(picture):
            return
        self._captions_lost = True
        self._warn(
            f"the captions within the pictures (CEA-608/708) are lost: {self._encoder.name} cannot carry them; "
            "libx264 and libx265 do"
        )

    def _look_for_transparency(self, frame: Frame) -> None:
        """It may begin later than the pictures, as that of a transition does."""
        if not self._opaque_so_far or is_opaque(frame.picture):
            return
        self._opaque_so_far = False
        self._warn(
            f"the video is transparent from {frame.time_seconds:.3f} s on and was not at its start: "
            f"{self._encoder.name} in {self._container.format} stores it as {self.pix_fmt}, which loses transparency"
        )

    def _hdr(self, options: dict[str, str], first: av.VideoFrame) -> None:
        for name in dynamic_hdr(first):
            self._warn(f"HDR metadata that changes over time ({name}) cannot be carried; static metadata is")
        hdr = static_hdr(first)
        if hdr.alone:
            self._warn(f"the HDR mastering display is said by its {hdr.alone} alone, which cannot be written")
        if hdr.empty:
            return
        found = hdr_options(self._encoder.name, hdr)
        if found is None:
            self._warn(f"{self._encoder.name} cannot carry the HDR mastering metadata")
            return
        name, value = found
        options[name] = joined(value, options.get(name, ""))

    def _rotate(self, first: av.VideoFrame) -> None:
        matrix = display_matrix(first)
        if matrix is None or matrix[:6] == UNTURNED:
            return
        if not self._container.rotation:
            how = "mirrored" if orientation_of(first).mirrored else f"turned by {self._info.rotation} degrees"
            self._warn(
                f"{self._container.format} cannot say that the picture is {how}; "
                "it will be shown as it is stored: use .mp4, .mov or .mkv"
            )
        else:
            self.stream.set_display_matrix(matrix)

    def _warn(self, words: str) -> None:
        if words:
            self._warnings.append(words)


def is_opaque(picture: av.VideoFrame) -> bool:
    """Whether nothing of the picture is transparent, whatever its format could say."""
    if not has_alpha(picture.format.name):
        return True
    rgba = reformat(VideoReformatter(), picture, picture.width, picture.height, "rgba")
    return bool(rgba.to_ndarray()[..., 3].min() == 255)


def fitting_time_base(info: VideoInfo, encoder: Encoder) -> Fraction:
    """The source's own time base, or the finest that the codec can write and that fits the frame rate."""
    if info.time_base.denominator <= encoder.max_denominator:
        return info.time_base
    rate = info.average_rate or FALLBACK_RATE
    if rate.numerator > encoder.max_denominator or encoder.max_denominator == 100:
        return Fraction(1, encoder.max_denominator)
    return Fraction(rate.denominator, rate.numerator * (encoder.max_denominator // rate.numerator))
