"""`python -m engines evaluate detectors`: figures of trained detectors as JSON, and what a card takes from it."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch

from stream_guard.errors import UsageError
from stream_guard.inference import find_engine

from ..arguments import add_threads
from ..data.detect import still_detector
from ..evaluation.machine import machine
from ..invocation import invocation
from ..training import pick_device
from ..writing import write_json
from . import deepfakes
from .measure import report

RESULTS = Path(__file__).resolve().parents[1] / "evaluation" / "results" / "detectors.json"
RESULTS_INT8 = RESULTS.with_name("detectors_int8.json")


def add(parser: argparse.ArgumentParser) -> None:
    folders: dict[str, Any] = {"type": Path, "nargs": "+", "required": True, "metavar": "DIR"}
    parser.add_argument("--detectors", **folders, help="run folders of detectors")
    parser.add_argument("--engine", help="an engine that is measured in place of the one run of --detectors")
    parser.add_argument("--fakes", **folders, help="run folders of generators, seen in training or not")
    parser.add_argument("--data", type=Path, required=True, help="a data pack: faces of its test split")
    parser.add_argument(
        "--videos", type=Path, nargs="*", default=[], metavar="DIR", help="folders of real videos of other people"
    )
    parser.add_argument("--faces", type=int, default=0, help="at most so many people (0: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    add_threads(parser)
    parser.add_argument("--out", type=Path, default=RESULTS)


def run(arguments: argparse.Namespace) -> None:
    """Measure and write the JSON."""
    if arguments.engine and len(arguments.detectors) > 1:
        raise UsageError("--engine takes the place of one run: name one with --detectors")
    card = find_engine(arguments.engine, "detector") if arguments.engine else None
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    start, device = time.monotonic(), str(pick_device(arguments.device))
    videos = deepfakes.real_videos(arguments.videos, still_detector()) if arguments.videos else []
    made = report(arguments.detectors, arguments.data, arguments.fakes, device, arguments.faces, videos, card)
    for row, folder in zip(made["rows"], arguments.detectors, strict=True):
        row |= {"engine_sha256": card.sha256} if card else {"run_sha256": _sha256(folder / "state.pt")}
    places = {arguments.data: "PACK", arguments.out: "OUT"}
    places |= {p: f"runs/{p.name}" for p in (*arguments.detectors, *arguments.fakes)}
    places |= {p: f"videos/{p.name}" for p in arguments.videos}
    facts = {
        "table": "detectors",
        "title": "Deepfake detectors on held-out people, by generator and delivery, and on real deepfake videos",
        "command": invocation(places),
        "device": device,
        "machine": machine(),
        "seconds": round(time.monotonic() - start, 1),
    }
    write_json(arguments.out, {**facts, **made})
    print(arguments.out)


def measured(folder: Path, results: Path = RESULTS) -> dict[str, Any]:
    """What the committed figures say of the run in `folder`, flattened for its card; empty unless they are of it."""
    if not results.exists():
        return {}
    return _found("run_sha256", _sha256(folder / "state.pt"), results)


def of_engine(sha256: str, results: Path = RESULTS_INT8) -> dict[str, Any]:
    """The same of an engine's file."""
    return _found("engine_sha256", sha256, results) if results.exists() else {}


def _found(key: str, sha256: str, results: Path) -> dict[str, Any]:
    rows = [row for row in json.loads(results.read_text(encoding="utf-8"))["rows"] if row.get(key) == sha256]
    return {name: value for row in rows[:1] for name, value in _flat(row)}


def _flat(row: dict[str, Any]) -> list[tuple[str, Any]]:
    of_all = row["together"]["by_delivery"]["h264 crf 23"]
    out: list[tuple[str, Any]] = [(f"{key}_together_crf23", of_all[key]) for key in ("accuracy", "auroc")]
    out.append(("calibration_error_crf23", of_all["calibration_error"]))
    for fakes in row["fakes"]:
        name = fakes["generator"] + ("_never_seen" if fakes["seen"] is False else "")
        found = fakes["by_delivery"]["h264 crf 23"]
        out += [(f"{key}_{name}_crf23", found[key]) for key in ("accuracy", "auroc", "f1")]
    for found in row.get("protection", []):
        cell = found["passed_as_real"]["h264 crf 23"]
        kind = found["of"].replace(" ", "_")
        out += [(f"{key}_{kind}_passed_as_real_crf23", cell[key]) for key in ("unprotected", "protected")]
    if videos := row.get("real_videos"):
        passed = [clip["passed_as_real"] for clip in videos]
        out.append((f"frames_of_{len(videos)}_real_videos_passed_as_real", round(sum(passed) / len(passed), 4)))
    held_out = [clip for clip in row["deepfake_videos"] if clip["split"] == "test"]
    for kind, fake in (("deepfake_videos", True), ("their_originals", False)):
        passed = [clip["passed_as_real"] for clip in held_out if clip["fake"] == fake]
        if passed:
            out.append((f"held_out_{kind}_frames_passed_as_real", passed))
    return out


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
