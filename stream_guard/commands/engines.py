"""`stream-guard engines list`: the networks that come with the package, and what can run them here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import emit, emit_json

if TYPE_CHECKING:
    from ..inference.backends import Backend
    from ..inference.card import Card
    from ..inference.measuring import Measured


def engines_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print their cards as JSON.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run each on every backend that works here: milliseconds, and the error.")
    ] = False,
) -> None:
    """List the engines with what their cards say, and the backends that can run them here."""
    from ..inference import BACKENDS, zoo
    from ..inference.measuring import measured

    cards = zoo.list_engines()
    results = {card.name: [measured(card, each) for each in BACKENDS] if measure else [] for card in cards}
    if as_json:
        emit_json({"engines": [_plain(card, results[card.name]) for card in cards], **_machine()})
        return
    for card in cards:
        _show(card)
        _show_measured(results[card.name])
        emit("")
    for backend in BACKENDS:
        emit(f"backend {backend.name}  ({', '.join(_marks(backend))})")
        emit(f"    {backend.description}")
        if backend.why_not():
            emit(f"      {backend.why_not()}")
    plans = _machine()["plans"]
    emit(f"\nplans: {plans['count']}, {plans['bytes'] / 1024**2:.1f} MiB, in {plans['folder']}")


def _show(card: Card) -> None:
    marks = [
        card.kind,
        *(["default"] if card.default else []),
        *(["default on a processor"] if card.default_on_processor else []),
        *(["evaluation only"] if card.evaluation_only else []),
    ]
    emit(f"{card.name}  ({', '.join(marks)})")
    emit(f"    {card.title}")
    for label, text in (
        ("licence", card.licence),
        ("paper", card.paper),
        ("data", card.data),
        ("notes", card.notes),
    ):
        if text:
            emit(f"      {label:<8} {text}")
    if card.epsilon is not None:
        emit(f"      {'epsilon':<8} {card.epsilon * 255:.3g}/255")
    emit(f"      {'file':<8} {card.model_path}{'' if card.model_path.is_file() else '  (missing)'}")


def _show_measured(results: list[Measured]) -> None:
    """Backends that can't be used here at all are not said again for every engine."""
    from ..inference import BACKENDS

    absent = {backend.name for backend in BACKENDS if backend.why_not()}
    for result in (each for each in results if each.backend not in absent):
        if result.milliseconds is not None and result.parity is not None:
            off = f"largest error {result.parity.max_abs:.1e}, cosine {result.parity.cosine:.6f}"
            emit(f"      {result.backend:<16} {result.milliseconds:9.3f} ms   {off}")
        elif result.why_not:
            emit(f"      {result.backend:<16} {result.why_not}")


def _marks(backend: Backend) -> list[str]:
    if backend.why_not():
        return ["not here"]
    left_out = backend.auto_lacks()
    return [backend.tolerance if backend.on_gpu and not left_out else "fp32", *(["by name only"] if left_out else [])]


def _plain(card: Card, results: list[Measured]) -> dict[str, Any]:
    from dataclasses import asdict

    from ..inference import BACKENDS

    shown = {result.backend: asdict(result) for result in results}
    return {
        **card.model_dump(mode="json"),
        "path": str(card.model_path),
        "present": card.model_path.is_file(),
        "backends": [
            {
                "name": backend.name,
                "usable": not backend.why_not(),
                "auto": not (backend.why_not() or backend.auto_lacks()),
                "why_not": backend.why_not() or backend.auto_lacks(),
                "precision": None if backend.why_not() else _marks(backend)[0],
                "measured": shown.get(backend.name),
            }
            for backend in BACKENDS
        ],
    }


def _machine() -> dict[str, Any]:
    """What is kept of compiled plans, and where."""
    from ..inference.plans import PlanCache

    cache = PlanCache()
    return {"plans": {"folder": str(cache.folder), "count": len(cache.headers()), "bytes": cache.size_bytes()}}
