"""The two networks that MagDR asks: the face parser, and the editors (probe generators) of the zoo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import EngineError
from ..inference import AUTO, Card, Session, find_engine, open_session
from .regions import Masks, conditional_masks
from .views import Views

Floats = npt.NDArray[np.float32]
Rgb = npt.NDArray[np.uint8]

BATCH = 8
FEATURES = ("low", "deep", "last")


def from_rgb(pictures: list[Rgb]) -> Floats:
    """(S, S, 3) in 8 bits each, to (P, 3, S, S) in [-1, 1]."""
    stacked = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)
    images: Floats = np.ascontiguousarray(stacked / np.float32(127.5) - np.float32(1))
    return images


def to_rgb(images: Floats) -> list[Rgb]:
    """(P, 3, S, S) in [-1, 1] to (S, S, 3) in 8 bits each."""
    levels: npt.NDArray[np.uint8] = np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return list(np.ascontiguousarray(levels.transpose(0, 2, 3, 1)))


@dataclass(frozen=True)
class Parser:
    """The face parser of the zoo: masks of a head crop and the features that distances are taken of."""

    card: Card
    session: Session

    @property
    def size(self) -> int:
        return self.card.input_shape("image")[-1]

    def views(self, images: Floats) -> Views:
        """The features of pictures (P, 3, S, S) in [-1, 1]."""
        return self._run(images)[0]

    def classes(self, image: Floats) -> Masks:
        """(19, S, S): class probabilities of one picture (3, S, S)."""
        found: Masks = self._run(image[None])[1][0]
        return found

    def look(self, image: Floats) -> tuple[Views, Masks, Masks]:
        """One picture (3, S, S): its features, class probabilities (19, S, S) and conditional masks (N, S, S)."""
        views, classes = self._run(image[None])
        return views, classes[0], conditional_masks(classes[0])

    def _run(self, images: Floats) -> tuple[Views, Masks]:
        parts = [self.session.run({"image": images[i : i + BATCH]}) for i in range(0, len(images), BATCH)]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in ("masks", *FEATURES)}
        if not all(np.isfinite(maps).all() for maps in whole.values()):
            raise EngineError(f"the parser {self.card.name!r} gave numbers that are not finite")
        return Views(images, {name: whole[name] for name in FEATURES}), whole["masks"]

    def close(self) -> None:
        self.session.close()


@dataclass(frozen=True)
class Editor:
    """A probe generator of the zoo and the rows of its conditions, by name."""

    card: Card
    session: Session
    rows: dict[str, Floats]

    @property
    def size(self) -> int:
        return self.card.input_shape("image")[-1]

    def edit(self, images: Floats, condition: str) -> Floats:
        """Pictures (P, 3, S, S) in [-1, 1] edited under one condition, same shape. Raises EngineError."""
        if condition not in self.rows:
            raise EngineError(
                f"generator {self.card.name!r} has no condition {condition!r}; it has {', '.join(self.rows)}"
            )
        row = np.repeat(self.rows[condition][None], len(images), 0)
        parts = [
            self.session.run({"image": images[i : i + BATCH], "condition": row[i : i + BATCH]})["edited"]
            for i in range(0, len(images), BATCH)
        ]
        edited = np.concatenate(parts)
        if edited.shape != images.shape or not np.isfinite(edited).all():
            raise EngineError(
                f"generator {self.card.name!r} gave the shape {edited.shape} for {images.shape}, or numbers that are "
                "not finite"
            )
        return edited

    def close(self) -> None:
        self.session.close()


def open_parser(name: str | None = None, backend: str = AUTO, threads: int = 1) -> Parser:
    """The parser by name or path; None is the zoo's default. Raises EngineError, UnknownNameError."""
    card = find_engine(name, "parser")
    session = open_session(card, backend, threads=threads)
    if session.inputs != ("image",) or not {"masks", *FEATURES} <= set(session.outputs):
        raise EngineError(
            f"engine {card.name!r} has the inputs {session.inputs} and outputs {session.outputs}; a parser takes "
            f"'image' and gives 'masks', {', '.join(map(repr, FEATURES))}"
        )
    return Parser(card, session)


def open_editor(name: str, backend: str = AUTO, threads: int = 1) -> Editor:
    """A generator by name or path. Raises EngineError, UnknownNameError."""
    card = find_engine(name, "generator")
    if card.conditions is None:
        raise EngineError(f"generator {card.name!r} has no [conditions] on its card; give it names and rows")
    rows = {
        name: np.array(row, np.float32) for name, row in zip(card.conditions.names, card.conditions.rows, strict=True)
    }
    return Editor(card, open_session(card, backend, threads=threads), rows)
