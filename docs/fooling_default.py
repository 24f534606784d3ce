"""What the default detector is worth: the first part of the page on detectors. Used by docs/fooling.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import engine_costs
from tabular import table

from stream_guard.inference import find_engine
from stream_guard.stages.classifier import CROP

HERE = Path(__file__).resolve().parent

Row = dict[str, Any]

DARKEST = "at 15 % of their light, with grain"

NOT_SHIPPED = """**No detector is in the zoo**: `detect` needs `engine:`, or `require_engine: false`, with which every
verdict is `unknown`. `python -m engines export resnet18 --from RUN --as detector` makes a detector the default.
"""

WEAK = """What to expect of it: it was taught the surrogates' edits, and tells those apart on people it never saw,
{taught} (all of them together).
{int8}Of CycleGAN's, a family that it never saw, {unseen} pass, by delivery. Of real
face swaps it has seen one pair; of others that were held out it passes {swaps}. A face that has to be enlarged for
it is often called fake where it is real (the table of real videos): of faces under 98 pixels the stage says `unknown`,
with the reason `too_small`. At 15 % of their light {dark} ([below](#softness-grain-and-little-light)). A person should
look at content before it is turned away.

It is two networks of the same kind whose scores are averaged. They began apart: one of them went on with the stills
of UTKFace and of CelebAMask-HQ as often. Both saw pictures in too little light, where the pair before called every
real one a fake, and with a sensor's noise that no codec has smoothed, where it called 16 % so (val split). That pair,
which they went on from (17,501 steps), was their teacher for all others. Either alone is wrong about other pictures
of the val split than the other one ([training](training.md#the-default-detector)).

What counts is what the stage `detect` cuts out of a delivered picture, {crop:g} sides of the face's box. The threshold
is where, on the val split, as many reals are lost as fakes pass. Of the people of UTKFace it began with those up to 34
and a few over 100, and went on with people of all ages.
"""


INTEGERS = """On a processor the stage takes it in 8-bit integers, unless it is named: {taught} then
([below](#in-8-bit-integers)); all other figures are of the network in floats.
"""


def _weak(row: Row, int8: Row | None) -> str:
    """What to expect, in figures of this very table."""
    unseen = [
        found["fakes_passed"]
        for fakes in row["fakes"]
        if fakes["seen"] is False
        for found in fakes["by_delivery"].values()
    ]
    swaps = [clip["passed_as_real"] for clip in row["deepfake_videos"] if clip["fake"] and clip["split"] == "test"]
    return WEAK.format(
        taught=_together(row),
        int8="" if int8 is None else INTEGERS.format(taught=_together(int8)),
        unseen=_span(unseen),
        swaps=f"{sum(share > 0.5 for share in swaps)} of {len(swaps)}",
        dark=_in_the_dark(row["fakes"]),
        crop=CROP,
    )


def _together(row: Row) -> str:
    """How many of all that it was taught it tells, by delivery."""
    found = row["together"]["by_delivery"].items()
    return ", ".join(f"{cell['accuracy']:.1%} {_words(way)}" for way, cell in found)


def _in_the_dark(rows: list[Row]) -> str:
    """What passes where next to no light is left."""
    found = [(row["generator"], row["passed_by_change"][DARKEST]) for row in rows]
    fakes = ", ".join(f"{cell['fakes']:.0%} ({name})" for name, cell in found)
    return f"{found[0][1]['reals']:.0%} of the reals pass, and of the fakes {fakes}"


def _words(way: str) -> str:
    return {"8 bits": "in 8 bits", "jpeg 75": "after JPEG 75"}.get(way, way.replace("h264", "after H.264"))


def _span(shares: list[float]) -> str:
    return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %" if shares else "an unknown share"


def section(document: Row | None, int8: Row | None = None) -> list[str]:
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
    parts.append(_weak(row, int8["rows"][0] if int8 else None))
    heading = ["fakes of", "seen", "delivery", "accuracy", "AUROC", "fakes passed", "calibration error"]
    rows = [
        [
            fakes["generator"],
            {True: "yes", False: "no", None: "not known"}[fakes["seen"]],
            way,
            f"{found['accuracy']:.1%} ({found['accuracy_ci95'][0]:.1%} to {found['accuracy_ci95'][1]:.1%})",
            f"{found['auroc']:.3f}",
            f"{found['fakes_passed']:.1%}",
            f"{found['calibration_error']:.3f}",
        ]
        for fakes in [*row["fakes"], _all(row)]
        for way, found in fakes["by_delivery"].items()
    ]
    parts += [table(heading, rows), *_changes(row), *_videos(row), *_protection(row)]
    return parts + (_int8(row, int8["rows"][0], int8["command"]) if int8 else [])


def _all(row: Row) -> Row:
    """All that it was taught as one more generator of the table."""
    found: Row = row["together"]
    return found | {"generator": " + ".join(found["generators"]), "seen": True}


def _changes(row: Row) -> list[str]:
    """What passes as real when pictures of 8 bits are softened, sharpened, noisy or dark."""
    cells = [(found["generator"], found["passed_by_change"]) for found in row["fakes"]]
    rows = [
        [name, f"{cell['reals']:.0%}", *(f"{of[name]['fakes']:.0%}" for _, of in cells)]
        for name, cell in cells[0][1].items()
    ]
    heading = ["pictures", "reals that pass", *(f"fakes of {generator}" for generator, _ in cells)]
    return ["### Softness, grain and little light\n", LIGHT, table(heading, rows)]


def _videos(row: Row) -> list[str]:
    """Real deepfakes, frame by frame as they came: the honest part."""
    rows = [
        [clip["clip"], "deepfake" if clip["fake"] else "original", clip["split"], f"{clip['passed_as_real']:.0%}"]
        for clip in row["deepfake_videos"]
    ]
    held = [c for c in row["deepfake_videos"] if c["split"] == "test"]
    right = [c["passed_as_real"] if not c["fake"] else 1 - c["passed_as_real"] for c in held]
    words = f"On the {len(held)} videos of the test split, {sum(right) / len(right):.0%} of the frames are judged "
    words += "rightly (a coin: 50 %).\n" if held else ""
    heading = ["real deepfake videos", "kind", "split", "frames that pass as real"]
    return ["### Real deepfakes\n", words if held else "", table(heading, rows), *_strangers(row)]


def _strangers(row: Row) -> list[str]:
    """Real videos of people it never saw: every fake among them is a false alarm."""
    videos = row.get("real_videos", [])
    if not videos:
        return []
    passed = [clip["passed_as_real"] for clip in videos]
    held = sum(share > 0.5 for share in passed)
    card = find_engine(None, "detector")
    least = int(card.input_shape("image")[2] / (card.crop or CROP))
    words = f"Of the frames of {len(videos)} real videos of other people (some show the same one) "
    words += f"{sum(passed) / len(passed):.0%} pass as real "
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
    return ["### Real videos\n", words, table(heading, rows)]


PROTECTION = """A real face must pass protected as it does unprotected, and a fake must not pass because somebody
protected it: `fakes of ...` were edited first, put back into their pictures (which keeps more of the pictures' grain
than the tables above) and then protected by our own disrupter. It saw reals and fakes that were protected afterwards
(`--set laundered`). Protected, {stills} more of the real stills pass (a point was the aim), {frames} more of the
few frames of clips and videos, and of the fakes {fakes} more where it was taught their surrogate, {unseen} where
it was not.
"""


def _protection(row: Row) -> list[str]:
    more = _more(row)
    heading = ["pictures", "count", "delivery", "unprotected pass", "protected pass", "difference"]
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
    words = PROTECTION.format(
        stills=_points(more["stills"]),
        frames=_points(more["frames"]),
        fakes=_points(more[True]),
        unseen=_points(more[False]),
    )
    return ["### Our own protection\n", words, table(heading, rows)] if rows else []


def _more(row: Row) -> dict[bool | str | None, list[float]]:
    """By how many points more pass protected: of stills, of frames, and of fakes by whether they were taught."""
    seen = {f"fakes of {fakes['generator']}": fakes["seen"] for fakes in row["fakes"]}
    more: dict[bool | str | None, list[float]] = {"stills": [], "frames": [], True: [], False: [], None: []}
    for found in row.get("protection", []):
        kind = seen.get(found["of"], found["of"].split()[0])
        more[kind] += [cell["difference_points"] for cell in found["passed_as_real"].values()]
    return more


def _points(differences: list[float]) -> str:
    return f"{min(differences):+.1f} to {max(differences):+.1f} points" if differences else "an unknown share"


LIGHT = """What passes as real in 8 bits. Grain is noise of 1.5 of 255 levels, as of a sensor, that no codec has
smoothed yet.
"""

INT8 = """What the stage takes by itself on a processor, `detector-int8`: the same network with its convolutions in
8-bit integers, but those that read the picture itself. It takes {times} of the time
([what a look takes](stages.md#what-a-look-takes)) and half of the space. On a GPU, or with
`--set detect.engine=detector`, all of it is in floats. Protected, {stills} more of the real stills pass, and {frames}
more of the few frames of clips and videos. `{command}`
"""


def _int8(row: Row, small: Row, command: str) -> list[str]:
    """The engine in 8-bit integers beside the default one, on the same pictures."""
    heading = [
        "fakes of",
        "delivery",
        "accuracy, float32",
        "8-bit",
        "AUROC, float32",
        "8-bit",
        "reals that pass",
        "8-bit",
    ]
    pairs = [*zip(row["fakes"], small["fakes"], strict=True), (_all(row), _all(small))]
    rows = [
        [
            fakes["generator"],
            way,
            *(f"{side[way]['accuracy']:.1%}" for side in (fakes["by_delivery"], other["by_delivery"])),
            *(f"{side[way]['auroc']:.3f}" for side in (fakes["by_delivery"], other["by_delivery"])),
            *(f"{side[way]['recall']:.1%}" for side in (fakes["by_delivery"], other["by_delivery"])),
        ]
        for fakes, other in pairs
        for way in fakes["by_delivery"]
    ]
    more = _more(small)
    words = INT8.format(
        times=engine_costs.span("detector-int8", "detector"),
        stills=_points(more["stills"]),
        frames=_points(more["frames"]),
        command=command,
    )
    return ["### In 8-bit integers\n", words, table(heading, rows)]
