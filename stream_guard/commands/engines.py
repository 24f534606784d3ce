"""`stream-guard engines list`: the networks that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import emit, emit_json

if TYPE_CHECKING:
    from ..inference.card import Card


def engines_list(
    as_json: Annotated[bool, typer.Option("--json", help="Print their cards as JSON.")] = False,
) -> None:
    """List the engines with what their cards say."""
    from ..inference.zoo import list_engines

    cards = list_engines()
    if as_json:
        emit_json({"engines": [_plain(card) for card in cards]})
        return
    for card in cards:
        marks = [
            card.kind,
            *(["default"] if card.default else []),
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
        emit("")


def _plain(card: Card) -> dict[str, Any]:
    return {**card.model_dump(mode="json"), "path": str(card.model_path), "present": card.model_path.is_file()}
