"""`python -m engines.evaluation.benchmark_disrupter`: the disrupter against PGD-10, per face, side by side, as JSON.

Both protect the same face against the same generator on the same machine, alternately. PGD-10 runs in torch on the
generator at its own 128 px; the network runs in the runtime's session, alone and with the runtime's own reading and
writing of a 1280x720 picture around it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from stream_guard.inference import find_engine, open_session
from stream_guard.media.loopback import to_yuv420
from stream_guard.stages.disrupt import DisruptStage
from stream_guard.types import Box, Face, Frame

from ..attacks.base import Linf
from ..attacks.pgd import PGD
from ..generators.stargan import Generator
from ..shipping import CONDITIONS


def probe_in_torch() -> Generator:
    """The zoo's probe as a torch network with gradients: its weights, by name, out of the ONNX file."""
    model = onnx.load_from_string(find_engine("stargan-probe", "generator").read_model())
    weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in model.graph.initializer}
    width = weights["main.0.weight"].shape[0]
    network = Generator(width)
    network.load_state_dict({k: v for k, v in weights.items() if k in network.state_dict()}, strict=False)
    return network.requires_grad_(False)


def sides(threads: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    torch.set_num_threads(threads)
    generator, condition = probe_in_torch(), torch.tensor(CONDITIONS[:1])
    x = torch.from_numpy(rng.random((1, 3, 128, 128), np.float32)) * 2 - 1
    attack = PGD(Linf(0.05), iterations=10)
    session = open_session(find_engine(None, "disrupter"), threads=threads)
    face = rng.random((1, 3, 128, 128), np.float32)
    stage = DisruptStage(DisruptStage.Options.model_validate({"threads": threads}))
    stage.open()
    picture = to_yuv420(rng.integers(0, 255, (720, 1280, 3), dtype=np.uint8))
    frame = Frame(picture, 0, Fraction(1, 25), 0, (Face(0, Box(500, 200, 756, 530), 1.0),), faces_known=True)
    return {
        "pgd10": lambda: attack(lambda image: generator(image, condition), x),
        "network": lambda: session.run({"face": face}),
        "stage": lambda: list(stage.process(frame)),
    }


def measure(repeats: int, threads: int) -> dict[str, Any]:
    """Median seconds a face of each side, taken in turns, and the ratios."""
    runs = sides(threads)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for name in runs:
        runs[name]()
    for _ in range(repeats):
        for name, run in runs.items():
            count = 1 if name == "pgd10" else 10
            start = time.perf_counter()
            for _ in range(count):
                run()
            taken[name].append((time.perf_counter() - start) / count)
    median = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "milliseconds_a_face": {k: round(v * 1000, 3) for k, v in median.items()},
        "spread_ms": {k: [round(min(v) * 1000, 3), round(max(v) * 1000, 3)] for k, v in taken.items()},
        "pgd10_over_network": round(median["pgd10"] / median["network"], 1),
        "pgd10_over_stage": round(median["pgd10"] / median["stage"], 1),
        "repeats": repeats,
        "threads": threads,
        "backend": open_session(find_engine(None, "disrupter")).backend,
        "device": f"CPU, {platform.machine()}, torch {torch.__version__}",
        "picture": "1280x720 yuv420p, face 256 px wide",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.repeats, arguments.threads), indent=1))


if __name__ == "__main__":
    main()
