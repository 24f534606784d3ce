"""The tables of measured figures, made from the committed results. Used by docs/generate.py."""

from __future__ import annotations

import json
from pathlib import Path
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


def disruption_table() -> str:
    """%dis on delivered video by face width and crf, beside the bound on the same faces."""
    data = load("delivered")
    rows = [
        "| face in the delivered frame | H.264 | pairs disrupted (95 % interval) | mean L2 | face PSNR | bit rate | "
        "P / bound / PGD-10, same faces |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in data["rows"]:
        p, same = row["disrupter"], row["on_bound_faces"]
        low, high = p["ci95"]
        rows.append(
            f"| {row['width']} px | crf {row['crf']} | {p['disrupted']:.1%} ({low:.1%} to {high:.1%}) | "
            f"{p['l2_mean']:.3f} | "
            f"{p['face_psnr_db']:.1f} dB | x{p['bitrate_ratio']:.3f} | {same['disrupter']['disrupted']:.0%} / "
            f"{same['bound']['disrupted']:.0%} / {same['pgd10']['disrupted']:.0%} |"
        )
    pairs = data["rows"][0]["disrupter"]["pairs"]
    control = max(row["control"]["disrupted"] for row in data["rows"])

    def psnr(method: str) -> str:
        values = [row["on_bound_faces"][method]["face_psnr_db"] for row in data["rows"]]
        return f"{min(values):.1f} to {max(values):.1f} dB"

    return "\n".join(rows) + (
        f"\n\nEach row: {pairs} (face, edit) pairs of people that no network was trained on, against our own StarGAN "
        "surrogate (evaluation only, not the published weights). Disrupted: mean squared error on [-1, 1] of at least "
        "0.05 between the surrogate's output on the decoded protected video and on the original. Without protection "
        f"the re-encode alone disrupts {control:.1%}. Face PSNR is that of the perturbation alone, over the head. The "
        f"last column is on {data['rows'][0]['on_bound_faces']['bound']['pairs']} pairs: P at {psnr('disrupter')}, the "
        f"bound (PGD through the codec, seconds to minutes a face) at {psnr('bound')}, and PGD-10, which knows no "
        f"codec, at {psnr('pgd10')}, so that it is the weakest perturbation of the three. "
        f"`{data['command']}`, seed {data['seed']}, {data['device']}.\n"
    )


def clips_line() -> str:
    """What the shipped pipeline does to real clips, with its range over them."""
    data = load("clips")
    rows = data["rows"]

    def span(key: str, form: str) -> str:
        values = [row[key] for row in rows]
        return f"{min(values):{form}} to {max(values):{form}}"

    return (
        f"On {data['clips']} real clips ({sum(row['frames'] for row in rows)} pictures, {data['pairs']} pairs; faces "
        f"protected: {sum(row['protected_faces'] for row in rows)} of {sum(row['faces'] for row in rows)}) the default "
        f"pipeline disrupts {data['disrupted']:.1%}, by clip {span('disrupted', '.0%')}, at a face PSNR of "
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
        f"{clip['height']} with sound, {run['machine']['cpus']} cores, one run for each of the two backends. `deface` "
        f"runs on ONNX Runtime both times; the naive loop takes the same backend as ours. The same crf costs "
        f"x{run['cost']['bitrate_ratio']:.3f} the bits there. The network takes {ms['network']:.1f} ms a face "
        f"({ms['stage']:.1f} ms with reading and writing the picture) where PGD-10 takes {ms['pgd10']:.0f} ms: "
        f"{speed['pgd10_over_network']:.0f} times faster, on {speed['backend']}.\n"
    )


def _rate(run: dict[str, Any], side: str) -> tuple[str, str]:
    """A side's median frames a second in one run, and ours against it."""
    if side not in run["sides"]:
        return "-", "-"
    ratio = run["ratios"].get(f"ours_to_{side}", {"median": 1.0})["median"]
    return f"{run['sides'][side]['fps']['median']:.1f}", f"x{ratio:.2f}"
