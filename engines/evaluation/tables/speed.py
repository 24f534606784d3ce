"""Table 9: seconds an image, PGD-10 on each generator against the disrupter, taken in turns on the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch

from stream_guard.types import Box, Face, Frame

from ...attacks.base import Linf
from ...attacks.pgd import PGD
from ..delivered import to_bt709
from ..figures import mean
from ..protectors import open_stage
from .bench import EPSILON, Bench, Generator
from .document import Rows

Run = Callable[[], object]


def table9(bench: Bench) -> Rows:
    """PGD-10 in torch at the generator's own size; the disrupter in the runtime, alone and with its picture."""
    rows = Rows()
    engine, size = bench.engine, bench.engine.card.input_shape("face")[-1]
    rng = np.random.default_rng(bench.seed)
    face = rng.integers(0, 255, (1, size, size, 3), dtype=np.uint8)
    picture = to_bt709(rng.integers(0, 255, (720, 1280, 3), dtype=np.uint8))
    frame = Frame(picture, 0, Fraction(1, 25), 0, (Face(0, Box(500, 200, 756, 530), 1.0),), faces_known=True)
    stage = open_stage(engine.card, hold=1, threads=bench.arguments.threads or 1)
    sides: dict[str, Run] = {
        "disrupter, the network": lambda: engine.delta(face),
        "disrupter, with reading and writing 1280x720": lambda: stage.process(frame),
        **{f"PGD-10 on {g.name}": _pgd(bench, g) for g in bench.generators},
    }
    taken = _in_turns(bench, sides)
    stage.close()
    for name, seconds in taken.items():
        rows.add({"method": name}, {"time": {"seconds": mean(seconds, range(len(seconds)), bench.seed)}})
    network = float(np.median(taken["disrupter, the network"]))
    for generator in bench.generators:
        ratio = float(np.median(taken[f"PGD-10 on {generator.name}"])) / network
        rows.notes.append(f"PGD-10 on {generator.name} takes {ratio:.0f} times the network's time (medians).")
    rows.notes.append("One image a call. n counts images; the interval is a bootstrap over them.")
    return rows


def _pgd(bench: Bench, generator: Generator) -> Run:
    target = generator.target
    x = torch.rand(1, 3, target.size, target.size, generator=torch.Generator().manual_seed(bench.seed)) * 2 - 1
    x, condition = x.to(bench.device), target.conditions[:1]
    attack = PGD(Linf(EPSILON), seed=bench.seed)

    def run() -> object:
        # .cpu() also waits for the device
        return attack(lambda image: target(image, condition), x).cpu()

    return run


def _in_turns(bench: Bench, sides: dict[str, Run]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    images = len(bench.stills)
    bench.progress.begin("timing", images)
    for _ in range(images):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
        bench.progress.tick()
    return taken
