"""`python -m engines calibrate-inputs`: where the detector of perturbed inputs counts as too much, on clean people."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from stream_guard.errors import UsageError
from stream_guard.inference import find_engine
from stream_guard.magdr.calibration import Calibration, InputCalibration, load_calibration
from stream_guard.magdr.inputs import InputDetector, open_inputs, value

from ..data import pack
from ..invocation import invocation
from . import faces, video
from .calibrate import FILE, write
from .faces import Crops
from .train_perturbation import NAME

ROOM = 0.25
"""How far above the largest clean score the threshold lies, in units of log-odds: other people are clean too."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="PACK")
    parser.add_argument("--engine", default=NAME, help="a name in the zoo, or a folder")
    parser.add_argument(
        "--clips", type=Path, nargs="*", default=[], metavar="PATH", help="clean videos, for thresholds"
    )
    parser.add_argument("--alarms", type=float, default=0.01, help="share of clean people it may be wrong about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FILE, help="its probes are kept")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.alarms < 1:
        raise UsageError(f"--alarms must be a share from 0 to below 1, got {arguments.alarms:g}")
    known = load_calibration(arguments.out)
    card = find_engine(arguments.engine, "perturbation")
    draft = InputCalibration(engine=card.name, sha256=card.sha256, threshold=0.0)
    detector = open_inputs(draft, arguments.engine, "onnxruntime")
    try:
        people = pack.read(arguments.data, ["val"])
        scores = {
            channel: log_odds(detector, faces.clean(faces.split(arguments.data, ["val"], len(people), 0), channel))
            for channel in faces.CLEAN_CHANNELS
        }
        filmed = [log_odds(detector, video.crops(clip, detector.size)) for clip in arguments.clips]
    finally:
        detector.close()
    found, results = calibrated(draft, scores, [part for part in filmed if len(part)], arguments.alarms)
    results |= {"command": _command(arguments)}
    updated = known.model_copy(update={"inputs": found, "results": {**known.results, "inputs": results}})
    write(Calibration.model_validate(updated.model_dump()), arguments.out)
    print(json.dumps(results, indent=1))


def log_odds(detector: InputDetector, crops: Crops) -> np.ndarray:
    """(N,): of each crop."""
    parts = [detector.log_odds(list(crops[k : k + 16])) for k in range(0, len(crops), 16)]
    return np.array([odds for part in parts for odds in part])


def calibrated(
    draft: InputCalibration, scores: dict[str, np.ndarray], filmed: list[np.ndarray], alarms: float
) -> tuple[InputCalibration, dict[str, Any]]:
    """The threshold that at most a share `alarms` of clean people exceeds after each delivery, and no clean clip."""
    worst = [float(np.sort(part)[-1 - int(alarms * len(part))]) for part in scores.values()]
    limit = max([*worst, *(float(np.median(part)) for part in filmed)]) + ROOM
    found = draft.model_copy(update={"threshold": round(float(limit), 4)})
    shares = {
        f"false_alarms_validation_{name}": round(float(np.mean([value(o, found) >= 0.5 for o in part])), 4)
        for name, part in scores.items()
    }
    return found, {**shares, "validation_people": len(next(iter(scores.values()))), "clips": len(filmed)}


def _command(arguments: argparse.Namespace) -> str:
    return invocation({arguments.data: "PACK", arguments.out: "OUT"}, arguments.clips)
