"""How fast a backend runs an engine here, and how far it lies from ONNX Runtime in float32."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter

from ..errors import EngineError
from .backends import Backend
from .card import Card
from .feeds import Shape
from .precision import Parity, input_shapes, parity, probe
from .reshaping import with_input_shapes

WARM_UPS = 2
RUNS, FEWEST = 30, 3
MOST_SECONDS = 1.0
DETECTOR_SHAPE: Shape = (1, 3, 288, 480)
"""A 16:9 picture as the `faces` stage sees it by default."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine on one backend at batch 1: the median time of a run, and the error on the fixed random input."""

    backend: str
    milliseconds: float | None = None
    parity: Parity | None = None
    why_not: str = ""


def model_of(card: Card) -> bytes:
    """The engine's model; a face detector's with the one size at which it is measured."""
    model = card.read_model()
    if card.kind == "faces":
        return with_input_shapes(model, dict.fromkeys(input_shapes(model), DETECTOR_SHAPE))
    return model


def measured(card: Card, backend: Backend) -> Measured:
    """Never raises EngineError: what went wrong is said in `why_not`. Nothing is built for it."""
    try:
        model = model_of(card)
        why = backend.why_not() or _no_plan(backend, model)
        if why:
            return Measured(backend.name, why_not=why)
        session = backend.load()(model, 1)
    except (EngineError, ImportError, OSError) as error:
        return Measured(backend.name, why_not=str(error))
    try:
        feeds = probe(input_shapes(model))
        for _ in range(WARM_UPS):
            session.run(feeds)
        times: list[float] = []
        while len(times) < RUNS and (len(times) < FEWEST or sum(times) < MOST_SECONDS):
            started = perf_counter()
            session.run(feeds)
            times.append(perf_counter() - started)
        return Measured(backend.name, round(1000 * median(times), 4), parity(session, model))
    except EngineError as error:
        return Measured(backend.name, why_not=str(error))
    finally:
        session.close()


def _no_plan(backend: Backend, model: bytes) -> str:
    if backend.name != "tensorrt":
        return ""
    from .tensorrt_session import ready_plan

    return "" if ready_plan(model) is not None else "no plan is built yet: run `engines build`"
