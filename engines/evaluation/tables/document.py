"""The JSON of a table: the same few keys for all, checked before it is written and again by a test once committed."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass, field
from typing import Any

import torch

from ..figures import Figure
from ..machine import machine

Labels = dict[str, Any]
Columns = dict[str, dict[str, Figure]]

FACTS = ("table", "title", "command", "seed", "device", "data", "faces", "criterion", "seconds", "machine")
LISTS = ("generators", "detectors", "rows", "not_run", "notes")


@dataclass
class Rows:
    """What a table measured: a row is labels and columns of figures. What was not run is said, never invented."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    not_run: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, labels: Labels, columns: Columns, **more: Any) -> None:
        self.rows.append({"labels": labels, "columns": columns, **more})

    def skip(self, why: str, **labels: Any) -> None:
        self.not_run.append({"labels": labels, "why": why})


def device_words(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"CPU, {platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)"


def document(facts: dict[str, Any], rows: Rows) -> dict[str, Any]:
    """The whole document, checked."""
    made = {**facts, "machine": machine(), "rows": rows.rows, "not_run": rows.not_run, "notes": rows.notes}
    if mistakes := problems(made):
        raise ValueError("; ".join(mistakes))
    return made


def problems(made: dict[str, Any]) -> list[str]:
    """What is wrong with a table's document; empty when it is sound."""
    found = [f"no {key}" for key in FACTS if key not in made]
    found += [f"{key} is no list" for key in LISTS if not isinstance(made.get(key), list)]
    for k, row in enumerate(made.get("rows", [])):
        if not row.get("labels") or not row.get("columns"):
            found.append(f"row {k} has no labels or no columns")
        for column, figures in row.get("columns", {}).items():
            found += [f"row {k}, {column}, {name}: {why}" for name, f in figures.items() if (why := _mistake(f))]
    found += [f"not_run {k} says no reason" for k, row in enumerate(made.get("not_run", [])) if not row.get("why")]
    return found


def _mistake(figure: Figure) -> str:
    if set(figure) != {"value", "n", "ci95"}:
        return f"has the keys {sorted(figure)}"
    low, high = figure["ci95"]
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (figure["value"], low, high)):
        return "is not finite"
    if figure["n"] < 1:
        return "n is below 1"
    return "" if low <= high else f"has the interval {figure['ci95']}"
