"""The pictures of the page of tables. Used by docs/evidence.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import chart
from evidence_layouts import COLUMNS

Document = dict[str, Any]


OURS, BOUND, NONE = "disrupter (ours", "bound: PGD through", "not protected"


def charts(documents: dict[str, Document | None]) -> dict[str, str]:
    """The pictures by name."""
    made = {}
    if document := documents.get("table8"):
        made["tables-disruption"] = _by_method(document)
    if document := documents.get("robustness"):
        made["tables-robustness"] = _by_channel(document)
    return made


def _by_method(document: Document) -> str:
    """A group for each generator and column: ours, the bound, PGD, the control."""
    wanted = {
        "disrupter": OURS,
        "bound (few faces)": BOUND,
        "PGD-10": "PGD-10 on this generator",
        "no protection": NONE,
    }
    groups = []
    for generator in _unique(r["labels"]["generator"] for r in document["rows"]):
        for column in ("float", "h264_crf23", "h264_crf30"):
            found = [_find(document, generator, start, column) for start in wanted.values()]
            groups.append((f"{generator}, {COLUMNS[column]}", found))
    title = f"Disrupted pairs, face {document['face_px']} px wide, by our own surrogates"
    return chart.bars(title, list(wanted), groups)


def _find(document: Document, generator: str, start: str, column: str) -> chart.Bar | None:
    for row in document["rows"]:
        labels = row["labels"]
        main = "first_faces" not in labels or start == BOUND
        here = labels["generator"] == generator and labels["face_px"] == document["face_px"]
        if here and main and labels["method"].startswith(start) and column in row["columns"]:
            return _as_bar(row["columns"][column]["disrupted"])
    return None


def _by_channel(document: Document) -> str:
    rows = [r for r in document["rows"] if r["labels"]["method"].startswith(OURS)]
    series = [row["labels"]["generator"] for row in rows]
    groups: list[tuple[str, list[chart.Bar | None]]] = [
        (COLUMNS[c], [_as_bar(row["columns"][c]["disrupted"]) for row in rows]) for c in rows[0]["columns"]
    ]
    return chart.bars(f"Disrupted pairs by what happens to the picture, face {document['face_px']} px", series, groups)


def _as_bar(figure: dict[str, Any]) -> chart.Bar:
    return chart.Bar(figure["value"], *figure["ci95"])


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
