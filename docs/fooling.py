"""The page of detectors: the default detector's figures, and fooling detectors' tables. Used by docs/generate.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fooling_default
import fooling_paper as paper
import fooling_prior
from tabular import share, table

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "engines" / "evaluation" / "results"

Row = dict[str, Any]

INTRODUCTION = """# Detectors

{note}
The `detect` stage says of every face whether it is real or a deepfake ([stages](stages.md)). What its default detector
is worth stands first; then what becomes of detectors under attack, after *Adversarial Perturbations Fool Deepfake
Detectors* (Gandhi and Jain, IJCNN 2020). All fakes but the deepfake videos are **our own surrogates'**: figures say
little of other generators. In brackets: 95 % intervals (Wilson's, by person).
"""

TRAINED = """Differences from the paper in training: every person is learnt from with the edits of three generators,
weights are averaged, and ResNets without a lambda are twice as wide as those with one, which saw 4 epochs only, for a
step of eq. 7 costs several (but for the one that learned from H.264 and JPEG, which is as slim). Every network's
threshold is where the val split is told best, moved into its last bias, so that all attacks below meet
it there. The best epoch, the thresholds and kappa of `near` were chosen on the val split; nothing on the test split.
"""

ADVERSARIAL = (
    "Adversarial training is one-sided, as the paper's adversary is: he perturbs fakes only. Fakes are attacked by PGD "
    "of two steps whose reach grows to the paper's epsilon; of the reals a third carry random noise of that size, so "
    "that noise does not come to mean fake. (Attacking reals as well left 36 % of the fakes called fake under "
    "white-box FGSM, at 71 % accuracy.) "
)

CARLINI = """Without a bound on the distance Carlini-Wagner always ends at 0 %: what counts is how far it had to go.
The paper's kappa of 200 is a margin that most of these slim networks never give: where it is not reached we keep the
picture with the greatest margin, visibly destroyed, but the code that the paper used returns the unchanged fake, which
then counts as called fake. So the column that counts as it does shows **no robustness**, but whose logits are small.
`near` (a small kappa) goes no further than it must; `held` is the share of fakes that are still called fake or
had to be changed by more than FGSM may (a root mean square of .02, 34 dB).
"""

SECOND_OPINION = """## A second opinion

`python -m engines purify VIDEO` is for the tracks that `detect` leaves `unknown` or that MagDR flags (`--tracks`). The
zoo's detector is asked about some crops of each face; then Deep Image Prior is fitted to them, and a network of its own
(`detector-purified` in the zoo), which learned from what the prior draws of stills and of talking heads, is asked while
the perturbation is not drawn yet. What the first calls a fake stays one; else p_real behind the prior says: above .5
real, up to .25 fake, between them unknown. Detectors that never saw such soft pictures call half of the reals fake
there, which is why the second is another one. `--paper` does it as the paper does: image by image, 512 px, iteration
6,000, half an hour a crop on a processor. It needs torch, so it is a command and no stage: the runtime never
imports torch.
"""


VIDEOS = """On videos of people that neither of the two learned from; a face is a track of the video, with three crops:
"""


def pages(note: str) -> dict[Path, str]:
    fooled = _load("fooling_detectors")
    pictures = {fooling_prior.FIGURE6: fooling_prior.figure6(fooled)} if fooled and fooled.get("figure6") else {}
    text = page(_load("detectors"), fooled, note, _load("detectors_int8"))
    return {HERE / "detectors.md": text, **pictures}


def page(detectors: Row | None, fooled: Row | None, note: str = "", int8: Row | None = None) -> str:
    parts = [INTRODUCTION.format(note=note), *fooling_default.section(detectors, int8)]
    if fooled is None:
        parts.append("## Under attack\n\nNot run yet: `python -m engines evaluate detection`.\n")
    else:
        parts += [
            *_setting(fooled),
            *_table1(fooled),
            *_table2(fooled),
            *_library(fooled),
            *_suite(fooled),
            *fooling_prior.section(fooled),
        ]
    return "\n".join([*parts, SECOND_OPINION, *_whole_videos(_load("second_opinion"))]).rstrip() + "\n"


def _whole_videos(document: Row | None) -> list[str]:
    """What the second opinion says of the faces of whole videos."""
    if document is None:
        return []
    heading = ["videos", "faces (too small, unknown)", "real", "unknown", "fake", "real by the first alone"]
    rows = [
        [
            f"{row['videos']} {'real' if row['real'] else 'deepfakes'}",
            f"{row['faces']} ({row['too_small']})",
            *(str(row["verdicts"].get(verdict, 0)) for verdict in ("real", "unknown", "fake")),
            str(row["real_before"]),
        ]
        for row in document["together"]
        if row["videos"]
    ]
    return [VIDEOS, table(heading, rows), f"`{document['command']}`, {document['seconds']:.0f} s.\n"]


def _load(name: str) -> Row | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _setting(document: Row) -> list[str]:
    people, effort = document["people"], document["effort"]
    made_by = ", ".join(f"{name} ({facts['steps']} steps)" for name, facts in document["fakes_by"].items())
    lines = [
        "## Under attack\n",
        f"Slim networks at {document['size']} px, on {people['train']} reals and up to three fakes of each to learn, "
        f"{people['val']} to choose the epoch, {people['test']} to test (the paper: 3,750 and 1,250 a class at full "
        f"width; its best epoch was chosen on the test set). Fakes of {made_by}. Adversarial pictures are kept as "
        "8 bits, and delivered: as a head 192 px wide in JPEG 75 or H.264 crf 23. "
        f"Carlini-Wagner on {effort['faces']} fakes, c from 100 to 10,000, {effort['search_steps']} steps of "
        f"{effort['iterations']} iterations, kappa {effort['confidence']:g} (the paper: 5 of 1000, 200), and `near`: "
        f"kappa {effort['near']:g}, {effort['near_iterations']} iterations.\n",
        TRAINED,
        *(f"`{command}`\n" for command in document["commands"]),
    ]
    lines += [f"{note}\n" for note in document.get("notes", [])]
    if document.get("not_run"):
        lines.append(f"Not run: {', '.join(document['not_run'])}.\n")
    return [*lines, *([words] if (words := _adversarial(document)) else [])]


def _table1(document: Row) -> list[str]:
    heading = [
        "network",
        "accuracy",
        "AUROC",
        "fake precision",
        "recall",
        "real precision",
        "recall",
        "paper (as printed)",
    ]
    rows = [
        [
            row["title"],
            share(row["accuracy"]),
            f"{row['auroc']:.3f}",
            *(f"{row[f'{what}_{kind}']:.1%}" for kind in ("fake", "real") for what in ("precision", "recall")),
            paper.TABLE1.get(row["network"], "-").replace("|", "/"),
        ]
        for row in document["table1"]
    ]
    words = "The paper's row as printed, in this order; its columns do not agree with its Table II throughout.\n"
    return ["### Table I: unperturbed pictures\n", words, table(heading, rows)]


def _table2(document: Row) -> list[str]:
    if not document.get("table2"):
        return []
    heading = ["network", "delivery", "unperturbed", "FGSM black box", "white box", "C&W black box", "white box"]
    rows = []
    for row in document["table2"]:
        if row["network"] in paper.TABLE2:
            known = [f"{value:g} %" for value in paper.TABLE2[row["network"]]]
            rows.append([row["title"], "paper, floats", *known])
        for way in row["unperturbed"]:
            cells = [share(row[column][way]) if column in row else "-" for column in paper.COLUMNS2]
            rows.append([row["title"], way, *cells])
    return ["### Table II: fakes still called fake\n", table(heading, rows), *_distances(document)]


def _distances(document: Row) -> list[str]:
    heading = ["white box on", "attack", "pictures", "kappa reached", "still called fake", "as the paper's code counts"]
    heading += ["held", "mean L2 on [0, 1]", "PSNR"]
    rows = [
        [row["title"], attack, *_distance(row, attack)]
        for row in document["table2"]
        for attack in ("fgsm", "cw", "near")
        if f"{attack}_facts" in row
    ]
    return [CARLINI, table(heading, rows)]


def _distance(row: Row, attack: str) -> list[str]:
    facts, counted = row[f"{attack}_facts"], row.get(f"{attack}_whitebox_papers_code")
    return [
        str(facts["count"]),
        "-" if attack == "fgsm" else f"{facts['reached']:.0%}",
        f"{row[f'{attack}_whitebox']['8 bits']['value']:.1%}",
        f"{counted['8 bits']['value']:.1%}" if counted else "-",
        "-" if attack == "cw" else f"{facts['held_close']:.1%}",
        f"{facts['l2_mean']:.2f}",
        f"{facts['psnr_db']:.1f} dB",
    ]


def _adversarial(document: Row) -> str:
    """What adversarial training kept and cost, where that network was attacked."""
    name, tables = "adversarial", [document.get(key, []) for key in ("table1", "table2", "suite", "trade")]
    if not all(any(row.get("network") == name for row in table) for table in tables):
        return ""
    ours, theirs = zip(*(_of(table, name) for table in tables[:3]), strict=True)
    fgsm = [row["fgsm_whitebox"]["8 bits"]["value"] for row in (ours[1], *theirs[1])]
    worst = [row["worst"]["value"] for row in (ours[2], *theirs[2])]
    recall = _of(tables[3], name)[0]["real_recall_at"]
    traded = ", ".join(f"{float(kept):.0%} with {passed:.0%}" for kept, passed in recall.items())
    return (
        f"{ADVERSARIAL}It calls {fgsm[0]:.0%} of the fakes fake under white-box FGSM, where the best "
        f"of those that learned from no attack keeps {max(fgsm[1:]):.0%}, and {worst[0]:.0%} under the worst of the "
        "suite below, where they keep "
        f"{max(worst[1:]):.0%}. What it costs: {ours[0]['recall_real']:.0%} of the reals pass, and its accuracy on "
        f"unperturbed pictures is {ours[0]['accuracy']['value']:.0%}. Another threshold would trade fakes kept under "
        f"FGSM for reals that pass: {traded}.\n"
    )


def _of(table: list[Row], name: str) -> tuple[Row, list[Row]]:
    """The network's row, and those of the networks that learned from no attack."""
    return next(row for row in table if row["network"] == name), [
        row for row in table if row["network"] not in ("adversarial", "prior", "drawn", "filmed")
    ]


def _library(document: Row) -> list[str]:
    if not document.get("library"):
        return []
    rows = [
        [
            row["attack"],
            str(row["count"]),
            *(_ours_theirs(row, key) for key in ("success", "l2_mean", "cpu_seconds")),
            f"{row['times_as_fast']:g}",
        ]
        for row in document["library"]
    ]
    heading = [
        "attack",
        "pictures",
        "success, ours / theirs",
        "mean L2",
        "CPU seconds",
        "ours is so many times as fast",
    ]
    version = document["library"][0]["foolbox"]
    return [f"### Beside foolbox {version}, on the plain ResNet\n", table(heading, rows)]


def _ours_theirs(row: Row, key: str) -> str:
    return f"{row['ours'][key]:g} / {row['theirs'][key]:g}"


def _suite(document: Row) -> list[str]:
    if not document.get("suite"):
        return []
    names = {"apgd_ce": "Auto-PGD, cross entropy", "apgd_margin": "Auto-PGD, margin", "square": "Square (no gradients)"}
    heading = ["network", "clean", *names.values(), "worst of them", "checks for masked gradients"]
    rows = []
    for row in document["suite"]:
        failed = [name.replace("_", " ") for name, good in row["checks"].items() if good is False]
        failed += ["zero gradients"] if row["checks"]["share_of_zero_gradients"] > 0.1 else []
        said = f"not passed: {', '.join(failed)}" if failed else "passed"
        rows.append([row["title"], *(share(row[k]) for k in ("clean", *names, "worst")), said])
    count = document["suite"][0]["clean"]["count"]
    return [f"### The worst of several attacks, epsilon .02, {count} fakes\n", table(heading, rows)]
