"""The tables of measured figures, made from the committed results. Used by docs/generate.py."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "engines" / "evaluation" / "results"
README_RESULTS = ("delivered", "clips", "throughput", "throughput_onnxruntime", "disrupter_speed")
BEGIN, END = "<!-- measured: written by docs/generate.py -->", "<!-- end of measured -->"


def load(name: str) -> dict[str, Any]:
    """One committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def readme_block() -> str:
    """What stands between BEGIN and END in the README."""
    return f"{BEGIN}\n\n{disruption_table()}\n{clips_line()}\n{cost_table()}\n{END}"


def with_block(readme: str) -> str:
    """The README with its block made anew."""
    before, rest = readme.split(BEGIN, 1)
    return before + readme_block() + rest.split(END, 1)[1]


GENERATORS = {
    "stargan": "StarGAN (edits)",
    "fomm": "First Order Motion (reenactment)",
    "ganimation": "GANimation (expressions)",
    "cyclegan": "CycleGAN (face replacement)",
}
"""The families, as the tables call them: all are our own surrogates."""


def _family(row: dict[str, Any]) -> str:
    """The family of a row's generator; older rows know the zoo's probe alone."""
    return GENERATORS[row.get("family", row["generator"].removesuffix("-probe"))]


def disruption_table() -> str:
    """%dis on delivered video by generator, face width and crf, beside the bound on the same faces."""
    data = load("delivered")
    rows = [
        "| surrogate of | face in the delivered frame | H.264 | pairs disrupted (95 % interval) | mean L2 | "
        "face PSNR | seen | bit rate | P / bound / PGD-10, same faces |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    best = min(row["crf"] for row in data["rows"])
    for row in data["rows"]:
        if row["crf"] != best and row["width"] != 256:
            continue  # The results have them: what one width shows of a harsher crf, the others do too.
        p, same = row["disrupter"], row["on_bound_faces"]
        low, high = p["ci95"]
        rows.append(
            f"| {_family(row)} | {row['width']} px | crf {row['crf']} | {p['disrupted']:.1%} "
            f"({low:.1%} to {high:.1%}) | {p['l2_mean']:.3f} | "
            f"{p['face_psnr_db']:.1f} dB | {p['seen_p95']:.1f} | x{p['bitrate_ratio']:.3f} | "
            + " / ".join(f"{same[method]['disrupted']:.0%}" for method in ("disrupter", "bound", "pgd10"))
            + " |"
        )
    pairs = sorted({row["disrupter"]["pairs"] for row in data["rows"]})
    bounded = sorted({row["on_bound_faces"]["bound"]["pairs"] for row in data["rows"]})
    faces, few = _faces(data["rows"][0]["disrupter"]), _faces(data["rows"][0]["on_bound_faces"]["bound"])
    control = max(row["control"]["disrupted"] for row in data["rows"])

    def psnr(method: str) -> str:
        values = [row["on_bound_faces"][method]["face_psnr_db"] for row in data["rows"]]
        return f"{min(values):.1f} to {max(values):.1f} dB"

    return "\n".join(rows) + (
        f"\n\nEach row: {pairs[0]} to {pairs[-1]} (face, edit) pairs of {faces} photographs of the test split, "
        "against our own surrogates (evaluation only, not the published weights). Disrupted: mean squared error on "
        "[-1, 1] of at least 0.05 between the surrogate's output on the decoded protected video and on the original. "
        f"Without protection the re-encode alone disrupts {control:.1%}. Face PSNR is that of the perturbation alone, "
        "over the head, in 8 bits before the encoder. Seen: the colour difference to the unprotected delivery that "
        "95 % of the head stays under "
        "(S-CIELAB with CIE94, as of a face 256 px high in every row, mean of the faces; 1 is just seen side by side). "
        f"The last column is on {bounded[0]} to {bounded[-1]} pairs of {few} faces: P, one network for all rows, at "
        f"{psnr('disrupter')}; the bound (PGD through the codec against that row's generator alone, 80 steps a face, "
        f"begun with noise and with P's own perturbation, whatever is seen of it) at {psnr('bound')}; PGD-10, which "
        f"knows no codec, at {psnr('pgd10')}. "
        f"`{data['command']}`, seed {data['seed']}, {data['device']}.\n"
    )


def _faces(tally: dict[str, Any]) -> int:
    """The photographs behind a tally's pairs: each was edited in every way."""
    return int(tally["pairs"]) // len(tally["l2_by_condition"])


GROUPS = {
    "strangers": "of people that neither the disrupter nor these surrogates were trained on",
    "seen": "of people that the First Order Motion surrogate and the disrupter learned from",
}


def clips_line() -> str:
    """What the shipped pipeline does to real clips, with its range over them."""
    data = load("clips")
    rows = data["rows"]

    def span(key: str, form: str) -> str:
        values = [row[key] for row in rows]
        return f"{min(values):{form}} to {max(values):{form}}"

    def share(group: str, name: str) -> str:
        part = [row for row in rows if row["seen"] == (group == "seen")]
        values = [row["generators"][name]["disrupted"] for row in part]
        found = data["groups"][group][name]
        return (
            f"{found['disrupted']:.1%} of {found['pairs']} pairs against {_family({'generator': name})}, "
            f"by clip {min(values):.0%} to {max(values):.0%}"
        )

    def told(group: str) -> str:
        count = sum(row["seen"] == (group == "seen") for row in rows)
        return f"on {count} {GROUPS[group]} {', '.join(share(group, name) for name in data['groups'][group])}"

    return (
        f"On {data['clips']} real clips ({sum(row['frames'] for row in rows)} pictures; faces protected: "
        f"{sum(row['protected_faces'] for row in rows)} of {sum(row['faces'] for row in rows)}) the default pipeline "
        f"disrupts: {'; '.join(told(group) for group in data['groups'])}; at a face PSNR of "
        f"{span('face_net_psnr_db', '.1f')} dB and x{span('bitrate_ratio', '.2f')} the bits of the plain transcode. "
        f"`{data['command']}`.\n"
    )


SIDES = {
    "plain": "plain transcode, same encoder settings",
    "ours": "**stream-guard protect**",
    "naive": "naive loop (RGB frames, detector each frame)",
    "deface": "`deface`, as it comes",
    "deface_640x360": "`deface -s 640x360`",
}


def cost_table() -> str:
    """Throughput against the other sides, on either backend, bit rate, and the network against PGD-10."""
    runs, speed = [load("throughput"), load("throughput_onnxruntime")], load("disrupter_speed")
    rows = [
        "| side | frames a second with `[openvino]` | ours against it | without (ONNX Runtime) | ours against it |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key in runs[0]["sides"]:
        cells = [cell for run in runs for cell in _rate(run, key)]
        rows.append(f"| {SIDES.get(key, key)} | {' | '.join(cells)} |")
    run, ms = runs[0], speed["milliseconds_a_face"]
    clip = run["clip"]
    return (
        "\n".join(rows) + f"\n\nMedian of {run['repeats']} turns on {clip['frames']} frames of {clip['width']}x"
        f"{clip['height']} with sound, {run['machine']['cpus']} cores, one run for each of the two backends. "
        f"{_fairly(runs)} The same crf costs x{run['cost']['bitrate_ratio']:.3f} the bits "
        f"there. The network takes {ms['network']:.1f} ms a face "
        f"({ms['stage']:.1f} ms with reading and writing the picture) where PGD-10 takes {ms['pgd10']:.0f} ms: "
        f"{speed['pgd10_over_network']:.0f} times faster, on {speed['backend']}.{_noted(runs[1], speed)}\n"
    )


def _fairly(runs: list[dict[str, Any]]) -> str:
    """In what the sides differ, and ours beside those that load their engines while the time runs."""
    told = []
    for run in runs:
        ours, naive = run["sides"]["ours"], run["sides"]["naive"]["wall_seconds"]
        seconds = median(a - b for a, b in zip(ours["wall_seconds"], ours["seconds"], strict=True))
        slower = median(b / a for a, b in zip(ours["wall_seconds"], naive, strict=True))
        plain = run["ratios"]["ours_to_plain_with_loading"]["median"]
        told.append(f"x{plain:.2f} and x{slower:.2f} on {run['backend']} ({seconds:.2f} s)")
    return (
        f"`deface` had {runs[0]['sides']['deface']['frames']} frames, and runs on ONNX Runtime both times; the naive "
        "loop takes the same backend as ours. Ours and `deface` count from the first picture on, the naive loop counts "
        f"the loading of its engines too; with that, ours comes to {', '.join(told)} against the plain transcode and "
        "the naive loop."
    )


def _noted(second: dict[str, Any], speed: dict[str, Any]) -> str:
    """What the results themselves say about the circumstances, if they do."""
    whose = {"the ONNX Runtime columns": second, "the network's times": speed}
    notes = [f"{name} were {data['note']}" for name, data in whose.items() if "note" in data]
    return f" Of these, {'; '.join(notes)}." if notes else ""


def _rate(run: dict[str, Any], side: str) -> tuple[str, str]:
    """A side's median frames a second in one run, and ours against it."""
    if side not in run["sides"]:
        return "-", "-"
    ratio = run["ratios"].get(f"ours_to_{side}", {"median": 1.0})["median"]
    return f"{run['sides'][side]['fps']['median']:.1f}", f"x{ratio:.2f}"
