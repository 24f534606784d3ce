"""The report of a job: what its segments say, whichever attempt made them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...config import PipelineConfig
from ...outcome import RunReport
from .counts import Counts
from .segments import Segment

_TIME = re.compile(r"\d+\.\d{3} s\b")


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
    counts = Counts()
    for one in segments:
        counts.include(Counts.from_json(one.record["counts"]))
    encoded = last.frames_out if last is not None else 0
    end = segments[-1].record
    told = [words for one in segments for words in one.record.get("warnings", ())]
    return RunReport(
        pipeline=config.name,
        on_failure=config.on_failure.value,
        frames_in=counts.frames,
        frames_out=counts.frames,
        frames_without_face=counts.without_face,
        faces=sum(counts.faces.values()),
        protected_faces=counts.protected_faces,
        unprotected_frames=dict(counts.unprotected),
        blocked_frames=dict(counts.blocked),
        seconds=round(seconds, 3),
        fps=round(encoded / seconds, 2) if seconds > 0 else 0.0,
        stage_seconds=last.stage_seconds if last is not None else {},
        source=dict(end["source"]),
        sink=sink,
        engines=engines,
        truncation=str(end["truncation"]),
        verdicts={f"{stage}:{label}": count for (stage, label), count in counts.verdicts.items()},
        warnings=_once([*warnings, *sink["warnings"], *told]),
    )


def _once(warnings: Sequence[str]) -> tuple[str, ...]:
    """Each of them once, with the first time that it names: every segment has an encoder, and each begins anew."""
    found: dict[str, str] = {}
    for words in warnings:
        found.setdefault(_TIME.sub("", words), words)
    return tuple(found.values())
