"""What an audit found: the figures that are printed, and the series and pictures that only a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..types import Frame
from .disruption import L2_THRESHOLD, DisruptionTally
from .examine import Examination
from .gallery import Moment
from .pairing import Pairing
from .pictures import Picture
from .probes import Probe
from .quality import psnr_db

Summary = dict[str, object]

UNLIKE_DB = 20.0
"""Heads further apart than this are other pictures: protection stays near 38 dB, and no usual encoder goes so low."""
MUCH_ALONE = 0.1
"""Of the original's pictures: more without a partner are no lost frame or two."""


@dataclass(frozen=True)
class Clip:
    """One of the audited files, as far as a report tells of it. `bit_rate` counts the video stream, in bits/s."""

    name: str
    description: str
    bit_rate: float


@dataclass(frozen=True)
class Series:
    """L2 over time of one generator: `(seconds, mean L2)`, for the protected clip and for the plain transcode."""

    title: str
    protected: list[tuple[float, float]]
    control: list[tuple[float, float]]


@dataclass(frozen=True)
class AuditResult:
    """`summary` is what `--json` prints."""

    summary: Summary
    original: Clip
    protected: Clip
    reference: Clip | None
    series: list[Series] = field(default_factory=list)
    frame_pictures: list[Picture] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)

    def worst_share(self) -> float | None:
        """The smallest disrupted share of all generators; None when no generator met a face."""
        generators = self.summary["generators"]
        shares = [g["disrupted"] for g in generators.values()] if isinstance(generators, dict) else []
        return min(shares) if shares and None not in shares else None

    @property
    def alike(self) -> bool:
        """Whether the heads of both videos are the same pictures; else edits of them differ for that reason."""
        face: Any = self.summary["face"]
        return not _unlike(face["psnr_db"])


def summarise(
    examination: Examination,
    pairing: Pairing[Frame],
    probes: Sequence[Probe],
    clips: tuple[Clip, Clip, Clip | None],
    warnings: Sequence[str] = (),
) -> AuditResult:
    """Turns what was measured into figures. Nothing is rounded."""
    original, protected, reference = clips
    face = examination.protected.face
    unlike = _unlike(psnr_db(face.error.mse))
    against = original if reference is None else reference
    plain = examination.reference
    summary: Summary = {
        "frames": examination.frames,
        "faces": examination.faces,
        "face": face.summary(plain.face if plain else None),
        "frame": examination.protected.frame.summary(plain.frame if plain else None),
        "bitrate_ratio": protected.bit_rate / against.bit_rate if against.bit_rate else None,
        "flicker": examination.protected.flicker.levels,
        "generators": {probe.name: _generator(examination, probe) for probe in probes},
        "bitrate_against": "original" if reference is None else "reference",
        "sampled": examination.sampled,
        "every": examination.every,
        "tracks": len(examination.tracks),
        "head_width_px": _widths(examination.region_widths),
        "unpaired": dict(zip(("original", "protected", "reference"), pairing.unpaired, strict=False)),
        "warnings": [*warnings, *_alone(pairing), *unlike],
    }
    if plain is not None:
        summary["flicker_reference"] = plain.flicker.levels
    return AuditResult(
        summary,
        *clips,
        series=[_series(examination, probe) for probe in probes],
        frame_pictures=examination.gallery.frame_pictures,
        moments=examination.gallery.chosen(),
    )


def _alone(pairing: Pairing[Frame]) -> list[str]:
    """A sentence where much of the original was not compared."""
    missing = pairing.unpaired[0]
    total = pairing.paired + missing
    if missing <= MUCH_ALONE * total:
        return []
    return [
        f"{missing} of the original's {total} pictures have no partner at their times, as where the protected video "
        "was cut or has another frame rate: the figures speak of the others alone, and if its start was cut, they "
        "compare pictures that do not belong together"
    ]


def _unlike(decibels: float | None) -> list[str]:
    """A sentence where the heads of the two videos are hardly the same pictures."""
    if decibels is None or decibels >= UNLIKE_DB:
        return []
    return [
        f"the heads of the two videos are hardly alike (PSNR {decibels:.1f} dB): these are other pictures, such as "
        "another video, one that was turned, or pictures that were replaced; edits of them differ for that reason, "
        "which is no protection"
    ]


def _widths(widths: list[float]) -> Summary | None:
    return {"min": min(widths), "median": median(widths), "max": max(widths)} if widths else None


def _generator(examination: Examination, probe: Probe) -> Summary:
    tally = examination.protected.disruption.get(probe.name, DisruptionTally())
    found: Summary = {
        **tally.summary(),
        "target": probe.target,
        "threshold": L2_THRESHOLD,
        "title": probe.heading,
        "surrogate": probe.surrogate,
        "conditions": list(probe.conditions),
        "worst_track": tally.worst_track(),
    }
    if examination.purify is not None:
        found["after_magdr"] = examination.purified.get(probe.name, DisruptionTally()).summary()
    if examination.reference is not None:
        found["control"] = examination.reference.disruption.get(probe.name, DisruptionTally()).summary()
    return found


def _series(examination: Examination, probe: Probe) -> Series:
    versions = (examination.protected, examination.reference)
    protected, control = (
        [] if v is None or probe.name not in v.disruption else v.disruption[probe.name].points() for v in versions
    )
    return Series(probe.heading, protected, control)
