"""See perturbations against face editors in faces that come in, and on request undo them (MagDR)."""

from __future__ import annotations

import logging
import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ..errors import ConfigError, EngineError, UnknownNameError
from ..inference import AUTO, backend_words
from ..magdr import plausible
from ..magdr.detector import Score
from ..magdr.engines import Rgb, from_rgb
from ..magdr.inputs import with_inputs
from ..magdr.panel import Panel, open_panel
from ..magdr.reconstructor import Recipe, by_learning, restore
from ..magdr.regions import Masks, conditional_masks
from ..media import pixels
from ..media.orientation import as_stored, orientation_of, upright
from ..media.regions import described
from ..types import Face, Frame, Protection, Verdict, head_region
from .base import Stage, StageOptions
from .reasons import ENGINE_FAILED, ENGINE_MISSING, NO_FACE, UNSUPPORTED

_log = logging.getLogger(__name__)

CLEAN, PERTURBED, UNKNOWN = "clean", "perturbed", "unknown"
LABELS = (CLEAN, PERTURBED, UNKNOWN)

NOT_LOOKED_AT = "not_looked_at"
RESTORED = "restored"

UNKNOWN_REASONS = (
    *(NO_FACE, plausible.TINY, plausible.BORDER, plausible.SEVERAL, plausible.DRAWING, plausible.NOT_PARSED),
    *(UNSUPPORTED, ENGINE_MISSING, ENGINE_FAILED, NOT_LOOKED_AT),
)
"""Why a verdict is `unknown`. no_face: none in the picture; tiny_face, at_border, several_faces: where the face is;
not_a_photograph, not_parsed: what it shows; engine_missing: no parser, probe or calibration; engine_failed: one of them
raised; not_looked_at: `budget_ms` has left no time for this face yet."""

NOBODY = Score(0.0, 0.0, 0.0, 0.0, "")
"""What the probes say where none is asked."""


class MagdrOptions(StageOptions):
    """Options of the `magdr` stage."""

    mode: Literal["check", "restore"] = Field(
        "check", description="check: verdicts only; restore: also undo what was found, in the picture's own planes"
    )
    probes: list[str] | None = Field(
        None,
        description="generators to ask, by name or folder; all that the calibration knows if not given; `[]`: none, "
        "and the detector of perturbed inputs judges alone, in a few milliseconds (also for `mode: restore`, where the "
        "zoo has a learned restorer)",
    )
    parser: str | None = Field(None, description="face parser: a name or folder; the zoo's default if not given")
    inputs: bool = Field(
        True, description="whether the learned detector of perturbed inputs, where one is calibrated, has a say too"
    )
    calibration: str | None = Field(
        None, description="file with the detectors' thresholds, made by `python -m engines calibrate`; the zoo's own"
    )
    every: int = Field(
        25, ge=1, le=3000, description="each face is looked at on every so many pictures; its verdict holds in between"
    )
    memory: int = Field(5, ge=1, le=100, description="looks of which the median is the score of a face")
    budget_ms: float = Field(
        0, ge=0, description="milliseconds a picture that looking may cost on average; looks wait for it; 0: no bound"
    )
    min_face: int = Field(
        48, ge=8, le=4096, description="faces whose box is smaller than this many pixels are `unknown` (`tiny_face`)"
    )
    restore_looks: int = Field(
        120, ge=10, le=2000, description="how often the search for a restoration may ask the probe, for each face"
    )
    backend: str = Field(AUTO, description=backend_words())
    threads: int = Field(1, ge=1, le=64, description="threads of each engine")

    @model_validator(mode="after")
    def _somebody_judges(self) -> MagdrOptions:
        if self.probes == [] and not self.inputs:
            raise ValueError("without probes only `inputs` can judge: name a probe, or leave `inputs` true")
        return self


@dataclass(slots=True)
class _Known:
    """What is known of one face in sight."""

    values: deque[float]
    region: str = ""
    reason: str = ""
    waited: int = 0
    """Pictures since it was last looked at."""
    masks: Masks | None = None
    recipe: Recipe | None = None

    @property
    def value(self) -> float | None:
        return statistics.median(self.values) if self.values else None


@dataclass(slots=True)
class _Clock:
    """What looking has cost, against the budget."""

    budget_ms: float
    spent_ms: float = 0.0
    pictures: int = 0

    @property
    def allows(self) -> bool:
        return not self.budget_ms or self.spent_ms <= self.budget_ms * self.pictures


class MagdrStage(Stage):
    """Appends one verdict a face in sight to every frame, or one without a track where there is no face."""

    name = "magdr"
    needs_faces = True
    description = "Says of every face whether it carries a perturbation against face editors; on request undoes it."
    Options = MagdrOptions
    options: MagdrOptions
    labels = LABELS

    def __init__(self, options: StageOptions | None = None) -> None:
        super().__init__(options)
        self._engines: Panel | None = None
        self._known: dict[int, _Known] = {}
        self._clock = _Clock(self.options.budget_ms)
        self._warned = False

    @classmethod
    def changes(cls, options: StageOptions) -> bool:
        return isinstance(options, MagdrOptions) and options.mode == "restore"

    def open(self) -> None:
        self._warned = False
        self.reset()
        o, restores = self.options, self.options.mode == "restore"
        try:
            self._engines = open_panel(o.calibration, o.probes, o.parser, o.inputs, restores, o.backend, o.threads)
        except (EngineError, UnknownNameError) as error:
            if restores:  # nobody would notice that nothing was
                raise
            _log.warning("magdr has no engines, every verdict will be unknown: %s", error)
            return
        if restores and not self._engines.detectors and self._engines.restorer is None:
            self.close()
            raise EngineError(
                "magdr has nothing to restore by: without probes it takes a learned restorer, and the zoo has none; "
                "name a probe"
            )

    def reset(self) -> None:
        self._known.clear()
        self._clock = _Clock(self.options.budget_ms)

    def about(self) -> dict[str, str]:
        if self._engines is None:
            return {}
        judges = self._engines.judges()
        return {
            "engine": ", ".join(judges),
            "backend": self._engines.parser.session.backend,
            "sha256": next(iter(judges.values())),
        }

    def process(self, frame: Frame) -> list[Frame]:
        if not frame.faces_known:
            raise ConfigError("nobody looked for faces in this picture: put the stage 'faces' before 'magdr'")
        restores = self.options.mode == "restore"
        if restores and any(face.protection is Protection.PROTECTED for face in frame.faces):
            raise ConfigError("restoring would undo the protection: put the stage 'magdr' before 'disrupt'")
        self._clock.pictures += 1
        for track in self._known.keys() - {face.track for face in frame.faces}:
            del self._known[track]  # a face that comes back is another
        for face in self._due(frame):
            self._see(frame, face)
        if restores:
            self._restore(frame)
        return [replace(frame, verdicts=(*frame.verdicts, *self._verdicts(frame)))]

    def close(self) -> None:
        if self._engines is not None:
            self._engines.close()
        self._engines = None
        self._known.clear()

    def _due(self, frame: Frame) -> list[Face]:
        """Whose turn it is; first who waited longest, so that a budget for one look leaves nobody out."""
        every = self.options.every
        for face in frame.faces:
            new = _Known(deque(maxlen=self.options.memory), reason=NOT_LOOKED_AT, waited=every - 1)
            self._known.setdefault(face.track, new).waited += 1
        due = [face for face in frame.faces if self._known[face.track].waited >= every]
        return sorted(due, key=lambda face: -self._known[face.track].waited)

    def _see(self, frame: Frame, face: Face) -> None:
        """Look at the face where there is time, and note what was seen or why it was not."""
        known = self._known[face.track]
        if self._engines is None:
            known.reason = ENGINE_MISSING
            return
        others = [other.box for other in frame.faces if other.track != face.track]
        orientation = orientation_of(frame.picture)
        reason = plausible.place(face.box, others, frame.width, frame.height, self.options.min_face, orientation)
        if reason or not pixels.supports(frame.picture):
            known.reason = reason or UNSUPPORTED
        elif self._clock.allows:
            started = perf_counter()
            known.reason = self._look(frame, face, known, self._engines)
            self._clock.spent_ms += 1000 * (perf_counter() - started)
        else:
            return  # still due
        known.waited = 0

    def _look(self, frame: Frame, face: Face, known: _Known, engines: Panel) -> str:
        """Ask the engines; returns why they say nothing, or nothing."""
        orientation = orientation_of(frame.picture)
        region = head_region(face.box, orientation)
        crop = upright(pixels.read_rgb(frame.picture, region, engines.parser.size), orientation)
        try:
            masks = conditional_masks(engines.parser.classes(from_rgb([crop])[0]))
            reason = plausible.look(crop, masks)
            if reason:
                return reason
            scores = [detector.score(crop, masks) for detector in engines.detectors]
            seen = engines.inputs.value(crop) if engines.inputs else None
            told = with_inputs(max(scores, key=lambda score: score.value, default=NOBODY), seen)
            known.values.append(told.value)
            known.region, known.masks = told.region, masks
            if self.options.mode == "restore" and known.recipe is None and (known.value or 0) >= 0.5:
                known.recipe = self._recipe(crop, masks, engines, scores)
        except EngineError as error:
            return self._failed(error)
        return ""

    def _failed(self, error: EngineError) -> str:
        """Tells the first failure; returns the reason that every one gives."""
        if not self._warned:
            _log.warning("magdr's engines failed, faces are unknown: %s", error)
        self._warned = True
        return ENGINE_FAILED

    def _recipe(self, crop: Rgb, masks: Masks, engines: Panel, scores: list[Score]) -> Recipe:
        """What undoes it: the learned restorer, or operations that calm the probe that is alarmed most."""
        if engines.restorer is not None:
            return by_learning(engines.restorer)
        detector = engines.detectors[max(range(len(scores)), key=lambda k: scores[k].value)]
        judge, usual = engines.quick(detector, masks), detector.calibration.usual
        return restore(crop, masks, judge, usual, self.options.restore_looks).recipe

    def _restore(self, frame: Frame) -> None:
        """Write what the recipes change into the picture's own planes, at every picture of a perturbed face."""
        orientation = orientation_of(frame.picture)
        for face in frame.faces:
            known = self._known[face.track]
            if known.recipe is None or known.masks is None or known.reason or (known.value or 0) < 0.5:
                continue
            head, side = head_region(face.box, orientation), known.masks.shape[-1]
            crop = upright(pixels.read_rgb(frame.picture, head, side), orientation)
            try:
                restored = known.recipe(crop, known.masks)
            except EngineError as error:
                known.reason = self._failed(error)
                continue
            change = (restored.astype(np.float32) - crop) / np.float32(255)
            delta = as_stored(described(frame.picture)[1].from_rgb(change), orientation)
            pixels.add_perturbation(frame.picture, head, delta, epsilon=0.5)

    def _verdicts(self, frame: Frame) -> Iterator[Verdict]:
        if not frame.faces:
            yield Verdict(self.name, UNKNOWN, 0.5, reason=NO_FACE, measured=False)
        for face in frame.faces:
            yield self._verdict(face.track, self._known[face.track])

    def _verdict(self, track: int, known: _Known) -> Verdict:
        value = known.value
        if known.reason or value is None:
            return Verdict(self.name, UNKNOWN, 0.5, track, known.reason or NOT_LOOKED_AT, measured=False)
        if value < 0.5:
            return Verdict(self.name, CLEAN, value, track, confidence=1 - value)
        reason = RESTORED if known.recipe is not None and known.recipe.changes else ""
        return Verdict(self.name, PERTURBED, value, track, reason, confidence=value, region=known.region)
