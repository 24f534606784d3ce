"""What one live stream is asked to do, and what it says of itself. Data only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..backoff import Backoff
from ..config import OnFailure, PipelineConfig
from ..media import EncoderSettings
from ..media.live import LiveOutput


class OnGap(str, Enum):
    """What the outputs show while the source is away."""

    SLATE = "slate"
    """A plain picture that says so, at the stream's own frame rate, with silence."""
    FREEZE = "freeze"
    """The last picture that left, again and again; the slate where that one left unprotected, as `pass` allows."""
    CLOSE = "close"
    """Nothing: the outputs are closed and opened anew when the source is back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may demand; more is refused in words. 0 means no limit."""

    width: int = 3840
    height: int = 2160
    frame_rate: float = 120.0
    duration_seconds: float = 0.0
    memory_bytes: int = 2 * 1024**3
    """Resident memory of the stream's process."""
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LiveSpec:
    """One live stream. Times in seconds; URLs may hold stream keys and are never printed (`repr=False`)."""

    name: str
    source: str = field(repr=False)
    outputs: tuple[LiveOutput, ...]
    pipeline: PipelineConfig
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    source_options: tuple[tuple[str, str], ...] = ()
    """FFmpeg's options of the demuxer and protocol, such as ("rtsp_transport", "tcp")."""
    record: str = ""
    """A file that receives the same encoded stream beside the outputs; empty for none."""
    on_failure: OnFailure = OnFailure.BLOCK
    on_gap: OnGap = OnGap.SLATE
    open_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 10.0
    stall_seconds: float = 5.0
    """No new picture for this long is a failure, whatever the connection says."""
    max_delay_seconds: float = 0.5
    """A picture that waited longer than this before the disrupter is dropped, counted as `late`."""
    end_after_gap_seconds: float = 0.0
    """End the stream, as finished, when the source has been away this long; 0 waits for ever."""
    backoff: Backoff = field(default_factory=Backoff)
    limits: Limits = Limits()


class LivePhase(str, Enum):
    STARTING = "starting"
    LOADING = "loading"
    """The engine is being loaded."""
    CONNECTING = "connecting"
    RUNNING = "running"
    GAP = "gap"
    """The source is away; the outputs show what `on_gap` says."""
    DRAINING = "draining"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """A stream at one moment. Counts since its start; always frames_in == frames_out + sum(dropped) + in_flight.

    `filled` counts pictures shown in a gap: they are in neither. `fps` and `latency_seconds` (from the end of decoding
    to the end of encoding, median) are of the last seconds. `error` holds words for people, without URLs' secrets.
    """

    phase: LivePhase = LivePhase.STARTING
    frames_in: int = 0
    frames_out: int = 0
    in_flight: int = 0
    filled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    unprotected: dict[str, int] = field(default_factory=dict)
    blocked: dict[str, int] = field(default_factory=dict)
    faces: int = 0
    protected_faces: int = 0
    fps: float = 0.0
    latency_seconds: float = 0.0
    reconnects: int = 0
    width: int = 0
    height: int = 0
    outputs: tuple[dict[str, Any], ...] = ()
    """Each: {"url": redacted, "state": "open" | "waiting" | "failed", "bytes": n, "reconnects": n, "dropped": n}."""
    recording: dict[str, Any] | None = None
    """The same of the recording; None without one."""
    engines: dict[str, dict[str, str]] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    """Counts by `stage:label`."""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "phase": self.phase.value}


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something worth telling: `kind` is one of phase, reconnect, output, verdict, unprotected, limit, error."""

    kind: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)
