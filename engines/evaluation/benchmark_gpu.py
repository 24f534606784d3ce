"""How fast a face is protected on a GPU, beside PGD-10, the bound and whole streams; prints JSON.

    python -m engines.evaluation.benchmark_gpu [--device cuda] [--peak-tflops T --peak-gigabytes B] > gpu.json

Each side is run in turns, so that a device that slows down slows down for all. Sessions take and give arrays of the
processor, as the runtime calls them: their times hold both copies. The eager sides and the picture path work on tensors
that lie on the device. The bound counts the network's arithmetic, and its weights, inputs and outputs once
(`network_cost`); the device's peaks are its maker's, for dense half precision, and are stated in the result.

With `--device cpu` all runs here, slowly and at batch 1 and 8: to test this file, not to claim anything.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from stream_guard.errors import StreamGuardError
from stream_guard.inference import BACKENDS, Session, find_engine, open_session
from stream_guard.inference.torch_graph import TorchGraph
from stream_guard.media import device as picture_path
from stream_guard.media.hwaccel import decoding_devices, device_trouble
from stream_guard.media.loopback import to_yuv420
from stream_guard.media.synthesis import write_clip
from stream_guard.talking_head import speech, talking_head
from stream_guard.types import Box

from ..attacks.base import Linf
from ..attacks.pgd import PGD
from ..shipping import CONDITIONS
from .benchmark_disrupter import probe_in_torch
from .machine import machine
from .network_cost import network_cost

PEAKS = {
    "H200": (989, 4800),
    "H100 PCIe": (756, 2000),
    "H100": (989, 3350),
    "A100-SXM4-80GB": (312, 2039),
    "A100 80GB PCIe": (312, 1935),
    "A100": (312, 1555),
    "L40S": (362, 864),
    "L4": (121, 300),
    "T4": (65, 320),
    "RTX 4090": (165, 1008),
}
"""By words of the device's name, the first that fits: dense half-precision TFLOP/s and GB/s (NVIDIA's data sheets)."""
HALF = 2
WARM_UPS = 3
Run = Callable[[], object]


def main(arguments: list[str] | None = None) -> None:
    print(json.dumps(benchmark(parse(arguments)), indent=1))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--engine", help="the disrupter; the zoo's default")
    parser.add_argument("--batches", type=int, nargs="+", help="faces at once; 1 8 32, on the processor 1 8")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long one side runs each time")
    parser.add_argument("--peak-tflops", type=float, help="the device's half-precision TFLOP/s")
    parser.add_argument("--peak-gigabytes", type=float, help="its memory's GB/s")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 2, 4, 8], help="streams at once; none: left out")
    parser.add_argument("--clip-seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, nargs=2, default=[1920, 1080])
    return parser.parse_args(arguments)


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device; --device cpu runs the benchmark without one")
    batches = options.batches or ([1, 8, 32] if options.device == "cuda" else [1, 8])
    model = find_engine(options.engine, "disrupter").read_model()
    facts = {"benchmark": "gpu", "machine": machine(), "device": device_name(options.device)}
    facts |= {"batches": batches, "repeats": options.repeats}
    with ExitStack() as stack, torch.inference_mode(False):
        sessions, left_out = usable(options.device, options.engine)
        for session in sessions.values():
            stack.callback(session.close)
        faces = {b: measured(face_sides(options, model, sessions, b), b, options) for b in batches}
    bound = bounds(model, batches, options)
    return {
        **facts,
        "left_out": left_out,
        "microseconds_a_face": faces,
        "bound": bound,
        "times_the_bound": {b: times(faces[b], bound.get(b)) for b in batches},
        "pgd10_over": {
            b: {n: round(s["pgd10"]["median"] / v["median"], 2) for n, v in s.items()} for b, s in faces.items()
        },
        "streams": streams(options) if options.streams else {},
    }


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "the processor"


def usable(device: str, engine: str | None) -> tuple[dict[str, Session], dict[str, str]]:
    """An open session for each backend that works on the device, and why the others do not."""
    sessions, left_out = {}, {}
    for backend in BACKENDS:
        wanted = backend.on_gpu if device == "cuda" else not backend.on_gpu
        if not wanted:
            continue
        try:
            sessions[backend.name] = open_session(find_engine(engine, "disrupter"), backend.name)
        except StreamGuardError as error:
            left_out[backend.name] = str(error)
    return sessions, left_out


def face_sides(options: argparse.Namespace, model: bytes, sessions: dict[str, Session], batch: int) -> dict[str, Run]:
    """What is timed at this batch. Each run ends when its result is there."""
    rng, place = np.random.default_rng(0), torch.device(options.device)
    size = find_engine(options.engine, "disrupter").input_shape("face")[-1]
    faces = rng.random((batch, 3, size, size), np.float32)
    sides: dict[str, Run] = {"pgd10": pgd(place, batch)}
    for precision in (torch.float32, torch.float16) if place.type == "cuda" else (torch.float32,):
        sides[f"torch_eager_{str(precision)[6:]}"] = eager(model, place, precision, faces)
    for name, session in sessions.items():
        sides[name] = partial(session.run, {"face": faces})
    sides["picture_path"] = pictures(place, batch, size)
    return sides


def pgd(place: torch.device, batch: int) -> Run:
    """PGD with ten steps against the zoo's StarGAN probe at its 128 px, as `benchmark_disrupter` has it."""
    generator, condition = probe_in_torch().to(place), torch.tensor(CONDITIONS[:1]).to(place).repeat(batch, 1)
    x = torch.rand((batch, 3, 128, 128), device=place) * 2 - 1
    attack = PGD(Linf(0.05), iterations=10)
    return waited(place, lambda: attack(lambda image: generator(image, condition), x))


def eager(model: bytes, place: torch.device, precision: torch.dtype, faces: np.ndarray) -> Run:
    graph = TorchGraph(model, place, precision)
    known = graph.known({"face": faces.shape})
    there = torch.from_numpy(faces).to(place, precision)

    def run() -> object:
        with torch.inference_mode():
            return graph.run({"face": there}, known)

    return waited(place, run)


def pictures(place: torch.device, batch: int, size: int) -> Run:
    """Crops read from one picture of 1920x1080 and perturbations written to it, without the network; NV12 planes."""
    rng = np.random.default_rng(0)
    picture = to_yuv420(rng.integers(0, 255, (1080, 1920, 3), dtype=np.uint8)).reformat(format="nv12")
    here = picture_path.planes_of(picture)
    if here is None:
        raise SystemExit("NV12 planes can't be taken as tensors")
    samples = tuple(s.to(place) for s in here.samples)
    planes = picture_path.Planes(here.layout, here.colour, here.width, here.height, samples)
    boxes = [
        Box(230.0 * (i % 8) + 20, 250.0 * (i // 8) + 20, 230.0 * (i % 8) + 220, 250.0 * (i // 8) + 220)
        for i in range(batch)
    ]
    deltas = (torch.rand((batch, 3, 64, 64), device=place) - 0.5) / 16

    def run() -> object:
        picture_path.read_faces(planes, boxes, size)
        return picture_path.add_deltas(planes, boxes, deltas)

    return waited(place, run)


def waited(place: torch.device, run: Run) -> Run:
    def run_and_wait() -> object:
        made = run()
        if place.type == "cuda":
            torch.cuda.synchronize()
        return made

    return run_and_wait


def measured(sides: dict[str, Run], batch: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Microseconds a face of each side: the median over the repeats, the least and the most."""
    for run in sides.values():
        for _ in range(WARM_UPS if options.seconds else 1):
            run()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, run in sides.items():
            taken[name].append(seconds_of(run, options.seconds) / batch * 1e6)
    say(f"batch {batch}: " + ", ".join(f"{n} {median(v):.1f}" for n, v in taken.items()) + " microseconds a face")
    return {
        n: {"median": round(median(v), 2), "least": round(min(v), 2), "most": round(max(v), 2)}
        for n, v in taken.items()
    }


def seconds_of(run: Run, at_least: float) -> float:
    """Seconds a run, over as many as fill the time."""
    count, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < at_least or not count:
        run()
        count += 1
    return spent / count if spent else 0.0


def bounds(model: bytes, batches: list[int], options: argparse.Namespace) -> dict[Any, Any]:
    """The least microseconds a face at each batch, in half precision, and what they are counted from."""
    tflops, gigabytes = peaks(options)
    found: dict[Any, Any] = {"peak_tflops": tflops, "peak_gigabytes_a_second": gigabytes}
    for batch in batches:
        cost = network_cost(model, batch)
        found[batch] = {"flops_a_face": cost.flops / batch, "weights": cost.weights, "unfused_values": cost.between}
        if tflops and gigabytes:
            seconds = cost.bound_seconds(tflops * 1e12, gigabytes * 1e9, HALF)
            found[batch] |= {name: s / batch * 1e6 for name, s in seconds.items()}
            found[batch]["larger"] = max(seconds["arithmetic"], seconds["memory"]) / batch * 1e6
    return found


def peaks(options: argparse.Namespace) -> tuple[float | None, float | None]:
    """As given, else from the table; None where neither says."""
    name = device_name(options.device)
    tflops, gigabytes = next((p for part, p in PEAKS.items() if re.search(rf"\b{part}\b", name)), (None, None))
    return options.peak_tflops or tflops, options.peak_gigabytes or gigabytes


def times(faces: dict[str, dict[str, float]], bound: dict[str, float] | None) -> dict[str, float]:
    """Each side's time over the larger bound; PGD and the picture path compute other things."""
    if not bound or "larger" not in bound:
        return {}
    return {n: round(v["median"] / bound["larger"], 2) for n, v in faces.items() if n not in ("pgd10", "picture_path")}


def streams(options: argparse.Namespace) -> dict[str, Any]:
    """Pictures a second of each of several files that are protected at once, in processes of their own.

    `sustained` is the largest number for which the slowest kept 30 a second. Starting up is not counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        width, height = options.size
        clip = folder / "clip.mp4"
        write_clip(
            clip,
            talking_head(width, height, options.clip_seconds, 30),
            width=width,
            height=height,
            rate=30,
            loudness=speech,
        )
        found: dict[str, Any] = {"width": width, "height": height, "seconds": options.clip_seconds}
        for codec in hardware(options.device):
            rates = {count: at_once(clip, folder, count, codec) for count in options.streams}
            kept = [count for count, slowest in rates.items() if min(slowest) >= 30]
            found[codec] = {"fps": rates, "sustained": max(kept, default=0)}
            say(f"hwaccel {codec}: {rates}")
    return found


def hardware(device: str) -> Iterator[str]:
    """`none`, and `cuda` where it can be opened."""
    yield "none"
    if device == "cuda" and "cuda" in decoding_devices() and not device_trouble("cuda"):
        yield "cuda"


def at_once(clip: Path, folder: Path, count: int, codec: str) -> list[float]:
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "stream_guard", "protect", str(clip), str(folder / f"{codec}-{count}-{i}.mp4")),
                *("--hwaccel", codec, "--json", "--quiet", "--overwrite"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"a stream with hwaccel {codec} failed; its words stand above")
    return [round(json.loads(answer)["fps"], 2) for answer in answers]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
