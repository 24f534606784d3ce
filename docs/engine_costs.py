"""What the zoo's networks take for a face: the last part of the page on stages. Used by docs/generate.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tabular import table

RESULTS = Path(__file__).resolve().parent.parent / "engines" / "evaluation" / "results"

WORDS = """## What a look takes

Milliseconds a face (median of {repeats} turns, all in one run in turns; {model}, {cpus} cores; `{command}`). `detect`
and `magdr` look at each face on every so many pictures (`every`), `disrupt` holds a perturbation for `hold`; so a
stream pays a part of it a picture. `stage detect` is a whole look with that network: {stage}.
The machine is shared, and took up to twice as long as when other tables were measured: compare within this one. The
last column: against the disrupter, on ONNX Runtime with one thread.
"""
COLUMNS = (("onnxruntime", 1, 1), ("onnxruntime", 2, 1), ("openvino", 1, 1), ("openvino", 2, 1), ("openvino", 2, 8))
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def section(document: dict[str, Any] | None = None) -> str:
    """Empty where nothing was measured."""
    path = RESULTS / "engines.json"
    if document is None and not path.is_file():
        return ""
    made = document or json.loads(path.read_text(encoding="utf-8"))
    found = _by_side(made)
    heading = ["network", "MB", *map(_title, COLUMNS), "against the disrupter"]
    rows = [_row(name, made["engines"], found) for name in dict.fromkeys(r["engine"] for r in made["rows"])]
    words = WORDS.format(
        repeats=made["repeats"],
        model=made["machine"]["cpu_model"],
        cpus=made["machine"]["cpus"],
        command=made["command"],
        stage=made["stage"].removeprefix("one look of `detect` at "),
    )
    return f"{words}\n{table(heading, rows)}\n"


def span(name: str, other: str, document: dict[str, Any] | None = None) -> str:
    """How `name` compares with `other`, over all that was timed: `52 to 68 %`."""
    found = _by_side(document or json.loads((RESULTS / "engines.json").read_text(encoding="utf-8")))
    sides = [(found[key], found[(other, *key[1:])]) for key in found if key[0] == name]
    shares = [100 * one["milliseconds_a_face"] / beside["milliseconds_a_face"] for one, beside in sides]
    return f"{min(shares):.0f} to {max(shares):.0f} %"


def _by_side(made: dict[str, Any]) -> dict[tuple[str, str, int, int], Any]:
    return {(r["engine"], r["backend"], r["threads"], r["faces_at_once"]): r for r in made["rows"]}


def _title(column: tuple[str, int, int]) -> str:
    backend, threads, batch = column
    words = f"{NAMES[backend]}, {threads} thread{'s' * (threads > 1)}"
    return words if batch == 1 else f"{words}, {batch} at once"


def _row(name: str, engines: dict[str, Any], found: dict[tuple[str, str, int, int], Any]) -> list[str]:
    size = f"{engines[name]['bytes'] / 1e6:.1f}" if name in engines else "-"
    cells = [found.get((name, *column)) for column in COLUMNS]
    one, other = (found.get((n, "onnxruntime", 1, 1)) for n in (name, "disrupter"))
    ratio = f"x{one['milliseconds_a_face'] / other['milliseconds_a_face']:.2f}" if one and other else "-"
    return [f"`{name}`" if name in engines else name, size, *map(_cell, cells), ratio]


def _cell(row: dict[str, Any] | None) -> str:
    return f"{row['milliseconds_a_face']:.1f}" if row else "-"
