"""`python -m engines calibrate`: measures clean and attacked faces with a probe of the zoo and writes `magdr.toml`."""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stream_guard.errors import UsageError
from stream_guard.magdr.calibration import Calibration, ProbeCalibration, load_calibration
from stream_guard.magdr.detector import Evidence, gather, judge
from stream_guard.magdr.engines import Editor, Parser, open_editor, open_parser
from stream_guard.magdr.sensitivity import CHANGES
from stream_guard.magdr.views import METRICS

from ..data.clips import person_of
from ..data.heads import HEAD_SHARE
from ..generators.families import target_of
from ..invocation import invocation
from ..shipping import ZOO
from ..writing import whole, write_text
from . import faces, video
from .faces import Crops
from .fit import Asked, fit

FILE = ZOO / "magdr" / "magdr.toml"
CONDITIONS = {"stargan-probe": ("Blond_Hair", "Male")}
OPERATIONS = 8
TRAIN, CLEAN, VALIDATION = 24, 120, 73
VIDEO_WEIGHT = 3
"""How often each look at a clip counts: there are few, and video is what is screened."""
CHUNK = 48
"""People that are measured, and kept in the work folder, together."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="PACK")
    parser.add_argument("--probe", required=True, help="a generator's name in the zoo, or its folder")
    parser.add_argument(
        "--target", type=Path, required=True, metavar="DIR", help="the run that the probe was made from"
    )
    parser.add_argument("--conditions", nargs="+", help="edits to ask, by name (default: two of the probe's)")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="keeps attacked faces between runs")
    parser.add_argument("--train", type=int, default=TRAIN, help="people to attack and fit on")
    parser.add_argument(
        "--clean",
        type=int,
        default=CLEAN,
        help="more people, not attacked: three fifths to fit, the rest for thresholds",
    )
    parser.add_argument("--validation", type=int, default=VALIDATION, help="people to choose thresholds on")
    parser.add_argument(
        "--clips",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="clean videos: half of their people to fit, half for thresholds",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FILE, help="other probes in it are kept")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Bench:
    """One probe and the parser, the generator behind the probe, and what the probe is asked."""

    editor: Editor
    parser: Parser
    target: Any
    asked: Asked
    work: Path
    seed: int

    @property
    def rows(self) -> list[int]:
        """Which of the target's conditions are asked."""
        names = list(self.target.condition_names)
        return [names.index(name) for name in self.asked.conditions]

    @property
    def draft(self) -> ProbeCalibration:
        return self.asked.draft()

    def evidence(self, crops: Crops, what: str) -> list[Evidence]:
        """What the detectors measure of each crop; kept in the work folder for these crops and this question."""
        asked = f"{self.asked} {METRICS} {CHANGES}".encode()
        cache = self.work / f"{what}-{zlib.crc32(crops.tobytes() + asked):08x}.npz"
        if cache.exists():
            return read_evidence(cache)
        found: list[Evidence] = []
        if not len(crops):
            return found
        for k, crop in enumerate(crops):
            found.append(gather(crop, self.editor, self.parser, self.draft))
            if k % 16 == 15 or k == len(crops) - 1:
                print(f"{what}: {k + 1} of {len(crops)} faces", flush=True)
        write_evidence(found, cache)
        return found

    def attacked(self, people: faces.Split, attack: str, part: str) -> torch.Tensor:
        """The attack's change of each head of the people of `part` (train, test), from the work folder or made now."""
        cache = self.work / f"{self.editor.card.name}-{part}-{attack}.npz"
        return faces.attacked(people, self.target, self.rows, attack, self.seed, cache)

    def close(self) -> None:
        self.editor.close()
        self.parser.close()


def open_bench(arguments: argparse.Namespace) -> Bench:
    """The networks that the command line names. Raises UsageError where probe and run do not belong together."""
    editor, parser = open_editor(arguments.probe, "onnxruntime"), open_parser(None, "onnxruntime")
    target = target_of(arguments.target, arguments.data)
    conditions = tuple(arguments.conditions or CONDITIONS.get(editor.card.name, tuple(editor.rows)[:2]))
    for name in conditions:
        if name not in editor.rows or name not in target.condition_names:
            raise UsageError(f"no condition {name!r}; the probe has {', '.join(editor.rows)}")
    asked = Asked(editor.card.sha256, parser.card.sha256, conditions, OPERATIONS, arguments.seed)
    return Bench(editor, parser, target, asked, arguments.work, arguments.seed)


def run(arguments: argparse.Namespace) -> None:
    if min(arguments.train, arguments.validation) < 1:
        raise UsageError(
            "--train and --validation must be 1 or more: without such people there is nothing to fit or to choose a "
            f"threshold on; got {arguments.train} and {arguments.validation}"
        )
    if arguments.out.exists():
        load_calibration(arguments.out)
    torch.manual_seed(arguments.seed)
    bench = open_bench(arguments)
    try:
        sharp_enough(arguments.data, bench.editor.size)
        calibrated, results = calibrate(bench, arguments)
    finally:
        bench.close()
    known = load_calibration(arguments.out) if arguments.out.exists() else None
    name = bench.editor.card.name
    places = {arguments.data: "PACK", arguments.work: "WORK", arguments.out: "OUT"}
    places[arguments.target] = f"runs/{arguments.target.name}"
    calibration = Calibration(
        command=invocation(places, arguments.clips),
        seed=arguments.seed,
        data="heads of the pack: middles, widths and weights on training people, thresholds on validation people"
        + _video_words(arguments.clips),
        notes="w and lambda are fitted on attacked training people (PGD, C&W); a calibration is valid for these "
        "networks only. Scores of content that no generator here resembles say little.",
        probes={**(known.probes if known else {}), name: calibrated},
        inputs=known.inputs if known else None,
        results={**(known.results if known else {}), name: results},
    )
    write(calibration, arguments.out)
    print(json.dumps(results, indent=1))


def sharp_enough(data: Path, size: int) -> None:
    """Raise UsageError where the pack's heads are smaller than the probe's input: enlarged ones are soft, and calm."""
    head = round(faces.heads_of(data, ["val"], 1)[0].rgb.shape[0] * HEAD_SHARE)
    if head < size:
        raise UsageError(
            f"{data} has heads of {head} px, the probe sees {size}: enlarged they are softer than what comes in, and "
            f"thresholds set on them raise false alarms; pack them again with --size {math.ceil(size / HEAD_SHARE)} or "
            "more (fewer of them, where they must fit)"
        )


def calibrate(bench: Bench, arguments: argparse.Namespace) -> tuple[ProbeCalibration, dict[str, Any]]:
    """The calibration of one probe, and its shares of alarms on the faces that it was set on."""
    people, more = _people(arguments)
    filmed = [
        [e for clip in clips for e in bench.evidence(video.crops(clip, bench.editor.size), f"clip-{clip.stem}")]
        for clips in by_person(arguments.clips)
    ]
    clean = [e for c in faces.CHANNELS for e in bench.evidence(faces.clean(people, c), f"train-clean-{c}")]
    extra = [] if more is None else bench.evidence(faces.clean(more, "8bit"), "train-more-8bit")
    kept = 3 * len(extra) // 5
    clean += extra[:kept]
    clean += [e for part in filmed[::2] for e in part] * VIDEO_WEIGHT
    attacked = []
    for attack in faces.ATTACKS:
        change = bench.attacked(people, attack, "train")
        for channel in faces.CHANNELS:
            attacked += bench.evidence(attacked_crops(people, change, channel), f"train-{attack}-{channel}")
    kinds, held_out = validation(bench, arguments)
    unseen = [*zip(kinds, zip(*held_out.values(), strict=True), strict=True)]
    unseen += [(more.kinds[k], (extra[k],)) for k in range(kept, len(extra))] if more is not None else []
    unseen += [("video", tuple(part)) for part in filmed[1::2] if part]
    thresholds: dict[str, list[Sequence[Evidence]]] = {}
    for kind, person in unseen:
        thresholds.setdefault(kind, []).append(person)
    calibrated = fit(bench.asked, clean, attacked, thresholds)
    alarms = {f"false_alarms_validation_{c}": share(part, calibrated) for c, part in held_out.items()}
    return calibrated, {
        **alarms,
        "validation_people": arguments.validation,
        "threshold_people": sum(map(len, thresholds.values())),
        **{f"threshold_people_{kind or 'unknown'}": len(part) for kind, part in sorted(thresholds.items())},
        "training_people": len(people.names) + kept,
        "attacked_people": len(people.names),
        "clips": len(arguments.clips),
        "found_training_attacked": share(attacked, calibrated),
    }


def _people(arguments: argparse.Namespace) -> tuple[faces.Split, faces.Split | None]:
    """Who is attacked, and who else is fitted on. Raises UsageError where the pack lacks them, or validation people."""
    faces.heads_of(arguments.data, ["val"], arguments.validation)  # said before the slow attacks
    people = faces.split(arguments.data, ["train"], arguments.train, arguments.seed)
    if not arguments.clean:
        return people, None
    more = faces.split(arguments.data, ["train"], arguments.clean, arguments.seed, evenly=True, without=people.names)
    return people, more


def by_person(clips: Sequence[Path]) -> list[list[Path]]:
    """Each person's clips: nobody may be fitted on and have a say in thresholds as well."""
    found: dict[str, list[Path]] = {}
    for clip in clips:
        found.setdefault(person_of(clip.stem), []).append(clip)
    return list(found.values())


def _video_words(clips: Sequence[Path]) -> str:
    if not clips:
        return ""
    return f"; clean video: {len(clips)} clips of {len(by_person(clips))} people, half of them for each"


def validation(bench: Bench, arguments: argparse.Namespace) -> tuple[list[str], dict[str, list[Evidence]]]:
    """The kind of picture of each clean validation person, and what is measured of them after each channel."""
    kinds: list[str] = []
    found: dict[str, list[Evidence]] = {channel: [] for channel in faces.CHANNELS}
    while len(kinds) < arguments.validation:
        count = min(CHUNK, arguments.validation - len(kinds))
        part = faces.split(arguments.data, ["val"], count, arguments.seed, skip=len(kinds), evenly=True)
        kinds += part.kinds
        for channel, seen in found.items():
            seen += bench.evidence(faces.clean(part, channel), f"val-clean-{channel}")
    return kinds, found


def attacked_crops(people: faces.Split, change: torch.Tensor, channel: str) -> Crops:
    if channel == "8bit":
        return faces.to_bytes((people.heads() + change).clamp(0, 1))
    return people.delivered(change, faces.CHANNELS[channel])


def write_evidence(found: Sequence[Evidence], path: Path) -> None:
    parts = ("distances", "changes", "counts", "flags")
    arrays = {name: np.stack([getattr(e, name) for e in found]) for name in parts}
    with whole(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes names of arrays for options


def read_evidence(path: Path) -> list[Evidence]:
    stored = faces.arrays_in(path)
    rows = [stored[name] for name in ("distances", "changes", "counts", "flags")]
    return [Evidence(*row) for row in zip(*rows, strict=True)]


def share(evidence: Sequence[Evidence], calibration: ProbeCalibration) -> float:
    """The share that the detector calls perturbed."""
    return round(float(np.mean([judge(e, calibration).perturbed for e in evidence])), 4)


def write(calibration: Calibration, path: Path) -> None:
    """The calibration as TOML: strings, numbers and lists are written as in JSON."""
    data = calibration.model_dump()
    lines = [f"{key} = {json.dumps(data[key])}" for key in ("command", "seed", "data", "notes")]
    for name, probe in data["probes"].items():
        lines += ["", f"[probes.{name}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in probe.items() if not isinstance(value, dict)]
        for part in ("distortion", "consistency"):
            lines += ["", f"[probes.{name}.{part}]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in probe[part].items()]
    if data["inputs"] is not None:
        lines += ["", "[inputs]", *(f"{key} = {json.dumps(value)}" for key, value in data["inputs"].items())]
    for name, results in data["results"].items():
        lines += ["", f"[results.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in results.items())]
    write_text(path, "\n".join(lines) + "\n")
