"""What is counted of the pictures of a segment: for the job's report, and for the metrics once the segment is whole."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...config import OnFailure
from ...metrics import Metrics
from ...policy import shortfall
from ...types import Frame, Protection


@dataclasses.dataclass(slots=True)
class Counts:
    """Counted from the frames alone, so that it is the same however they were reached.

    `faces` by protection, `unprotected` and `blocked` by reason, `verdicts` by stage and label.
    """

    frames: int = 0
    without_face: int = 0
    faces: Counter[str] = dataclasses.field(default_factory=Counter)
    unprotected: Counter[str] = dataclasses.field(default_factory=Counter)
    blocked: Counter[str] = dataclasses.field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def add(self, frame: Frame, on_failure: OnFailure, protects: bool) -> None:
        self.frames += 1
        self.without_face += frame.faces_known and not frame.faces
        self.faces.update(face.protection.value for face in frame.faces)
        self.verdicts.update((verdict.stage, verdict.label) for verdict in frame.verdicts)
        reason = shortfall(frame, protects)
        if reason is not None:
            (self.unprotected if on_failure is OnFailure.PASS else self.blocked)[reason] += 1

    def include(self, other: Counts) -> None:
        """Add what another segment counted."""
        self.frames += other.frames
        self.without_face += other.without_face
        self.faces.update(other.faces)
        self.unprotected.update(other.unprotected)
        self.blocked.update(other.blocked)
        self.verdicts.update(other.verdicts)

    @property
    def protected_faces(self) -> int:
        return self.faces[Protection.PROTECTED.value]

    def to_json(self) -> dict[str, Any]:
        """Plain data; a Counter is none for `dataclasses.asdict`, and a pair of labels is no key in JSON."""
        return {
            "frames": self.frames,
            "without_face": self.without_face,
            "faces": dict(self.faces),
            "unprotected": dict(self.unprotected),
            "blocked": dict(self.blocked),
            "verdicts": [[stage, label, count] for (stage, label), count in self.verdicts.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Counts:
        return cls(
            data["frames"],
            data["without_face"],
            Counter(data["faces"]),
            Counter(data["unprotected"]),
            Counter(data["blocked"]),
            Counter({(stage, label): count for stage, label, count in data["verdicts"]}),
        )

    def count_in(self, metrics: Metrics, on_failure: OnFailure) -> None:
        """Count all of it in the metrics, as a run counts its pictures one by one."""
        metrics["frames_in"].inc(self.frames)
        metrics["frames_out"].inc(self.frames)
        metrics["frames_without_face"].inc(self.without_face)
        for protection, count in self.faces.items():
            metrics["faces"].labels(protection).inc(count)
        for reason, count in self.unprotected.items():
            metrics["unprotected_frames"].labels(reason).inc(count)
        for reason, count in self.blocked.items():
            metrics["blocked_frames"].labels(reason, on_failure.value).inc(count)
        for (stage, label), count in self.verdicts.items():
            metrics["verdicts"].labels(stage, label).inc(count)
