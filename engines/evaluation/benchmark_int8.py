"""The disrupter in 8-bit integers beside float32 on the processor: time a face, change of its delta, what it disrupts.

    python -m engines.evaluation.benchmark_int8 PACK [--media MEDIA] [--write FOLDER] > int8.json

The convolutions are quantised statically by ONNX Runtime (QDQ, weights by channel), with the range of each tensor from
faces of the pack's validation split; the same file then runs on ONNX Runtime and on OpenVINO. The delta's error is
measured on faces of the test split. With `--media` both protect the same held-out faces, which are delivered and edited
as by `evaluate delivered`; both run on OpenVINO there. `--write` leaves an engine's folder with its card.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stream_guard.audit.probes import load_probes
from stream_guard.inference import Card, find_engine, open_session
from stream_guard.stages.disrupt import DisruptOptions, DisruptStage

from ..data import pack
from ..quantising import quantised, write
from .delivered import Perturb, measure
from .machine import machine
from .methods import disrupter
from .run import held_out

Faces = npt.NDArray[np.float32]
BACKENDS = ("openvino", "onnxruntime")
LAST = "/head/Conv"
"""P's last convolution: it costs little, and in 8 bits it doubled the delta's error."""
COMMAND = "python -m engines.evaluation.benchmark_int8 PACK --media MEDIA --write FOLDER"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--engine", help="the disrupter; the zoo's default")
    parser.add_argument("--faces", type=int, default=128, help="faces for calibration, and for the delta's error")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip", nargs="*", default=[LAST], help="convolutions that stay in float32, by name")
    parser.add_argument("--media", type=Path, help="held-out stills, as `evaluate delivered` takes them")
    parser.add_argument("--probes", nargs="+", default=["stargan-probe", "fomm-probe"])
    parser.add_argument("--stills", type=int, default=48)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 384])
    parser.add_argument("--crf", type=int, nargs="+", default=[20, 30])
    parser.add_argument("--write", type=Path, help="an empty folder for the quantised engine")
    options = parser.parse_args(arguments)
    card = find_engine(options.engine, "disrupter")
    calibration = read_faces(options.pack, "val", card.input_shape("face")[-1], options.faces)
    small = quantised(card.read_model(), "face", calibration, options.skip)
    found = benchmark(card, small, options)
    if options.write is not None:
        write(card, small, options.write, COMMAND, card_results(found))
    print(json.dumps(found, indent=1))


def benchmark(card: Card, small: bytes, options: argparse.Namespace) -> dict[str, Any]:
    size, model = card.input_shape("face")[-1], card.read_model()
    seen = read_faces(options.pack, "test", size, options.faces)
    spent = side_by_side(model, small, seen[:1], options)
    return {
        "benchmark": "int8",
        "command": "python -m engines.evaluation.benchmark_int8 PACK --media MEDIA",
        "int8_sha256": hashlib.sha256(small).hexdigest(),
        "machine": machine(),
        "engine": card.name,
        "sha256": card.sha256,
        "calibration_faces": options.faces,
        "kept_in_float32": options.skip,
        "threads": options.threads,
        "repeats": options.repeats,
        "bytes": {"float32": len(model), "int8": len(small)},
        "milliseconds_a_face": spent,
        "int8_gains": {
            b: round(spent[f"{b}_float32"]["median"] / spent[f"{b}_int8"]["median"] - 1, 3) for b in BACKENDS
        },
        "delta": {backend: delta_error(model, small, seen, card.epsilon or 1.0, backend) for backend in BACKENDS},
        "delivered": delivered(card, small, options) if options.media is not None else [],
    }


def delivered(card: Card, small: bytes, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both on the same clips: one row a probe, width and crf; `lost` is in points of %dis."""
    stills = held_out(options.media, options.stills, 0)
    rows = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        write(card, small, Path(name) / "int8", COMMAND)
        perturb: dict[str, Perturb | None] = {"control": None}
        for side, folder in (("float32", card.model_path.parent), ("int8", Path(name) / "int8")):
            stage = DisruptStage(DisruptOptions(engine=str(folder), backend="openvino"))
            stage.open()
            stack.callback(stage.close)
            perturb[side] = disrupter(stage)
        for probe in load_probes(options.probes):
            for width, crf in product(options.widths, options.crf):
                tallies = measure(stills, width, crf, probe, perturb)
                found = {side: tallies[side].summary(tallies["control"]) for side in ("float32", "int8")}
                shares = [float(str(found[side]["disrupted"])) for side in ("float32", "int8")]
                lost = round(100 * (shares[0] - shares[1]), 2)
                rows.append({"probe": probe.name, "width": width, "crf": crf, **found, "lost": lost})
                print(probe.name, width, crf, shares, file=sys.stderr, flush=True)
    return rows


def read_faces(path: Path, split: str, size: int, count: int) -> Faces:
    """(N, 3, size, size) from 0 to 1, as the runtime feeds them, spread over the split."""
    heads = pack.read(path, [split])
    chosen = [heads[i] for i in np.linspace(0, len(heads) - 1, min(count, len(heads))).astype(int)]
    scaled = [np.asarray(Image.fromarray(head.rgb).resize((size, size), Image.Resampling.BILINEAR)) for head in chosen]
    return np.ascontiguousarray(np.stack(scaled).transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def card_results(found: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the measurement: likeness of the deltas, and %dis as other cards name it."""
    rows = {
        f"disrupted_{row['probe'].removesuffix('-probe')}_face{row['width']}px_crf{row['crf']}": row["int8"][
            "disrupted"
        ]
        for row in found["delivered"]
    }
    return {"cosine_to_float32": found["delta"]["openvino"]["cosine_mean"], **rows}


def side_by_side(model: bytes, small: bytes, face: Faces, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds a face of each side, taken in turns."""
    sides: dict[str, Callable[[], object]] = {}
    for backend in BACKENDS:
        for name, bytes_ in (("float32", model), ("int8", small)):
            session = open_session(bytes_, backend, threads=options.threads)
            sides[f"{backend}_{name}"] = partial(session.run, {"face": face})
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(options.repeats):
        for name, run in sides.items():
            started = time.perf_counter()
            for _ in range(10):
                run()
            taken[name].append((time.perf_counter() - started) * 100)
    print({name: round(median(v), 2) for name, v in taken.items()}, file=sys.stderr)
    return {
        n: {"median": round(median(v), 3), "least": round(min(v), 3), "most": round(max(v), 3)}
        for n, v in taken.items()
    }


def delta_error(model: bytes, small: bytes, faces: Faces, epsilon: float, backend: str) -> dict[str, float]:
    """How far the deltas are apart, as shares of epsilon, and how alike their directions are."""
    wanted, got = (open_session(m, backend).run({"face": faces})["delta"] for m in (model, small))
    flat, other = wanted.reshape(len(faces), -1), got.reshape(len(faces), -1)
    cosine = (flat * other).sum(1) / (np.linalg.norm(flat, axis=1) * np.linalg.norm(other, axis=1) + 1e-12)
    off = np.abs(got - wanted) / epsilon
    return {
        "mean_off_in_epsilons": round(float(off.mean()), 4),
        "p99_off_in_epsilons": round(float(np.quantile(off, 0.99)), 4),
        "mean_size_in_epsilons": round(float(np.abs(wanted).mean() / epsilon), 4),
        "cosine_mean": round(float(cosine.mean()), 4),
        "cosine_least": round(float(cosine.min()), 4),
    }


if __name__ == "__main__":
    main()
