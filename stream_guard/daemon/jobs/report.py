"""The report of a job: what its segments say, whichever attempt made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...config import PipelineConfig
from ...outcome import RunReport
from .segments import Segment


def joined_report(
    config: PipelineConfig,
    segments: Sequence[Segment],
    last: RunReport | None,
    sink: dict[str, Any],
    engines: dict[str, dict[str, str]],
    seconds: float,
    warnings: Sequence[str],
) -> RunReport:
    """Counts are of the whole job; `seconds`, `fps` and `stage_seconds` of its last attempt, whose run is `last`."""
    counts = [one.record["counts"] for one in segments]
    frames = sum(each["frames"] for each in counts)
    encoded = last.frames_out if last is not None else 0
    end = segments[-1].record
    return RunReport(
        pipeline=config.name,
        on_failure=config.on_failure.value,
        frames_in=frames,
        frames_out=frames,
        frames_without_face=sum(each["without_face"] for each in counts),
        faces=sum(each["faces"] for each in counts),
        protected_faces=sum(each["protected_faces"] for each in counts),
        unprotected_frames=_added(each["unprotected"] for each in counts),
        blocked_frames=_added(each["blocked"] for each in counts),
        seconds=round(seconds, 3),
        fps=round(encoded / seconds, 2) if seconds > 0 else 0.0,
        stage_seconds=last.stage_seconds if last is not None else {},
        source=dict(end["source"]),
        sink=sink,
        engines=engines,
        truncation=str(end["truncation"]),
        verdicts=_added(each["verdicts"] for each in counts),
        warnings=(*warnings, *sink["warnings"]),
    )


def _added(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
