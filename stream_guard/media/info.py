"""What is known of a source before and after it is read. Plain data; nothing here opens a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av


@dataclass(frozen=True, slots=True)
class CopiedPacket:
    """A packet of a stream that is not decoded, on its way to the sink. `stream` is its index in the source."""

    packet: av.Packet[Any] = field(repr=False)
    stream: int

    @property
    def time_seconds(self) -> float | None:
        stamp = self.packet.pts if self.packet.pts is not None else self.packet.dts
        return None if stamp is None else float(stamp * Fraction(self.packet.time_base))


@dataclass(frozen=True, slots=True)
class Colour:
    """The colour tags of a picture, as the numbers of ITU-T H.273 (2 is unspecified); `range` 1 limited, 2 full."""

    range: int
    matrix: int
    primaries: int
    transfer: int


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One video stream that will be decoded. Sizes in pixels as coded; `rotation` in degrees, counter-clockwise."""

    stream: int
    codec: str
    width: int
    height: int
    pix_fmt: str
    time_base: Fraction
    average_rate: Fraction | None
    start_seconds: float
    duration_seconds: float | None
    frames: int | None
    """How many frames the container announces, or an estimate from duration and rate; None where unknown."""
    rotation: int
    sample_aspect_ratio: Fraction | None
    colour: Colour
    interlaced: bool
    field_order: int
    """FFmpeg's AVFieldOrder: 0 unknown, 1 progressive, 2 to 5 interlaced."""
    bit_rate: int | None


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of the source. `role` is `protected` or `copied`: whether its packets are decoded or handed on."""

    index: int
    kind: str
    codec: str
    role: str


@dataclass(frozen=True, slots=True)
class SourceInfo:
    path: str
    format: str
    """The demuxer's name, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    duration_seconds: float | None
    video: VideoInfo
    """The first protected stream."""
    videos: tuple[VideoInfo, ...]
    """Every protected stream: one, unless `all_video`."""
    streams: tuple[StreamInfo, ...]
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class SourceReport:
    """Counters of a source, filled while it is read; complete once `read` has ended."""

    frames: int = 0
    packets: int = 0
    """Packets handed on to be copied."""
    corrupt_packets: int = 0
    """Packets that the demuxer flagged as corrupt or the decoder refused."""
    corrupt_frames: int = 0
    """Frames that the decoder delivered with errors concealed."""
    read_errors: int = 0
    """Places where the demuxer could not read on and went to the next packet."""
    pts_invented: int = 0
    """Frames that came without a timestamp and got one."""
    pts_repaired: int = 0
    """Frames whose timestamp was not above the one before and was moved up."""
    jumps: int = 0
    """Times that a transport stream's clock started anew and was joined on."""
    size_changes: int = 0
    """Times that the picture changed its size or format in mid-stream."""
    sizes: list[str] = field(default_factory=list)
    """The sizes and formats that there were, such as `1280x720 yuv420p`, in the order they came."""
    truncated: bool = False
    expected_seconds: float | None = None
    """Where the video should end by the container's own index or header."""
    read_seconds: float = 0.0
    """Where it ended."""
    missing_seconds: float = 0.0


@dataclass(slots=True)
class SinkReport:
    """Counters of a sink; complete once it is closed."""

    frames: int = 0
    packets_copied: int = 0
    packets_transcoded: int = 0
    packets_left_out: int = 0
    """Packets that an edit list hides in the middle, and those before time zero where the container holds none.

    Most of these are never heard: codec priming.
    """
    sound_left_out_seconds: float = 0.0
    """Sound among them that would have been heard."""
    packets_refused: int = 0
    """Copied packets without a timestamp or that could not be decoded for transcoding."""
    dts_repaired: int = 0
    """Copied packets whose decoding time was not above the one before and was moved up."""
    bytes: int = 0
    warnings: list[str] = field(default_factory=list)
