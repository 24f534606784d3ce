"""An attacker who purifies: each generator as it is, and behind a restorer that the attacker runs first.

The edit of what was restored is compared with that of the original picture, which nobody restored: the control says
what the attacker loses by purifying.
"""

from __future__ import annotations

from ..deliveries import Treated
from .bench import Bench, Generator
from .disruption import METHODS, about, columns, quality
from .document import Rows

THROUGH = "bound: PGD through the codec and the first restorer"


def purified(bench: Bench) -> Rows:
    """The disrupter, disrupters that learned against a restorer, PGD through the codec with and without it."""
    rows = Rows()
    if not bench.arguments.purifiers:
        rows.skip("no run of a restorer was given by --purifiers", generators="any")
    engines = {METHODS["ours"]: bench.engine, **bench.trained("purified")}
    treated = {METHODS["none"]: bench.method("none")}
    treated |= {name: bench.method("ours", engine=engine) for name, engine in engines.items()}
    few = min(bench.arguments.bound_faces, len(bench.stills))
    for generator in bench.generators:
        behind = bench.purified(generator)
        bounds = _bounds(bench, generator, behind) if few else {}
        for seen in (generator, *behind):
            for name, made in treated.items():
                _add(rows, bench, seen, name, made)
            for name, made in bounds.items():
                _add(rows, bench, seen, name, made, few)
    if few:
        rows.notes.append(f"The bounds are made on the first {few} faces, in {bench.arguments.bound_iterations} steps.")
    return rows


def _bounds(bench: Bench, generator: Generator, behind: list[Generator]) -> dict[str, Treated]:
    made = {METHODS["ours"]: bench.method("ours"), METHODS["bound"]: bench.method("bound", generator)}
    return made | ({THROUGH: bench.method("bound", behind[0])} if behind else {})


def _add(rows: Rows, bench: Bench, generator: Generator, method: str, made: Treated, first: int | None = None) -> None:
    labels = {**about(generator), "method": method, "face_px": bench.width}
    if first is not None:
        labels["first_faces"] = first
    cost = quality(bench, made, bench.width, first)
    rows.add(labels, columns(bench, generator, made, bench.width, first), **cost)
