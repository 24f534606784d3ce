"""The generators that an audit asks: face editors from the zoo, run as an attacker would, on the face's crop.

They are surrogates, networks of a published architecture that this project trained itself, unless their card says that
the weights are others' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import EngineError
from ..inference import AUTO, Card, Session, find_engine, list_engines, open_session
from .pictures import from_rgb
from .quality import Rgb

TARGET_SHARE = 0.8
"""The share of disrupted pairs aimed at, where the card names none."""
BATCH = 16


@dataclass(frozen=True)
class Probe:
    """A loaded generator with the conditions (edits) that its card names.

    `rows` is (C, K): one condition of length K for each of the C names. `size` is the side of its input in pixels.
    """

    name: str
    title: str
    session: Session
    conditions: tuple[str, ...]
    rows: npt.NDArray[np.float32]
    size: int = 128
    target: float = TARGET_SHARE
    surrogate: bool = True

    @property
    def heading(self) -> str:
        """The title, which says where the network is a surrogate."""
        return self.title if not self.surrogate or "surrogate" in self.title else f"{self.title} (surrogate)"

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or len(self.rows) != len(self.conditions) or not self.conditions:
            raise EngineError(
                f"the card of generator {self.name!r} names {len(self.conditions)} conditions for rows of shape "
                f"{self.rows.shape}; give each condition one row in [conditions]"
            )

    def edit(self, faces: Sequence[Rgb]) -> npt.NDArray[np.float32]:
        """Every condition on every face: F pictures (S, S, 3) in 8 bits to (F, C, 3, S, S) in [-1, 1]."""
        images = np.stack([from_rgb(face) for face in faces])
        count = len(self.conditions)
        repeated = np.repeat(images, count, axis=0)
        rows = np.tile(self.rows, (len(faces), 1))
        parts = [self._run(repeated[i : i + BATCH], rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
        return np.concatenate(parts).reshape(len(faces), count, *images.shape[1:])

    def _run(self, images: npt.NDArray[np.float32], rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        edited = self.session.run({"image": images, "condition": rows})["edited"]
        if edited.shape != images.shape:
            raise EngineError(f"generator {self.name!r} gave shape {edited.shape} for images of shape {images.shape}")
        if not np.isfinite(edited).all():
            raise EngineError(f"generator {self.name!r} gave numbers that are not finite; its figures would be void")
        return edited

    def close(self) -> None:
        self.session.close()


def load_probes(names: Sequence[str] | None = None, backend: str = AUTO) -> list[Probe]:
    """The generators by name or path; None loads every one in the zoo.

    Raises UnknownNameError for a name that the zoo lacks, and EngineError for an engine that is no generator or does
    not load.
    """
    if names is None:
        cards = [card for card in list_engines() if card.kind == "generator"]
    else:
        cards = [find_engine(name, "generator") for name in names]
    probes: list[Probe] = []
    try:
        for card in cards:
            probes.append(_load(card, backend))
    except BaseException:
        for probe in probes:
            probe.close()
        raise
    return probes


def _load(card: Card, backend: str) -> Probe:
    if card.conditions is None:
        raise EngineError(f"generator {card.name!r} has no [conditions] on its card; give it names and rows")
    return Probe(
        card.name,
        card.title,
        open_session(card, backend),
        card.conditions.names,
        np.array(card.conditions.rows, dtype=np.float32),
        size=card.input_shape("image")[-1],
        target=float(card.results.get("target", TARGET_SHARE)),
        surrogate=card.surrogate,
    )
