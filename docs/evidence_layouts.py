"""How each table of the page is laid out. Used by docs/evidence.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tabular import mean, number, percent, short, table

Document = dict[str, Any]
Row = dict[str, Any]
Figures = dict[str, dict[str, Any]]
Cell = Callable[[Figures], str]


COLUMNS = {
    "float": "float, no encoder",
    "8bit": "8 bits",
    "h264_crf23": "H.264 crf 23",
    "h264_crf30": "H.264 crf 30",
    "h264_crf40": "H.264 crf 40",
    "h265_crf23": "H.265 crf 23",
    "h265_crf30": "H.265 crf 30",
    "h265_crf40": "H.265 crf 40",
    "vp9_crf33": "VP9 crf 33",
    "jpeg75": "JPEG 75",
    "jpeg40": "JPEG 40",
    "resize0.71": "resized to 0.71 and back",
    "resize0.5": "resized to 0.5 and back",
    "crop0.71": "crop of 0.71 of the side",
    "blur1": "blur, sigma 1 px",
    "blur2": "blur, sigma 2 px",
    "h264_crf30_resize0.5": "H.264 crf 30, then 0.5 and back",
    "h264_crf30_jpeg40": "H.264 crf 30, then JPEG 40",
    "h265_crf30_crop0.71": "H.265 crf 30, crop of 0.71",
    "h264_crf23_blur2": "H.264 crf 23, then blur 2 px",
    "time": "seconds",
}


def _grid(document: Document, labels: dict[str, str], cell: Cell, psnr: bool = False) -> str:
    """A row a row: its labels under the given headings, then a cell for each column."""
    columns = list(document["rows"][0]["columns"])
    rows = [
        [_word(row["labels"].get(key)) for key in labels]
        + ([_quality(row)] if psnr else [])
        + [cell(row["columns"][c]) for c in columns]
        for row in document["rows"]
    ]
    heading = [*labels.values(), *(["face PSNR, SSIM"] if psnr else []), *(COLUMNS[c] for c in columns)]
    return table(heading, rows)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value).replace("_", " ")


def _quality(row: Row) -> str:
    if row.get("face_psnr_db") is None:
        return "-"
    return f"{row['face_psnr_db']:.1f} dB, {row['face_ssim']['value']:.3f}"


def _disruption(figures: Figures) -> str:
    return f"{percent(figures['disrupted'])}, L2 {mean(figures['l2'])}"


def _detection(figures: Figures) -> str:
    p, r = figures["precision"]["value"], figures["recall"]["value"]
    return f"{short(p)} / {short(r)} / {mean(figures['f1'], 2)}"


def _f1(figures: Figures) -> str:
    return mean(figures["f1"], 2)


def _passed(figures: Figures) -> str:
    return percent(figures["passed_as_real"])


def _cosines(figures: Figures) -> str:
    return f"{mean(figures['edits'], 2)}; {mean(figures['inputs'], 2)}"


def _robustness(document: Document) -> str:
    """Turned: a row a channel, a column a generator and method."""
    rows = document["rows"]
    heading = ["", *(f"{r['labels']['generator']}: {r['labels']['method']}" for r in rows)]
    body = [[COLUMNS[c], *(percent(r["columns"][c]["disrupted"]) for r in rows)] for c in rows[0]["columns"]]
    return table(heading, body)


def _flicker(document: Document) -> str:
    body = [
        [
            _word(row["labels"]["clip"]),
            str(row["labels"]["hold"]),
            mean(row["columns"]["8bit"]["levels"], 2),
            mean(row["columns"]["8bit"]["energy"], 2),
            number(row.get("face_psnr_db"), ".1f", " dB"),
        ]
        for row in document["rows"]
    ]
    heading = ["clip", "hold (pictures)", "levels of 255", "energy over the original's", "face PSNR"]
    return table(heading, body) + (
        "\nLevels: mean |d_t - warp(d_t-1)|, d being protected minus original. Energy: that of the motion-compensated "
        "temporal difference, protected over original; 1 adds no flicker.\n"
    )


def _speed(document: Document) -> str:
    rows = []
    for row in document["rows"]:
        figure = row["columns"]["time"]["seconds"]
        low, high = figure["ci95"]
        rows.append([row["labels"]["method"], f"{figure['value']:.4f} s ({low:.4f} to {high:.4f})", str(figure["n"])])
    return table(["method", "seconds an image", "images"], rows)


_WHERE = {"generator": "generator"}
_READ = {**_WHERE, "detector": "detector"}
LAYOUTS: dict[str, Callable[[Document], str]] = {
    "table1": lambda d: _prf(d, {**_READ, "condition": "condition", "fakes": "fakes"}),
    "table2": lambda d: _prf(d, {**_READ, "fakes": "fakes"}),
    "table3": lambda d: _prf(d, {**_READ, "fakes": "fakes"}),
    "table4": lambda d: _grid(d, {**_READ, "input": "passed as real"}, _passed),
    "table5": lambda d: _titled(
        "F1", _grid(d, {**_WHERE, "trained_with": "trained with", "detector": "tested by"}, _f1)
    ),
    "table6": lambda d: _grid(d, {"trained_on": "trained on", "generator": "tested on"}, _disruption, psnr=True),
    "table7": lambda d: _titled("F1", _grid(d, {**_READ, "trained_on": "trained on", "condition": "tested on"}, _f1)),
    "table8": lambda d: _grid(
        d,
        {**_WHERE, "method": "method", "face_px": "face, px", "first_faces": "first faces only"},
        _disruption,
        psnr=True,
    ),
    "table9": _speed,
    "transfer": lambda d: _grid(d, {**_WHERE, "seen": "trained against", "method": "method"}, _disruption, psnr=True),
    "adaptive": lambda d: _grid(
        d, {"generator": "generator", "protected_in_training": "protected in training", "method": "method"}, _disruption
    ),
    "purified": lambda d: _grid(
        d, {"generator": "generator", "method": "method", "first_faces": "first faces only"}, _disruption, psnr=True
    ),
    "robustness": _robustness,
    "identity": lambda d: _titled(
        "Cosine between the edits G(x) and G(x + d); between the inputs x and x + d",
        _grid(d, {**_WHERE, "method": "method"}, _cosines),
    ),
    "flicker": _flicker,
}


def _prf(document: Document, labels: dict[str, str]) -> str:
    return _titled("Precision / recall / F1", _grid(document, labels, _detection))


def _titled(title: str, table: str) -> str:
    return f"{title}:\n\n{table}"
