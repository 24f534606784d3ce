"""`stream-guard stages`: what a pipeline can be made of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import UsageError
from .console import emit, emit_json, warn


def stages(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the stages that a pipeline can be made of, with their options."""
    from ..stages.registry import describe, discover

    registry = discover()
    described, problems = [], list(registry.problems)
    for entry in registry.entries.values():
        try:
            described.append({**describe(entry.load()), "origin": entry.origin})
        except UsageError as exc:  # one broken plugin must not hide the others
            problems.append(str(exc))
    if as_json:
        emit_json({"stages": described, "problems": problems})
    else:
        for stage in described:
            _print(stage)
    for problem in problems:
        warn(problem)


def _print(stage: dict[str, Any]) -> None:
    emit(f"{stage['name']}  (from {stage['origin']})")
    emit(f"    {stage['description']}")
    width = max((len(name) for name in stage["options"]), default=0)
    for name, option in stage["options"].items():
        default = "required" if option["required"] else f"default {option['default']}"
        emit(f"      {name:<{width}}  {option['description']} ({option['type']}; {default})")
    emit("")
