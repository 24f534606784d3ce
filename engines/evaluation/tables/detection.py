"""Tables 1 to 5 and 7: what detectors say of reals, of fakes, and of fakes made from protected pictures.

Precision, recall and F1 count *real* as positive, as the paper does: precision = real_pass / (real_pass + fake_pass),
recall = real_pass / reals; a detector passes a picture as real above 0.5. Reals and fakes are equally many. In each
column the reals are the unprotected pictures after the same delivery, the fakes are G of what arrives, unencoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..channels import Channel
from ..deliveries import Treated
from ..figures import Figure, detection, share
from ..protectors import Engine
from .bench import Bench, Generator, Reader
from .disruption import about
from .document import Columns, Rows

BACKBONES = ("xception", "resnet18", "resnet50")
FAMILIES = ("stargan", "ganimation", "fomm")
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair")
METHODS = {"none": "fake of the original", "pgd": "fake of PGD-10's", "ours": "fake of ours"}

Flags = npt.NDArray[np.bool_]


def table1(bench: Bench) -> Rows:
    """StarGAN, one condition at a time; the disrupter is trained for all of them at once, the paper's for each."""
    rows = Rows()
    generators = families(bench, rows, ("stargan",))
    readers = backbones(bench, rows, BACKBONES)
    for generator in generators:
        for k, condition in enumerate(generator.target.condition_names):
            for method, title in METHODS.items():
                against(rows, bench, generator, readers, method, k, {"condition": condition, "fakes": title})
    return rows


def table2(bench: Bench) -> Rows:
    """Every generator, conditions in turn over the faces, by backbone."""
    return by_method(bench, FAMILIES, BACKBONES)


def table3(bench: Bench) -> Rows:
    """As table 2, by the multi-attentional detector."""
    return by_method(bench, FAMILIES[:2], ("multi_attention",))


def by_method(bench: Bench, wanted: Sequence[str], kinds: Sequence[str]) -> Rows:
    rows = Rows()
    generators = families(bench, rows, wanted)
    readers = backbones(bench, rows, kinds)
    for generator in generators:
        for method, title in METHODS.items():
            against(rows, bench, generator, readers, method, None, {"fakes": title})
    return rows


def table4(bench: Bench) -> Rows:
    """The share that each detector passes as real: x, x + P(x), G(x), G(x + P(x))."""
    rows = Rows()
    none, ours = bench.method("none"), bench.method("ours")
    for made in (none, ours):
        bench.deliveries.need(made, bench.width)
    readers = backbones(bench, rows, BACKBONES[:2])
    for generator in families(bench, rows, FAMILIES):
        for reader in readers:
            for title, treated, fake in (
                ("x", none, False),
                ("x + P(x)", ours, False),
                ("G(x)", none, True),
                ("G(x + P(x))", ours, True),
            ):
                columns: Columns = {}
                for channel in bench.channels:
                    flags = (
                        fakes(bench, generator, treated, reader, channel, None)
                        if fake
                        else reals(bench, generator, treated, reader, channel)
                    )
                    columns[channel.name] = {"passed_as_real": share(flags, bench.names)}
                rows.add({**about(generator), **names(reader), "input": title, "face_px": bench.width}, columns)
    return rows


def table5(bench: Bench) -> Rows:
    """GANimation: disrupters trained with one detector alone, tested by each; those not trained are said."""
    rows = Rows()
    readers = backbones(bench, rows, BACKBONES)
    engines = bench.trained("detector")
    for generator in families(bench, rows, ("ganimation",)):
        against(rows, bench, generator, readers, "none", None, {"trained_with": "no disrupter: G(x)"})
        all_of_them = {"trained_with": "all (the disrupter under test)"}
        against(rows, bench, generator, readers, "ours", None, all_of_them)
        for name, engine in engines.items():
            against(rows, bench, generator, readers, "ours", None, {"trained_with": name}, engine)
    for kind in BACKBONES:
        if kind not in engines:
            rows.skip(f"no disrupter trained with it alone: --trained detector:{kind}=DIR", trained_with=kind)
    return rows


def table7(bench: Bench) -> Rows:
    """StarGAN's hair colours: disrupters trained on one, tested on each, by Xception."""
    rows = Rows()
    readers = backbones(bench, rows, BACKBONES[:1])
    engines = bench.trained("condition")
    for generator in families(bench, rows, ("stargan",)):
        for condition in HAIR:
            k = generator.target.condition_names.index(condition)
            tested = {"condition": condition}
            against(rows, bench, generator, readers, "none", k, {"trained_on": "no disrupter: G(x)", **tested})
            against(rows, bench, generator, readers, "ours", k, {"trained_on": "all conditions", **tested})
            for name, engine in engines.items():
                against(rows, bench, generator, readers, "ours", k, {"trained_on": name, **tested}, engine)
    for condition in HAIR:
        if condition not in engines:
            why = f"no disrupter trained on it alone: --trained condition:{condition}=DIR"
            rows.skip(why, trained_on=condition)
    return rows


def against(
    rows: Rows,
    bench: Bench,
    generator: Generator,
    readers: Sequence[Reader],
    method: str,
    condition: int | None,
    labels: dict[str, Any],
    engine: Engine | None = None,
) -> None:
    """One row for each detector: its precision, recall and F1 on reals and on the method's fakes."""
    treated = bench.method(method, generator if method == "pgd" else None, engine)
    none = bench.method("none")
    for made in (none, treated):
        bench.deliveries.need(made, bench.width)
    for reader in readers:
        bench.progress.begin(f"detecting: {reader.name} on {generator.name}, {method}", len(bench.channels))
        columns: Columns = {}
        for channel in bench.channels:
            passed = reals(bench, generator, none, reader, channel)
            fooled = fakes(bench, generator, treated, reader, channel, condition)
            columns[channel.name] = found(passed, fooled, bench)
            bench.progress.tick()
        rows.add({**about(generator), **names(reader), **labels, "face_px": bench.width}, columns)


def found(passed: Flags, fooled: Flags, bench: Bench) -> dict[str, Figure]:
    return {**detection(passed, fooled, bench.seed), "fakes_passed": share(fooled, bench.names)}


def reals(bench: Bench, generator: Generator, treated: Treated, reader: Reader, channel: Channel) -> Flags:
    """(N,): what the detector passes of the pictures as they arrive, at the size that the generator takes."""
    size = generator.target.size
    key = ("reals", treated.name, reader.name, channel.name, size)
    if key not in bench.verdicts:
        bench.verdicts[key] = bench.passes(reader, bench.deliveries.heads(treated, bench.width, channel, size))
    return bench.verdicts[key]


def fakes(
    bench: Bench, generator: Generator, treated: Treated, reader: Reader, channel: Channel, condition: int | None
) -> Flags:
    """(N,): what it passes of the generator's edits of them; `condition` None takes all conditions in turn."""
    key = ("fakes", generator.name, treated.name, reader.name, channel.name, condition)
    if key not in bench.verdicts:
        seen = bench.deliveries.heads(treated, bench.width, channel, generator.target.size)
        edited = bench.edit(generator, seen, conditions(bench, generator, condition))
        for each in bench.detectors:  # the edits are the cost: every detector looks at them once
            its = ("fakes", generator.name, treated.name, each.name, channel.name, condition)
            bench.verdicts[its] = bench.passes(each, edited)
    return bench.verdicts[key]


def conditions(bench: Bench, generator: Generator, condition: int | None) -> npt.NDArray[np.int64]:
    """(N,): the condition of each face."""
    if condition is None:
        return bench.pairs(generator, 1)[1]
    return np.full(len(bench.stills), condition)


def families(bench: Bench, rows: Rows, wanted: Sequence[str]) -> list[Generator]:
    """The generators of these families; the families that are missing are said."""
    for family in wanted:
        if not any(g.target.family == family for g in bench.generators):
            rows.skip(f"no run of {family} among --targets", family=family)
    return [g for g in bench.generators if g.target.family in wanted]


def backbones(bench: Bench, rows: Rows, kinds: Sequence[str]) -> list[Reader]:
    """The detectors of these architectures; those that are missing are said."""
    for kind in kinds:
        if not any(r.kind == kind for r in bench.detectors):
            rows.skip(f"no run of {kind} among --detectors", detector=kind)
    return [r for r in bench.detectors if r.kind in kinds]


def names(reader: Reader) -> dict[str, str]:
    return {"detector": reader.name, "architecture": reader.kind}
