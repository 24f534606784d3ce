"""The page of tables: the paper's figures beside ours, from the committed results alone. Used by docs/generate.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paper
from evidence_charts import OURS, charts
from evidence_layouts import COLUMNS, LAYOUTS
from tabular import number, percent, table

from stream_guard.inference import find_engine

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "engines" / "evaluation" / "results"

Document = dict[str, Any]

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
and F1 count *real* as positive. Face PSNR is over red, green and blue, SSIM over luma alone: of the tint that P leaves
it tells next to nothing.
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
                + [percent(row["columns"][c]["disrupted"]) if c in row["columns"] else "-" for c in _SHORT]
                + [number(row["face_psnr_db"], ".1f", " dB"), number(row["face_ssim"]["value"], ".3f")]
            )
    heading = ["disrupted pairs", "paper (float)", *(COLUMNS[c] for c in _SHORT), "face PSNR", "SSIM"]
    return [table(heading, rows), *_pictured(documents), "### Who was asked\n", _networks(documents)]


_SHORT = ("float", "h264_crf23", "h264_crf30", "jpeg75")


def _pictured(documents: dict[str, Document | None]) -> list[str]:
    return (
        ["![disrupted pairs by generator, delivery and method](tables-disruption.svg)\n"]
        if documents.get("table8")
        else []
    )


DETECTORS = """`detector5` had 190 minutes of one core, 110 of them half as wide, and shipped when these tables were
measured. What ships today began as it and learned for 70 minutes more: [its figures](detectors.md). The others had 20
(multi-attentional), 22 (Xception) and 24 minutes (ResNet50), beside other work.
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
    made = [LAYOUTS[name](document) if document["rows"] else "Nothing could be measured.\n"]
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
