"""The page of tables: the paper's figures beside ours, from the committed results alone. Used by docs/generate.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import chart
import paper
from tabular import table

from stream_guard.inference import find_engine

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "engines" / "evaluation" / "results"

Document = dict[str, Any]
Row = dict[str, Any]
Figures = dict[str, dict[str, Any]]
Cell = Callable[[Figures], str]

TITLES = {
    "table1": "Table 1: detectors on StarGAN's fakes, by condition",
    "table2": "Table 2: detectors on every generator's fakes",
    "table3": "Table 3: the multi-attentional detector",
    "table4": "Table 4: what detectors pass as real",
    "table5": "Table 5: transfer between detectors",
    "table6": "Table 6: transfer between generators",
    "table7": "Table 7: transfer between conditions",
    "table8": "Table 8: share of disrupted images and L2, by method",
    "table9": "Table 9: seconds an image",
    "transfer": "Generators it was never trained on",
    "adaptive": "An attacker who trained against it",
    "purified": "An attacker who purifies first",
    "robustness": "After codecs, resizing, cropping and blur",
    "identity": "The identity that survives",
    "flicker": "Flicker on real clips",
}
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
OURS, BOUND, NONE = "disrupter (ours", "bound: PGD through", "not protected"
INTRODUCTION = """# The paper's tables, and ours

{note}
Every figure here is **against our own surrogates**: the published generators' and detectors' weights cannot be had, so
we trained networks of the same architectures, most of them slim. The paper's figures were taken on its own networks and
data, in floats and before any encoder. They stand beside ours for orientation: the two are not one comparison.

Faces are photographs of the test split. Pictures are split by a hash of their names, for who is in them is not known:
of the 131 photographs at least three show somebody who is in a training picture too. `float` is what the papers
measure: the perturbation added in floats, never rounded. All other columns begin with the 8-bit 4:2:0 picture that
`stream-guard protect` would write: a short clip in which the face drifts, {width} pixels wide unless a row says
otherwise. A pair is disrupted when the mean squared error on [-1, 1] (L2) between G(what arrives) and G(the original)
is at least 0.05. In brackets stand 95 % intervals: Wilson's for shares, with faces as clusters; a bootstrap over faces
for means; for precision and F1 what follows from Jeffreys' for the two shares that they are made of. Precision, recall
and F1 count *real* as positive.
"""


def pages(note: str) -> dict[Path, str]:
    """The page, with a note of who wrote it, and the pictures of those results that are there."""
    documents = {name: load(name) for name in TITLES}
    pictures = {HERE / f"{name}.svg": text for name, text in charts(documents).items()}
    return {HERE / "tables.md": page(documents, note), **pictures}


def load(name: str) -> Document | None:
    """One committed result; None where it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def page(documents: dict[str, Document | None], note: str = "") -> str:
    """The whole page."""
    first = next((d for d in documents.values() if d), {})
    parts = [INTRODUCTION.format(note=note, width=first.get("face_px", 256)), *in_short(documents)]
    for name, title in TITLES.items():
        parts += [f"## {title}", *_paper(name), *_ours(name, documents.get(name))]
    return "\n".join(parts).rstrip() + "\n"


def in_short(documents: dict[str, Document | None]) -> list[str]:
    """The shares that matter most, and who was asked."""
    document = documents.get("table8")
    if document is None:
        return []
    rows = []
    for row in document["rows"]:
        labels = row["labels"]
        if (
            labels["method"].startswith(OURS)
            and labels["face_px"] == document["face_px"]
            and "first_faces" not in labels
        ):
            known = paper.DISRUPTED.get(labels["family"])
            rows.append(
                [labels["generator"], "-" if known is None else f"{known:.0%}"]
                + [_percent(row["columns"][c]["disrupted"]) if c in row["columns"] else "-" for c in _SHORT]
                + [_number(row["face_psnr_db"], ".1f", " dB"), _number(row["face_ssim"]["value"], ".3f")]
            )
    heading = ["disrupted pairs", "paper (float)", *(COLUMNS[c] for c in _SHORT), "face PSNR", "SSIM"]
    return [table(heading, rows), *_pictured(documents), "### Who was asked\n", _networks(documents)]


_SHORT = ("float", "h264_crf23", "h264_crf30", "jpeg75")


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


def _pictured(documents: dict[str, Document | None]) -> list[str]:
    return (
        ["![disrupted pairs by generator, delivery and method](tables-disruption.svg)\n"]
        if documents.get("table8")
        else []
    )


DETECTORS = """`detector5`, which ships, had 190 minutes of one core, 110 of them half as wide. The others had 20
(multi-attentional), 22 (Xception) and 24 (ResNet50), beside other work.
"""


def _networks(documents: dict[str, Document | None]) -> str:
    """Every generator and detector that any table used."""
    generators: dict[str, Any] = {}
    detectors: dict[str, Any] = {}
    for document in filter(None, documents.values()):
        generators |= {g["name"]: g for g in document["generators"]}
        detectors |= {d["name"]: d for d in document["detectors"]}
    rows = [
        [g["name"], g["family"], f"{g['parameters'] / 1e6:.2f} M", f"{g['size']} px", f"{g['steps']:,}",
         f"{g['training_minutes']:g}", "yes" if g["seen"] else "no"]
        for g in generators.values()
    ]  # fmt: skip
    heading = ["generator", "family", "parameters", "size", "steps", "minutes", "the disrupter trained against it"]
    text = table(heading, rows)
    if detectors:
        seen = [
            [d["name"], d["architecture"], f"{d['parameters'] / 1e6:.2f} M", f"{d['size']} px"]
            for d in detectors.values()
        ]
        text += "\n" + table(["detector", "architecture", "parameters", "size"], seen) + "\n" + DETECTORS
    return text


def _paper(name: str) -> list[str]:
    if name not in paper.PAPER:
        return []
    heading, rows = paper.PAPER[name]
    remark = paper.REMARKS.get(name)
    return ["The paper:\n", table(heading, rows), *([remark + "\n"] if remark else [])]


def _ours(name: str, document: Document | None) -> list[str]:
    if document is None:
        return [f"Ours: not run yet (`python -m engines evaluate {name}`).\n"]
    made = [_LAYOUTS[name](document) if document["rows"] else "Nothing could be measured.\n"]
    made += [_not_run(document)] if document["not_run"] else []
    made += [note + "\n" for note in dict.fromkeys(document["notes"]) if note]
    made += [paper.ALONE[name]] if name in paper.ALONE else []
    if name == "robustness" and document["rows"]:
        made.append("![disrupted pairs by what happens to the picture](tables-robustness.svg)\n")
    return ["Ours, against our own surrogates:\n", *made, _facts(document)]


def _facts(document: Document) -> str:
    return (
        f"{_of(document)}; seed {document['seed']}; {document['device']}; "
        f"{document['seconds']:.0f} s. `{document['command']}`{_earlier(document)}\n"
    )


def _of(document: Document) -> str:
    return document["data"] if "clips of the test" in document["data"] else f"{document['faces']} {document['data']}"


def _earlier(document: Document) -> str:
    """Says so where the disrupter that was measured is not the one that ships."""
    measured = document["disrupter"]["sha256"]
    ships = find_engine(None, "disrupter").sha256
    return "" if measured == ships else f" **With an earlier disrupter** ({measured[:8]}; {ships[:8]} ships)."


def _not_run(document: Document) -> str:
    """What the table lacks, each reason once."""
    reasons: dict[str, list[str]] = {}
    for skip in document["not_run"]:
        reasons.setdefault(skip["why"], []).append(", ".join(f"{k} {v}" for k, v in skip["labels"].items()))
    return "\n".join(["Not run:\n", *(f"- {'; '.join(what)}: {why}." for why, what in reasons.items())]) + "\n"


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
    return f"{_percent(figures['disrupted'])}, L2 {_mean(figures['l2'])}"


def _detection(figures: Figures) -> str:
    p, r = figures["precision"]["value"], figures["recall"]["value"]
    return f"{_short(p)} / {_short(r)} / {_mean(figures['f1'], 2)}"


def _f1(figures: Figures) -> str:
    return _mean(figures["f1"], 2)


def _passed(figures: Figures) -> str:
    return _percent(figures["passed_as_real"])


def _cosines(figures: Figures) -> str:
    return f"{_mean(figures['edits'], 2)}; {_mean(figures['inputs'], 2)}"


def _robustness(document: Document) -> str:
    """Turned: a row a channel, a column a generator and method."""
    rows = document["rows"]
    heading = ["", *(f"{r['labels']['generator']}: {r['labels']['method']}" for r in rows)]
    body = [[COLUMNS[c], *(_percent(r["columns"][c]["disrupted"]) for r in rows)] for c in rows[0]["columns"]]
    return table(heading, body)


def _flicker(document: Document) -> str:
    body = [
        [
            _word(row["labels"]["clip"]),
            str(row["labels"]["hold"]),
            _mean(row["columns"]["8bit"]["levels"], 2),
            _mean(row["columns"]["8bit"]["energy"], 2),
            _number(row.get("face_psnr_db"), ".1f", " dB"),
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
_LAYOUTS: dict[str, Callable[[Document], str]] = {
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


def _percent(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def _mean(figure: dict[str, Any], digits: int = 3) -> str:
    low, high = figure["ci95"]
    return f"{_short(figure['value'], digits)} ({_short(low, digits)} to {_short(high, digits)})"


def _short(value: float, digits: int = 2) -> str:
    """A number below 1 without its nought, as the paper prints it."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
