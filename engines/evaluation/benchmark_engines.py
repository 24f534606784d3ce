"""What each of the zoo's networks takes for a face, in turns, as JSON:

    python -m engines.evaluation.benchmark_engines > engines/evaluation/results/engines.json

All that read a face crop of a fixed size, on the processor's backends, with one thread and with all of them, a face by
itself and eight at once; and a whole look of the stage `detect` with each detector of its default's size: out of a
1280x720 picture, with a face 256 px wide.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from stream_guard.inference import Card, find_engine, list_engines, open_session
from stream_guard.media.loopback import to_yuv420
from stream_guard.stages.detect import DetectOptions, DetectStage
from stream_guard.types import Box, Face, Frame

from .machine import machine

BACKENDS = ("onnxruntime", "openvino")
BATCHES = (1, 8)
LEAST_SECONDS = 0.05
"""A turn runs as often as takes this long: one run of a small network is too short to time."""

Sides = dict[tuple[str, str, int, int], Callable[[], object]]
"""By engine, backend, threads and faces at once."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", help="those with these names only")
    parser.add_argument("--backend", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    cards = [card for card in list_engines() if of_faces(card) and (not options.engine or card.name in options.engine)]
    facts = machine()
    taken = times(sides(cards, options), options.repeats)
    print(json.dumps(document(cards, taken, options.repeats, facts), indent=1))


def of_faces(card: Card) -> bool:
    """Whether it reads face crops of a fixed size, as many at once as one likes."""
    return card.kind != "generator" and all(min(spec.shape[1:]) > 0 for spec in card.inputs)


def sides(cards: list[Card], options: argparse.Namespace) -> Sides:
    made: Sides = {}
    rng = np.random.default_rng(0)
    for backend, threads in itertools.product(options.backend, options.threads):
        for card in cards:
            session = open_session(card, backend, threads=threads)
            for batch in BATCHES:
                shapes = {spec.name: (batch, *spec.shape[1:]) for spec in card.inputs}
                given = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
                made[card.name, backend, threads, batch] = partial(session.run, given)
            if card.kind == "detector" and card.inputs == find_engine(None, "detector").inputs:
                made[f"stage detect, {card.name}", backend, threads, 1] = look(rng, card, backend, threads)
    return made


def look(rng: np.random.Generator, card: Card, backend: str, threads: int) -> Callable[[], list[Frame]]:
    stage = DetectStage(DetectOptions(engine=card.name, every=1, backend=backend, threads=threads))
    stage.open()
    picture = to_yuv420(rng.integers(0, 255, (720, 1280, 3), dtype=np.uint8))
    face = Face(0, Box(500, 200, 756, 530), 1.0)
    frames = (Frame(picture, n, Fraction(1, 25), n, (face,), faces_known=True) for n in itertools.count())
    return lambda: list(stage.process(next(frames)))


def times(runs: Sides, repeats: int) -> dict[tuple[str, str, int, int], list[float]]:
    """Milliseconds a face of every turn."""
    often = {}
    for key, run in runs.items():
        run()
        started = time.perf_counter()
        run()
        often[key] = max(1, math.ceil(LEAST_SECONDS / (time.perf_counter() - started)))
    taken: dict[tuple[str, str, int, int], list[float]] = {key: [] for key in runs}
    for turn in range(repeats):
        for key, run in runs.items():
            started = time.perf_counter()
            for _ in range(often[key]):
                run()
            taken[key].append((time.perf_counter() - started) * 1000 / often[key] / key[3])
        print(f"turn {turn + 1} of {repeats}", file=sys.stderr)
    return taken


def document(
    cards: list[Card],
    taken: dict[tuple[str, str, int, int], list[float]],
    repeats: int,
    facts: dict[str, object],
) -> dict[str, Any]:
    rows = [
        {
            "engine": engine,
            "backend": backend,
            "threads": threads,
            "faces_at_once": batch,
            "milliseconds_a_face": round(statistics.median(found), 2),
            "spread": [round(min(found), 2), round(max(found), 2)],
        }
        for (engine, backend, threads, batch), found in taken.items()
    ]
    return {
        "benchmark": "engines",
        "command": "python -m engines.evaluation.benchmark_engines",
        "machine": facts,
        "repeats": repeats,
        "stage": "one look of `detect` at a face 256 px wide in a 1280x720 yuv420p picture",
        "engines": {
            card.name: {"kind": card.kind, "sha256": card.sha256, "bytes": card.model_path.stat().st_size}
            for card in cards
        },
        "rows": rows,
    }


if __name__ == "__main__":
    main()
