"""Say of each face in sight whether it is real or a deepfake. Pictures are only read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pydantic import Field, model_validator

from ..errors import ConfigError, EngineError
from ..inference import AUTO, backend_words
from ..media import pixels
from ..media.orientation import orientation_of, upright
from ..types import Box, Face, Frame, Verdict, centred_region
from .base import Stage, StageOptions
from .classifier import FaceClassifier, open_classifier
from .reasons import ENGINE_FAILED, ENGINE_MISSING, NO_FACE, TOO_SMALL, UNSUPPORTED
from .scores import Scores

_log = logging.getLogger(__name__)

REAL, FAKE, UNKNOWN = "real", "fake", "unknown"
LABELS = (REAL, FAKE, UNKNOWN)

LOW_CONFIDENCE = "low_confidence"

UNKNOWN_REASONS = (NO_FACE, TOO_SMALL, UNSUPPORTED, ENGINE_MISSING, ENGINE_FAILED, LOW_CONFIDENCE)
"""Why a verdict is `unknown`: no face in the picture; its box is under `min_face`; the pixel format can't be read;
no engine (`require_engine: false`); the engine raised or gave no number; the score lies between the thresholds."""

UNSCORED = 0.5
"""The score of a verdict where nothing could be measured (`measured` is then false)."""


class DetectOptions(StageOptions):
    """Options of the `detect` stage."""

    engine: str | None = Field(
        None,
        description="detector: a name from the zoo, or the path of its folder; if not given the zoo's default, which "
        "on a processor is the one in 8-bit integers",
    )
    every: int = Field(
        4, ge=1, le=300, description="each face is looked at on every so many pictures; its verdict holds in between"
    )
    memory: int = Field(
        8, ge=1, le=1000, description="looks over which a face's score is smoothed: more is steadier and slower to turn"
    )
    fake_from: float = Field(0.7, ge=0, le=1, description="probability of a fake from which the verdict is `fake`")
    real_to: float = Field(
        0.3, ge=0, le=1, description="probability of a fake up to which the verdict is `real`; between: `unknown`"
    )
    min_face: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="faces whose box is smaller than this many pixels are `unknown` (`too_small`); if not given, those "
        "that would have to be enlarged for the engine (98 pixels for the zoo's), which it takes for fakes too often",
    )
    max_batch: int = Field(
        1, ge=1, le=64, description="pictures that are held to be looked at in one run of the engine; adds that delay"
    )
    require_engine: bool = Field(
        True, description="end the run if the engine can't be loaded; otherwise every verdict is `unknown`"
    )
    backend: str = Field(AUTO, description=backend_words())
    threads: int = Field(1, ge=1, le=64, description="threads of the engine")

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> DetectOptions:
        if self.real_to > self.fake_from:
            raise ValueError(f"real_to ({self.real_to}) must not be above fake_from ({self.fake_from})")
        return self


@dataclass(slots=True)
class _Look:
    """A held frame; `crops` of the faces to be looked at now, and the reason of those that can't be, by track."""

    frame: Frame
    crops: dict[int, pixels.RGB] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


class DetectStage(Stage):
    """Appends one verdict a face in sight to every frame, or one without a track where there is no face."""

    name = "detect"
    needs_faces = True
    description = "Says of every face whether it is real or a deepfake: a calibrated score, smoothed over time."
    Options = DetectOptions
    options: DetectOptions
    labels = LABELS

    def __init__(self, options: StageOptions | None = None) -> None:
        super().__init__(options)
        self._engine: FaceClassifier | None = None
        self._scores = Scores(self.options.every, self.options.memory)
        self._held: list[_Look] = []
        self._warned = False

    def open(self) -> None:
        self._warned = False
        try:
            self._engine = open_classifier(self.options.engine, self.options.backend, self.options.threads)
        except EngineError as error:
            if self.options.require_engine:
                raise
            _log.warning("no deepfake detector, every verdict will be unknown: %s", error)

    def about(self) -> dict[str, str]:
        return {} if self._engine is None else self._engine.about()

    def process(self, frame: Frame) -> list[Frame]:
        if not frame.faces_known:
            raise ConfigError("nobody looked for faces in this picture: put the stage 'faces' before 'detect'")
        self._held.append(self._look(frame))
        return list(self._judged()) if len(self._held) >= self.options.max_batch else []

    def flush(self) -> list[Frame]:
        return list(self._judged())

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None
        self._scores.clear()
        self._held.clear()

    def _look(self, frame: Frame) -> _Look:
        """Cut out the faces that are due, so that the picture need not be read again."""
        look = _Look(frame)
        self._scores.sight({face.track for face in frame.faces})
        readable, orientation = pixels.supports(frame.picture), orientation_of(frame.picture)
        for face in frame.faces:
            reason = self._unfit(face.box, readable)
            if reason:
                look.reasons[face.track] = reason
            elif self._engine is not None and self._scores.due(face.track):
                region = centred_region(face.box, self._engine.crop, orientation)
                crop = pixels.read_rgb(frame.picture, region, self._engine.size)
                look.crops[face.track] = upright(crop, orientation)
        return look

    def _unfit(self, box: Box, readable: bool) -> str:
        if self._engine is None:
            return ENGINE_MISSING
        if not readable:
            return UNSUPPORTED
        least = self.options.min_face or int(self._engine.size / self._engine.crop)
        return TOO_SMALL if max(box.width, box.height) < least else ""

    def _judged(self) -> Iterator[Frame]:
        """Every held frame with its verdicts, after one run of the engine on all their crops."""
        held, self._held = self._held, []
        answers = iter(self._log_odds([crop for look in held for crop in look.crops.values()]))
        for look in held:
            self._scores.forget_others({face.track for face in look.frame.faces})
            for track in look.crops:
                self._scores.add(track, next(answers))
            yield replace(look.frame, verdicts=(*look.frame.verdicts, *self._verdicts(look)))

    def _log_odds(self, crops: Sequence[pixels.RGB]) -> list[float | None]:
        if not crops or self._engine is None:
            return []
        try:
            return self._engine.log_odds(crops)
        except EngineError as error:
            if not self._warned:
                _log.warning("the detector failed, faces are unknown: %s", error)
            self._warned = True
            return [None] * len(crops)

    def _verdicts(self, look: _Look) -> Iterator[Verdict]:
        if not look.frame.faces:
            yield Verdict(self.name, UNKNOWN, UNSCORED, reason=NO_FACE, measured=False)
        for face in look.frame.faces:
            yield self._verdict(face, look.reasons.get(face.track, ""))

    def _verdict(self, face: Face, reason: str) -> Verdict:
        score = self._scores.known.get(face.track)
        if not reason and (score is None or score.failed):
            reason = ENGINE_FAILED
        if reason or score is None:
            return Verdict(self.name, UNKNOWN, UNSCORED, face.track, reason, measured=False)
        if self.options.real_to < score.p_fake < self.options.fake_from:
            return Verdict(self.name, UNKNOWN, score.p_fake, face.track, LOW_CONFIDENCE)
        if score.p_fake >= self.options.fake_from:
            return Verdict(self.name, FAKE, score.p_fake, face.track, confidence=score.p_fake)
        return Verdict(self.name, REAL, score.p_fake, face.track, confidence=1 - score.p_fake)
