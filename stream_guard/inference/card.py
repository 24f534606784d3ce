"""The engine card: what a network takes, gives, may do and has shown. A `card.toml` beside the model's file."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from ..errors import EngineError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CARD_NAME = "card.toml"

Kind = Literal["disrupter", "generator", "detector", "faces", "parser", "perturbation", "restorer"]


def _fraction(value: Any) -> Any:
    """`"8/255"` as a number."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = (float(part) for part in value.split("/"))
        if below == 0:
            raise ValueError(f"{value!r} divides by zero")
        return above / below
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Part):
    """One input or output: `shape` with -1 where any size is taken, the range and meaning of its values."""

    name: str
    shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    meaning: str = ""


class Conditions(_Part):
    """The edits a generator can be asked for: a name and a row of the `condition` input for each."""

    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _one_row_a_name(self) -> Conditions:
        if len(self.names) != len(self.rows):
            raise ValueError(f"{len(self.names)} names but {len(self.rows)} rows; one row a name is needed")
        return self


class Card(_Part):
    """A card that was read and checked; `model_path` says where its model lies. See `read_model`."""

    name: str = Field(min_length=1)
    kind: Kind
    title: str
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    opset: int
    licence: str
    evaluation_only: bool = False
    """The network may only be used to measure, never shipped into a product's pipeline."""
    epsilon: Annotated[float, BeforeValidator(_fraction)] | None = Field(default=None, gt=0, le=0.25)
    """The largest change of a sample, full-range levels divided by 255. Disrupters must have it."""
    crop: float | None = Field(default=None, gt=0, le=4)
    """Side of the square that a detector takes of a face, in sides of its box (`types.centred_region`)."""
    default: bool = False
    default_on_processor: bool = False
    """Stages take it in place of its kind's default where none is named and no GPU is to run it."""
    surrogate: bool = True
    """A generator that was trained in place of the published weights; false where the weights are others' own."""
    paper: str = ""
    data: str = ""
    command: str = ""
    notes: str = ""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    conditions: Conditions | None = None
    results: dict[str, Any] = Field(default_factory=dict)

    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Card:
        if self.kind == "disrupter" and self.epsilon is None:
            raise ValueError('a disrupter needs epsilon, such as epsilon = "8/255"')
        if self.kind == "generator" and self.conditions is None:
            raise ValueError("a generator needs [conditions] with names and rows")
        return self

    @property
    def model_path(self) -> Path:
        return (self._folder or Path()) / self.file

    def within(self, folder: Path) -> Card:
        """The same card for a model that lies in `folder`."""
        self._folder = folder
        return self

    def input_shape(self, name: str) -> tuple[int, ...]:
        for spec in self.inputs:
            if spec.name == name:
                return spec.shape
        raise EngineError(f"engine {self.name!r} has no input {name!r}; it has {[s.name for s in self.inputs]}")

    def read_model(self) -> bytes:
        """The model's bytes, once their sha256 is the card's. Raises EngineError for a missing or different file."""
        try:
            model = self.model_path.read_bytes()
        except OSError as error:
            raise EngineError(
                f"engine {self.name!r}: can't read its model {self.model_path}: {error.strerror or error}; "
                "put the file there, or reinstall"
            ) from error
        found = hashlib.sha256(model).hexdigest()
        if found != self.sha256:
            raise EngineError(
                f"engine {self.name!r}: {self.model_path} has the sha256 {found[:16]}…, its card says "
                f"{self.sha256[:16]}…; the file is damaged or not the one that was measured: export or install it again"
            )
        return model


def load_card(path: Path) -> Card:
    """The card of an engine's folder, or of a `card.toml` itself. Raises EngineError naming each wrong key."""
    file = path / CARD_NAME if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            data = tomllib.load(stream)
    except FileNotFoundError as error:
        raise EngineError(f"{path} is no engine: there is no {CARD_NAME} in it") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"can't read the engine card {file}: {error}") from error
    try:
        return Card.model_validate(data).within(file.parent)
    except ValidationError as error:
        raise EngineError(f"the engine card {file} is not valid: {_mistakes(error)}") from error


def _mistakes(error: ValidationError) -> str:
    parts = []
    for mistake in error.errors():
        key = ".".join(str(step) for step in mistake["loc"]) or "card"
        parts.append(f"{key}: {mistake['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)
