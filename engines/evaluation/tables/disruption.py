"""Tables 6 and 8, transfer and robustness: how far G(x + d) is from G(x), by generator, method and delivery.

`disrupted` is the papers' %dis: the share of pairs with a mean squared error of at least 0.05 on [-1, 1]; `l2` is its
mean; `sr_mask` is CMUA's share over the edited pixels alone. G(x) is of the original picture, never delivered, so that
the control ("none") shows what the delivery does by itself.
"""

from __future__ import annotations

from typing import Any

from ...disrupter.objective import DISRUPTED
from ..channels import can_encode
from ..deliveries import Treated
from ..figures import as_flags, as_values, l2, mean, share, sr_mask
from ..protectors import Engine
from .bench import Bench, Generator
from .document import Columns, Rows

ALONE = ("none", "ours", "universal", "bound_all")
"""Methods that are made once, not on each generator."""
METHODS = {
    "none": "not protected (the delivery alone)",
    "ifgsm": "I-FGSM on this generator",
    "pgd": "PGD-10 on this generator",
    "pgd_same_psnr": "PGD-10 on this generator, at the disrupter's PSNR",
    "universal": "universal perturbation (CMUA) on all targets",
    "ours": "disrupter (ours, one network)",
    "bound": "bound: PGD through the codec",
    "bound_all": "bound for all: one perturbation, PGD through the codec",
}


def columns(bench: Bench, generator: Generator, treated: Treated, width: int, first: int | None = None) -> Columns:
    """The figures of each channel on the faces that were treated, or the `first` of them."""
    faces, rows = bench.pairs(generator)
    count = min(len(treated.treatments), first or len(treated.treatments))
    faces, rows = faces[faces < count], rows[faces < count]
    owners = [bench.names[k] for k in faces]
    size, out = generator.target.size, {}
    bench.deliveries.need(treated, width)
    bench.progress.begin(f"editing: {treated.name} by {generator.name}, face {width} px", len(bench.channels))
    for channel in bench.channels:
        x = bench.deliveries.clean(width, size, channel.crop)[faces]
        reference = bench.reference(generator, width, channel.crop)[: len(faces)]
        seen = bench.deliveries.heads(treated, width, channel, size)[faces]
        edited = bench.edit(generator, seen, rows)
        errors = as_values(l2(edited, reference))
        out[channel.name] = {
            "disrupted": share(errors >= DISRUPTED, owners),
            "l2": mean(errors, owners, bench.seed),
            "sr_mask": share(as_flags(sr_mask(edited, reference, x)), owners),
        }
        bench.progress.tick()
    return out


def quality(bench: Bench, treated: Treated, width: int, first: int | None = None) -> dict[str, Any]:
    """Face PSNR and SSIM of the perturbation alone, in 8 bits, as a row carries them: of the `first` faces, or all."""
    found = bench.deliveries.quality(treated, width).first(first)
    names = bench.names[: len(found.ssim)]
    return {
        "face_psnr_db": None if found.psnr_db is None else round(found.psnr_db, 2),
        "face_ssim": mean(found.ssim, names, bench.seed),
    }


def table8(bench: Bench) -> Rows:
    """Every method on every generator at the main width, the disrupter at the others too, the bound on a few faces."""
    rows = Rows()
    for generator in bench.generators:
        for method in ("none", "ifgsm", "pgd", "pgd_same_psnr", "universal", "ours"):
            if method == "universal" and bench.arguments.data is None:
                rows.skip("no --data PACK to fit it on", generator=generator.name, method=METHODS[method])
                continue
            add(rows, bench, generator, method, bench.width)
        if bench.arguments.bound_faces:
            few = min(bench.arguments.bound_faces, len(bench.stills))
            add(rows, bench, generator, "bound", bench.width, few)
            if sum(g.seen for g in bench.generators) > 1:
                add(rows, bench, generator, "bound_all", bench.width, few)
            add(rows, bench, generator, "ours", bench.width, few)
        else:
            rows.skip("--bound-faces 0", generator=generator.name, method=METHODS["bound"])
        for width in bench.arguments.widths:
            if width != bench.width:
                add(rows, bench, generator, "ours", width)
    rows.notes.append(
        f"I-FGSM and PGD: epsilon 0.05 on [-1, 1], 10 steps of 0.01, one condition a step in turn, each made on the "
        f"generator that it is tested on; the disrupter is one network for all, budget {bench.engine.budget_psnr_db:g} "
        "dB. I-FGSM flees from a black picture: from its own output it would never move. The universal perturbation is "
        f"fitted on {bench.arguments.universal_faces} training faces, the bounds take "
        f"{bench.arguments.bound_iterations} steps a face."
    )
    return rows


def transfer(bench: Bench) -> Rows:
    """The disrupter on generators it was trained against and on those it never saw; PGD made on the first seen one."""
    rows = Rows()
    source = next((g for g in bench.generators if g.seen), None)
    for generator in bench.generators:
        add(rows, bench, generator, "none", bench.width)
        add(rows, bench, generator, "ours", bench.width)
        if source is None:
            rows.skip("no generator was given by --targets to make it on", generator=generator.name, method="PGD-10")
        elif source.target.size == generator.target.size:
            made = bench.method("pgd", source)
            labels = {**about(generator), "method": f"PGD-10 made on {source.name}", "face_px": bench.width}
            rows.add(labels, columns(bench, generator, made, bench.width), **quality(bench, made, bench.width))
        else:
            rows.skip(f"{source.name} is of another size", generator=generator.name, method="PGD-10")
    if not any(not g.seen for g in bench.generators):
        rows.skip("no --unseen run was given", generators="never trained on")
    return rows


def adaptive(bench: Bench) -> Rows:
    """The disrupter on generators that went on learning, from protected faces and, as a control, from others alone."""
    rows = Rows()
    for generator in bench.generators:
        for method in ("none", "ours"):
            made = bench.method(method)
            labels = {**about(generator), "protected_in_training": generator.learned, "method": METHODS[method]}
            labels |= {"face_px": bench.width}
            rows.add(labels, columns(bench, generator, made, bench.width), **quality(bench, made, bench.width))
    if not any(g.learned for g in bench.generators):
        rows.skip("no run of --unseen learned from protected faces (train fomm --set protected=0.5)", generators="any")
    return rows


ROBUSTNESS = (
    *("8bit", "h264_crf23", "h264_crf30", "h264_crf40", "h265_crf23", "h265_crf30", "h265_crf40", "vp9_crf33"),
    *("jpeg75", "jpeg40", "resize0.71", "resize0.5", "crop0.71", "blur1", "blur2"),
    *("h264_crf30_resize0.5", "h264_crf30_jpeg40", "h265_crf30_crop0.71", "h264_crf23_blur2"),
)
"""The grid of deliveries and attackers' transformations."""


def robustness(bench: Bench) -> Rows:
    """The control, the disrupter and PGD through the whole grid; codecs that this FFmpeg lacks are said."""
    rows = Rows()
    for channel in list(bench.channels):
        if channel.codec is not None and not can_encode(channel.codec):
            rows.skip(f"this FFmpeg has no encoder for {channel.codec}", column=channel.name)
            bench.channels.remove(channel)
    for generator in bench.generators:
        for method in ("none", "pgd", "ours"):
            add(rows, bench, generator, method, bench.width)
    return rows


def table6(bench: Bench) -> Rows:
    """Disrupters trained on one family alone, tested on each; those that were not trained are said."""
    rows = Rows()
    engines: dict[str, Engine] = {"all (the disrupter under test)": bench.engine, **bench.trained("generator")}
    for source, engine in engines.items():
        made = bench.method("ours", engine=engine)
        for generator in bench.generators:
            labels = {"trained_on": source, **about(generator), "face_px": bench.width}
            rows.add(labels, columns(bench, generator, made, bench.width), **quality(bench, made, bench.width))
    for family in ("stargan", "ganimation", "fomm"):
        if family not in engines:
            rows.skip(f"no disrupter trained on this family alone: --trained generator:{family}=DIR", trained_on=family)
    return rows


def add(rows: Rows, bench: Bench, generator: Generator, method: str, width: int, first: int | None = None) -> None:
    """One row: a method on a generator at a width."""
    made = bench.method(method, None if method in ALONE else generator)
    labels = {**about(generator), "method": METHODS[method], "face_px": width}
    if first is not None:
        labels["first_faces"] = first
    rows.add(labels, columns(bench, generator, made, width, first), **quality(bench, made, width, first))


def about(generator: Generator) -> dict[str, Any]:
    return {"generator": generator.name, "family": generator.target.family, "seen": generator.seen}
