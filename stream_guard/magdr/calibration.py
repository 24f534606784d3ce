"""What the detectors were set to on held-out people: `magdr.toml` in the zoo, written by `python -m engines`.

A calibration belongs to one probe and one parser, by their sha256: with other networks its numbers say nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import EngineError
from ..inference import zoo_folder
from .regions import NAMES
from .sensitivity import CHANGES
from .views import METRICS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Vector = tuple[float, ...]
Cube = tuple[tuple[Vector, ...], ...]
"""(conditions, rows, columns)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Standard(_Part):
    """Middle and width of the logarithm of each measure on clean faces, and its weight (w of eq. 6).

    Weights may be negative; their magnitudes sum to 1.
    """

    middle: Cube
    width: Cube
    weights: Cube

    @model_validator(mode="after")
    def _fits(self) -> Standard:
        cubes = (self.middle, self.width, self.weights)
        if len({tuple(tuple(len(row) for row in part) for part in cube) for cube in cubes}) != 1:
            raise ValueError("middle, width and weights must have the same conditions, rows and columns")
        if any(value <= 0 for part in self.width for row in part for value in row):
            raise ValueError("widths must be above 0")
        return self

    def first(self) -> Standard:
        """The first condition's part alone, its weights made to sum to 1 again."""
        total = sum(abs(value) for row in self.weights[0] for value in row) or 1.0
        weights = tuple(tuple(value / total for value in row) for row in self.weights[0])
        return Standard(middle=self.middle[:1], width=self.width[:1], weights=(weights,))


class ProbeCalibration(_Part):
    """One probe: which of its edits are asked, the two detectors, their sum (eq. 9) and where it counts as too much."""

    probe_sha256: str
    parser_sha256: str
    conditions: tuple[str, ...] = Field(min_length=1)
    operations: int = Field(ge=2, le=8)
    """K of eq. 7."""
    seed: int = 0
    distortion: Standard
    """For each condition a row a region."""
    consistency: Standard
    """For each condition a row an operation."""
    balance: float = Field(ge=0)
    """lambda of eq. 9."""
    threshold: float
    threshold_distortion: float
    threshold_consistency: float
    usual: float = 0.0
    """S_final of the clean face in the middle: what the reconstructor aims at."""
    slope: float = Field(gt=0)
    """A score is sigmoid(slope * (S_final - threshold))."""

    @model_validator(mode="after")
    def _fits(self) -> ProbeCalibration:
        parts = (
            ("distortion", self.distortion, len(NAMES), METRICS),
            ("consistency", self.consistency, self.operations, CHANGES),
        )
        for name, part, rows, columns in parts:
            wanted = [[len(columns)] * rows] * len(self.conditions)
            if [[len(row) for row in rows_of_one] for rows_of_one in part.middle] != wanted:
                raise ValueError(
                    f"{name} needs {rows} rows of {len(columns)} numbers ({', '.join(columns)}) for each of "
                    f"{len(self.conditions)} conditions"
                )
        return self

    def first(self) -> ProbeCalibration:
        """The same for the first condition alone: what a quick look asks."""
        parts = {"distortion": self.distortion.first(), "consistency": self.consistency.first()}
        return self.model_copy(update={"conditions": self.conditions[:1], **parts})


class InputCalibration(_Part):
    """The learned detector of perturbed inputs: which network, and where its log-odds count as too much."""

    engine: str
    """Its name in the zoo."""
    sha256: str
    threshold: float
    slope: float = Field(1.0, gt=0)
    """A score is sigmoid(slope * (log-odds - threshold))."""


class Calibration(_Part):
    """All probes by name, how they were set, and what was measured of them together."""

    command: str = ""
    seed: int = 0
    data: str = ""
    notes: str = ""
    probes: dict[str, ProbeCalibration]
    inputs: InputCalibration | None = None
    """None where the probes judge alone."""
    results: dict[str, Any] = Field(default_factory=dict)


def calibration_file() -> Path:
    return zoo_folder() / "magdr" / "magdr.toml"


def load_calibration(path: Path | None = None) -> Calibration:
    """Raises EngineError where it is missing or not valid, naming the first wrong keys."""
    file = path or calibration_file()
    remedy = "give a file that `python -m engines calibrate` wrote" if path else "reinstall"
    try:
        with file.open("rb") as stream:
            data = tomllib.load(stream)
    except OSError as error:
        raise EngineError(f"can't read MagDR's calibration {file}: {error.strerror or error}; {remedy}") from error
    except tomllib.TOMLDecodeError as error:
        raise EngineError(f"can't read MagDR's calibration {file}: {error}") from error
    try:
        return Calibration.model_validate(data)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        words = "; ".join(mistakes[:3]) + (f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else "")
        raise EngineError(f"MagDR's calibration {file} is not valid: {words}") from error
