"""The page of detectors: the default detector's figures, and fooling detectors' tables. Used by docs/generate.py."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import curves
import fooling_paper as paper

from stream_guard.inference import find_engine
from stream_guard.stages.classifier import CROP

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "engines" / "evaluation" / "results"
FIGURE6 = HERE / "figure6.svg"

Row = dict[str, Any]

INTRODUCTION = """# Detectors

{note}
The `detect` stage says of every face whether it is real or a deepfake ([stages](stages.md)). What its default detector
is worth stands first; then what becomes of detectors under attack, after *Adversarial Perturbations Fool Deepfake
Detectors* (Gandhi and Jain, IJCNN 2020). All fakes but the deepfake videos are **our own surrogates'**: figures say
little of other generators. In brackets: 95 % intervals (Wilson's, by person).
"""

NOT_SHIPPED = """**No detector is in the zoo**: `detect` needs `engine:`, or `require_engine: false`, with which every
verdict is `unknown`. `python -m engines export resnet18 --from RUN --as detector` makes a detector the default.
"""

WEAK = """What to expect of it: it was taught the surrogates' edits, and tells those apart on people it never saw, also
after re-encoding and from surrogates it never saw. Of real face swaps it has seen one pair, and passes most of the
rest. Softness is its weak side. A face that has to be enlarged for it looks soft, and real ones are then often called
fake (the table of real videos): the stage says `unknown`, with the reason `too_small`, of faces under 98 pixels. Blur
and low bit rates do the same to larger ones, which is why a person should look at such content before it is turned
away.
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

PRIOR = """The paper's categories, all of people whose unperturbed pictures the classifier gets right, with
Carlini-Wagner's `near` pictures; those of kappa 200, which are destroyed, stand beside (*), not in Table III. White box
means as in the paper that the attacker knows the classifier and not that Deep Image Prior stands before it. p_real .5
is where val people's pictures are told best, drawn by the prior: real, fake and attacked. (The paper's own pair, the
network that learned from blurred pictures, reached 76 % and an AUROC of .785 in an earlier run on earlier networks.)

Beside the paper's defence, the classifier asked again behind the prior, stands a second opinion (`ResNet, then ...`):
the plain ResNet is asked first, and it is the one that attackers know; another network is asked behind the prior; what
either calls fake is fake. `both known` (*) are attacks on the two together, by one who still knows of no prior.
"""

SECOND_OPINION = """## A second opinion

`python -m engines purify VIDEO --detector RUN` fits Deep Image Prior to some crops of each face and asks the detector
again while the perturbation is not drawn yet. It needs torch, so it is a command and no stage: the runtime never
imports torch. It is meant for the tracks that `detect` leaves `unknown` (`--tracks`).
"""


def pages(note: str) -> dict[Path, str]:
    fooled = _load("fooling_detectors")
    pictures = {FIGURE6: figure6(fooled)} if fooled and fooled.get("figure6") else {}
    return {HERE / "detectors.md": page(_load("detectors"), fooled, note), **pictures}


def page(detectors: Row | None, fooled: Row | None, note: str = "") -> str:
    parts = [INTRODUCTION.format(note=note), *_default(detectors)]
    if fooled is None:
        parts.append("## Under attack\n\nNot run yet: `python -m engines evaluate detection`.\n")
    else:
        parts += [
            *_setting(fooled),
            *_table1(fooled),
            *_table2(fooled),
            *_library(fooled),
            *_suite(fooled),
            *_prior(fooled),
        ]
    return "\n".join([*parts, SECOND_OPINION]).rstrip() + "\n"


def _load(name: str) -> Row | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _default(document: Row | None) -> list[str]:
    parts = ["## The default detector\n"]
    if document is None or not document["rows"]:
        return [*parts, "Not measured yet: `python -m engines evaluate detectors`.\n", NOT_SHIPPED]
    row = document["rows"][0]
    parts.append(
        f"{row['network']}, {row['parameters'] / 1e6:.2f} M parameters, {row['settings']['size']} px, {row['steps']} "
        f"steps, {row['minutes']:g} minutes on a shared CPU. `{document['command']}`\n"
    )
    if not (HERE.parent / "engines" / "zoo" / "detector").is_dir():
        parts.append(NOT_SHIPPED)
    parts.append(WEAK)
    heading = ["fakes of", "seen in training", "delivery", "accuracy", "AUROC", "fakes passed", "calibration error"]
    rows = [
        [
            fakes["generator"],
            "yes" if fakes["seen"] else "no",
            way,
            f"{found['accuracy']:.1%} ({found['accuracy_ci95'][0]:.1%} to {found['accuracy_ci95'][1]:.1%})",
            f"{found['auroc']:.3f}",
            f"{found['fakes_passed']:.1%}",
            f"{found['calibration_error']:.3f}",
        ]
        for fakes in row["fakes"]
        for way, found in fakes["by_delivery"].items()
    ]
    return [*parts, _markdown(heading, rows), *_sharpness(row), *_videos(row), *_protection(row)]


def _sharpness(row: Row) -> list[str]:
    """What passes as real when pictures of 8 bits are softened or sharpened."""
    rows = [
        [name, found["generator"], f"{cell['reals']:.0%}", f"{cell['fakes']:.0%}"]
        for found in row["fakes"][:2]
        for name, cell in found.get("passed_by_sharpness", {}).items()
    ]
    if not rows:
        return []
    return ["### Softness\n", _markdown(["pictures", "fakes of", "reals that pass", "fakes that pass"], rows)]


def _videos(row: Row) -> list[str]:
    """Real deepfakes, frame by frame as they came: the honest part."""
    rows = [
        [clip["clip"], "deepfake" if clip["fake"] else "original", clip["split"], f"{clip['passed_as_real']:.0%}"]
        for clip in row["deepfake_videos"]
    ]
    held = [c for c in row["deepfake_videos"] if c["split"] == "test"]
    right = [c["passed_as_real"] if not c["fake"] else 1 - c["passed_as_real"] for c in held]
    words = f"On the {len(held)} videos of people it never saw, {sum(right) / len(right):.0%} of the frames are judged "
    words += "rightly (a coin: 50 %).\n" if held else ""
    heading = ["real deepfake videos", "kind", "split", "frames that pass as real"]
    return ["### Real deepfakes\n", words if held else "", _markdown(heading, rows), *_strangers(row)]


def _strangers(row: Row) -> list[str]:
    """Real videos of people it never saw: every fake among them is a false alarm."""
    videos = row.get("real_videos", [])
    if not videos:
        return []
    passed = [clip["passed_as_real"] for clip in videos]
    held = sum(share > 0.5 for share in passed)
    card = find_engine(None, "detector")
    least = int(card.input_shape("image")[2] / (card.crop or CROP))
    words = f"Of the frames of {len(videos)} real videos of other people {sum(passed) / len(passed):.0%} pass as real "
    words += f"(each video weighs alike); of {held} of them most frames do. "
    large = [c["passed_as_real"] for c in videos if c["face_px"] >= least]
    words += f"Where faces are at least {least} px wide, so that the stage judges them, most frames pass in "
    words += (
        f"{sum(share > 0.5 for share in large)} of {len(large)}; the others it calls `unknown`. The limit is the size "
    )
    words += "that the network takes; that it matters so much was seen on these videos.\n"
    heading = ["real videos", "frames", "face", "frames that pass as real", "mean score"]
    rows = [
        [c["clip"], str(c["frames"]), f"{c['face_px']} px", f"{c['passed_as_real']:.0%}", f"{c['p_real_mean']:.2f}"]
        for c in sorted(videos, key=lambda c: c["face_px"])
    ]
    return ["### Real videos\n", words, _markdown(heading, rows)]


def _protection(row: Row) -> list[str]:
    heading = ["reals", "count", "delivery", "unprotected pass", "protected pass", "difference"]
    rows = [
        [
            found["of"],
            str(found["count"]),
            way,
            f"{cell['unprotected']:.1%}",
            f"{cell['protected']:.1%}",
            f"{cell['difference_points']:+.1f} points",
        ]
        for found in row.get("protection", [])
        for way, cell in found["passed_as_real"].items()
    ]
    return ["### Our own protection\n", _markdown(heading, rows)] if rows else []


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
            _share(row["accuracy"]),
            f"{row['auroc']:.3f}",
            *(f"{row[f'{what}_{kind}']:.1%}" for kind in ("fake", "real") for what in ("precision", "recall")),
            paper.TABLE1.get(row["network"], "-").replace("|", "/"),
        ]
        for row in document["table1"]
    ]
    words = "The paper's row as printed, in this order; its columns do not agree with its Table II throughout.\n"
    return ["### Table I: unperturbed pictures\n", words, _markdown(heading, rows)]


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
            cells = [_share(row[column][way]) if column in row else "-" for column in paper.COLUMNS2]
            rows.append([row["title"], way, *cells])
    return ["### Table II: fakes still called fake\n", _markdown(heading, rows), *_distances(document)]


def _distances(document: Row) -> list[str]:
    heading = ["white box on", "attack", "pictures", "kappa reached", "still called fake", "as the paper's code counts"]
    heading += ["held", "mean L2 on [0, 1]", "PSNR"]
    rows = [
        [row["title"], attack, *_distance(row, attack)]
        for row in document["table2"]
        for attack in ("fgsm", "cw", "near")
        if f"{attack}_facts" in row
    ]
    return [CARLINI, _markdown(heading, rows)]


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
        f"{ADVERSARIAL}It calls {fgsm[0]:.0%} of the fakes fake under white-box FGSM, where the best of the "
        f"others keeps {max(fgsm[1:]):.0%}, and {worst[0]:.0%} under the worst of the suite below, where they keep "
        f"{max(worst[1:]):.0%}. What it costs: {ours[0]['recall_real']:.0%} of the reals pass, and its accuracy on "
        f"unperturbed pictures is {ours[0]['accuracy']['value']:.0%}. Another threshold would trade fakes kept under "
        f"FGSM for reals that pass: {traded}.\n"
    )


def _of(table: list[Row], name: str) -> tuple[Row, list[Row]]:
    """The network's row, and those of the networks that learned from no attack."""
    return next(row for row in table if row["network"] == name), [
        row for row in table if row["network"] not in ("adversarial", "prior")
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
    return [f"### Beside foolbox {version}, on the plain ResNet\n", _markdown(heading, rows)]


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
        rows.append([row["title"], *(_share(row[k]) for k in ("clean", *names, "worst")), said])
    count = document["suite"][0]["clean"]["count"]
    return [f"### The worst of several attacks, epsilon .02, {count} fakes\n", _markdown(heading, rows)]


def _prior(document: Row) -> list[str]:
    if not document.get("table3"):
        return []
    heading = ["classifier", "defence", "p_real above", "accuracy", "AUROC", "fake recall", "real recall", "paper"]
    whole = [
        [
            row["title"],
            row["defence"],
            f"{row['threshold']:g}",
            _share(row["accuracy"]),
            f"{row['auroc']:.3f}",
            f"{row['recall_fake']:.1%}",
            f"{row['recall_real']:.1%}",
            paper.TABLE3.get((row["defence"], row["threshold"]), "-"),
        ]
        for row in document["table3"]
    ]
    categories = [
        [
            row["title"],
            f"{row['category']} (*)" if row.get("beside") else row["category"],
            str(row["count"]),
            *(_share(row[k]) for k in ("baseline", "threshold_0.5", "threshold_0.25")),
        ]
        for row in document["table4"]
    ]
    parts = ["### Table III: Deep Image Prior in front of the detector\n", PRIOR]
    for facts in document["prior"]:
        parts += [_fitted(facts), *([worth] if (worth := _worth(document, facts.get("network", ""))) else [])]
    parts += [_markdown(heading, whole), "### Table IV: by category\n"]
    parts.append(_markdown(["classifier", "category", "pictures", "without", "at .5", "at .25"], categories))
    return parts + _figure6(document)


def _worth(document: Row, name: str) -> str:
    """Whether the prior earned its cost before this classifier."""
    rows = [row for row in document["table3"] if row.get("network") == name]
    with_it, without = (next((r for r in rows if r["defence"] == d), None) for d in ("Deep Image Prior", "Baseline"))
    if with_it is None or without is None:
        return ""
    more = with_it["accuracy"]["value"] > without["accuracy"]["value"]
    fooled = [
        f"{row['category'].split(',')[0]} {row['threshold_0.5']['value']:.0%}"
        for row in document["table4"]
        if row.get("network") == name and "fake-wrong" in row["category"] and not row.get("beside")
    ]
    two = next((row for row in rows if row["defence"] == "Both networks, no prior"), None)
    plain = f" The two networks without a prior reach {two['accuracy']['value']:.1%}." if two else ""
    return (
        f"The prior {'raises' if more else 'lowers'} the accuracy from {without['accuracy']['value']:.1%} to "
        f"{with_it['accuracy']['value']:.1%} and takes the AUROC from {without['auroc']:.3f} to "
        f"{with_it['auroc']:.3f}. Of the fakes that fooled the classifier it brings back: {', '.join(fooled)}.{plain}\n"
    )


def _fitted(facts: Row) -> str:
    return (
        f"{facts['title']}: {facts['pictures']} pictures, {facts['reals']} real; {facts['size']} px, batches of "
        f"{facts['batch']}, stopped where the running variance is least, at iteration {facts['iterations_at_most']} at "
        f"the latest (on average {facts['iteration_that_counts_mean']:g}). "
        f"{facts['cpu_seconds_an_image']:g} CPU seconds a picture, "
        f"{facts['times_sooner_than_the_papers_30_minutes']:g} times sooner than the paper's 30 minutes at 512 px.\n"
    )


def _figure6(document: Row) -> list[str]:
    """The picture of p_real along the optimisation; figure6() draws it."""
    if not document.get("figure6"):
        return []
    words = "Pale: p_real at each iteration looked at; dark: averaged over ten; dashed: the two thresholds.\n"
    return ["### Figure 6: along the optimisation\n", f"![p_real by iteration, four pictures]({FIGURE6.name})\n", words]


def figure6(document: Row) -> str:
    panels = [
        curves.Panel(
            f"({p['panel']}) {p['picture']}", p["iterations"], p["p_real"], p["p_real_averaged"], p["stops_at"]
        )
        for p in document["figure6"]
    ]
    return curves.curves("p_real of what Deep Image Prior draws", panels, (0.25, 0.5))


def _share(figure: Row) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.1%} ({low:.1%} to {high:.1%})"


def _markdown(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(heading)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
