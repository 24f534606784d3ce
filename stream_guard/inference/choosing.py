"""Which engine of the zoo a stage runs where none is named: on a processor it may be another one than on a GPU."""

from __future__ import annotations

from pathlib import Path

from .backends import AUTO, BACKENDS, usable_backends
from .card import Card, Kind
from .zoo import find_engine, list_engines


def choose_engine(name: str | Path | None, kind: Kind, backend: str = AUTO, folder: Path | None = None) -> Card:
    """The card that `find_engine` finds for a name; without one the kind's default for what `backend` runs on.

    That is the one marked `default_on_processor`, where the zoo has one, unless a GPU is to run it: `auto` takes one
    where there is one, a backend for GPUs is taken at its word. Raises as find_engine.
    """
    if name is None and not _on_gpu(backend):
        for card in list_engines(folder):
            if card.kind == kind and card.default_on_processor:
                return card
    return find_engine(name, kind, folder)


def _on_gpu(name: str) -> bool:
    able = usable_backends() if name == AUTO else [backend for backend in BACKENDS if backend.name == name]
    return any(backend.on_gpu for backend in able)
