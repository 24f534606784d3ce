"""`python -m engines evaluate magdr`: detection (Table 1), restoration (Table 2) and the adaptive attack (eq. 3).

One task a run: a probe and the generator behind it. Results are kept by task in results/magdr.json. People are of the
test split, photographs alone. Positive is *perturbed*: precision is that of the word `perturbed`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stream_guard.errors import UsageError
from stream_guard.inference import find_engine
from stream_guard.inference.card import Kind
from stream_guard.magdr import metrics
from stream_guard.magdr.calibration import ProbeCalibration, load_calibration
from stream_guard.magdr.detector import Detector, Evidence, judge
from stream_guard.magdr.engines import from_rgb
from stream_guard.magdr.inputs import open_inputs, value
from stream_guard.magdr.reconstructor import restore
from stream_guard.magdr.restorer import open_restorer

from .. import importing
from ..evaluation.figures import detection, l2, mean, share
from ..evaluation.protectors import open_engine
from ..evaluation.tables.document import device_words
from ..invocation import invocation
from ..shipping import RESULTS
from ..writing import write_json
from . import baselines, faces
from .adaptive import Evade, through_operations
from .calibrate import TRAIN, VALIDATION, Bench, attacked_crops, open_bench
from .calibrate_inputs import log_odds
from .faces import Crops
from .train_perturbation import CLEAN, PERTURBED

Row = dict[str, Any]
PARTS: dict[str, tuple[Kind, ...]] = {
    "detection": ("disrupter", "perturbation"),
    "restoration": ("perturbation", "restorer"),
    "adaptive": ("perturbation",),
}
"""The tables, and the networks of the zoo that have a say in each beside probe and parser."""
OURS = ("DD", "CD", "MagDR", "inputs", "MagDR or inputs")
"""The paper's two, their sum, the learned detector of inputs, and what the stage says: either."""
ITERATIONS = (5, 10, 20, 40)
DISRUPTED = 0.05


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, choices=["editing", "reenactment", "replacement"])
    parser.add_argument("--data", type=Path, required=True, metavar="PACK")
    parser.add_argument("--probe", required=True, help="a generator's name in the zoo, or its folder")
    parser.add_argument(
        "--target", type=Path, required=True, metavar="DIR", help="the run that the probe was made from"
    )
    parser.add_argument("--conditions", nargs="+", help="as given to `calibrate`")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="keeps attacked faces between runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--faces", type=int, default=32, help="held-out people for detection")
    parser.add_argument("--restored", type=int, default=12, help="of them, for restoration")
    parser.add_argument("--hunted", type=int, default=12, help="of them, for the adaptive attack")
    parser.add_argument("--looks", type=int, default=120, help="of the reconstructor at each face")
    parser.add_argument("--train", type=int, default=TRAIN, help="as given to `calibrate`; baselines train on them too")
    parser.add_argument("--validation", type=int, default=VALIDATION, help="as given to `calibrate`")
    parser.add_argument("--calibration", type=Path, help="written by `calibrate` (default: the zoo's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "magdr.json")
    parser.set_defaults(run=run)


class Tables:
    """What the parts of one task share: networks, people, attacks and the calibration."""

    def __init__(self, bench: Bench, arguments: argparse.Namespace) -> None:
        self.bench, self.a = bench, arguments
        known = load_calibration(arguments.calibration).probes
        if bench.editor.card.name not in known:
            raise UsageError(f"calibrate the probe {bench.editor.card.name!r} first: python -m engines calibrate")
        self.detector = Detector(bench.editor, bench.parser, known[bench.editor.card.name])
        self.calibration: ProbeCalibration = self.detector.calibration
        if self.calibration.conditions != bench.asked.conditions:
            raise UsageError(
                f"the probe was calibrated for the edits {', '.join(self.calibration.conditions)}, not for "
                f"{', '.join(bench.asked.conditions)}: give the same --conditions as to calibrate"
            )
        self.inputs = load_calibration(arguments.calibration).inputs or load_calibration(None).inputs
        self.people = faces.split(arguments.data, ["test"], arguments.faces, arguments.seed, photographs=True)
        self.known = faces.split(arguments.data, ["train"], arguments.train, arguments.seed)
        self.others = faces.split(arguments.data, ["val"], arguments.validation, arguments.seed)

    def treated(self, attack: str, channel: str) -> Crops:
        """The test people's crops under an attack or our own disrupter, after the channel."""
        if attack != "disrupter":
            return attacked_crops(self.people, self.bench.attacked(self.people, attack, "test"), channel)
        engine = open_engine(None)
        try:
            return self.people.delivered(faces.protected(self.people, engine), faces.CHANNELS[channel])
        finally:
            engine.close()

    def clean(self, channel: str) -> Crops:
        return faces.clean(self.people, channel)

    def detection(self) -> list[Row]:
        """Precision, recall and F1 of every detector, by attack and channel."""
        networks = self._baselines()
        rows = []
        for channel in faces.CHANNELS:
            clean = self.clean(channel)
            calm = self.bench.evidence(clean, f"test-clean-{channel}")
            quiet = self._seen(clean)
            for attack in (*faces.ATTACKS, "disrupter"):
                crops = self.treated(attack, channel)
                found = self.bench.evidence(crops, f"test-{attack}-{channel}")
                reached = self._disruption(clean, crops)
                for name, (detect, limit) in networks.items():
                    hit, alarm = detect(crops) > limit, detect(clean) > limit
                    rows.append(self._row(name, attack, channel, hit, alarm, reached))
                seen = self._seen(crops)
                for name in OURS:
                    flags = self._flags(found, seen, name), self._flags(calm, quiet, name)
                    rows.append(self._row(name, attack, channel, *flags, reached))
        return rows

    def _row(self, detector: str, attack: str, channel: str, hit: Any, alarm: Any, reached: Row) -> Row:
        names = self.people.names
        return {
            "detector": detector,
            "attack": attack,
            "channel": channel,
            **detection(np.asarray(hit, np.bool_), np.asarray(alarm, np.bool_), self.a.seed),
            "false_alarms": share(list(alarm), names),
            **reached,
        }

    def _seen(self, crops: Crops) -> list[bool]:
        """What the learned detector of inputs says of each crop."""
        if self.inputs is None:
            raise UsageError("calibrate the detector of perturbed inputs first: python -m engines calibrate-inputs")
        detector = open_inputs(self.inputs, None, "onnxruntime")
        try:
            return [value(odds, self.inputs) >= 0.5 for odds in log_odds(detector, crops)]
        finally:
            detector.close()

    def _flags(self, evidence: Sequence[Evidence], seen: Sequence[bool], name: str) -> list[bool]:
        c = self.calibration
        scores = [judge(e, c) for e in evidence]
        magdr = [s.final > c.threshold for s in scores]
        return {
            "DD": [s.distortion > c.threshold_distortion for s in scores],
            "CD": [s.consistency > c.threshold_consistency for s in scores],
            "MagDR": magdr,
            "inputs": list(seen),
            "MagDR or inputs": [a or b for a, b in zip(magdr, seen, strict=True)],
        }[name]

    def _disruption(self, clean: Crops, crops: Crops) -> Row:
        """How far the attack got: L2 of the edits, each face under the condition that it was attacked under."""
        values = self._distance(self._edits(clean), self._edits(crops))
        return {"disrupted": share(values >= DISRUPTED, self.people.names), "l2": mean(values, self.people.names)}

    def _edits(self, crops: Crops) -> torch.Tensor:
        images, out = from_rgb(list(crops)), []
        for k in range(len(images)):
            out.append(self.bench.editor.edit(images[k : k + 1], self._condition(k)))
        return torch.from_numpy(np.concatenate(out))

    def _condition(self, k: int) -> str:
        names = self.bench.asked.conditions
        return names[k % len(names)]

    @staticmethod
    def _distance(a: torch.Tensor, b: torch.Tensor) -> Any:
        return l2(a, b).double().numpy()

    def _baselines(self) -> dict[str, tuple[baselines.Detect, float]]:
        """The other detectors with thresholds chosen as MagDR's: 1 % of clean validation faces, both channels."""
        seed, parser = self.a.seed, self.bench.parser
        clean = np.concatenate([faces.clean(self.known, c) for c in faces.CHANNELS])
        attacked = np.concatenate(
            [
                attacked_crops(self.known, self.bench.attacked(self.known, a, "train"), c)
                for a in faces.ATTACKS
                for c in faces.CHANNELS
            ]
        )
        held_out = [faces.clean(self.others, c) for c in faces.CHANNELS]
        outputs = baselines.train_classifier(self._output(clean), self._output(attacked), seed)
        detectors: dict[str, baselines.Detect] = {
            "small input classifier": baselines.train_classifier(clean, attacked, seed),
            "auto-encoder error": baselines.reconstruction_error(self.autoencoder()),
            "OTD": lambda crops: outputs(self._output(crops)),
            "nearest neighbours": baselines.neighbours(parser, clean, attacked),
        }
        print("baselines are trained", flush=True)
        return {name: (detect, baselines.threshold(detect, held_out)) for name, detect in detectors.items()}

    def _output(self, crops: Crops) -> Crops:
        """What the generator makes of crops under the first condition asked."""
        edited = self.bench.editor.edit(from_rgb(list(crops)), self.bench.asked.conditions[0])
        return faces.to_bytes((torch.from_numpy(edited) + 1) / 2)

    def autoencoder(self) -> baselines.AutoEncoder:
        people = faces.split(self.a.data, ["train"], 400, self.a.seed + 1)
        return baselines.train_autoencoder(faces.clean(people, "8bit"), self.a.seed)

    def restoration(self) -> list[Row]:
        """Table 2 on the first faces under PGD: how far inputs and outputs are from the clean ones."""
        count = self.a.restored
        rows = []
        for channel in faces.CHANNELS:
            clean, crops = self.clean("8bit")[:count], self.treated("pgd", channel)[:count]
            ways: dict[str, Callable[[Any], Any]] = baselines.restorers(self.autoencoder(), self.a.seed)
            learned = open_restorer("onnxruntime")
            ways |= {"learned restorer": learned} if learned is not None else {}
            made = {name: np.stack([way(crop) for crop in crops]) for name, way in ways.items()}
            made["MagDR, image operations alone"] = np.stack([self._reconstructed(crop) for crop in crops])
            if learned is not None:
                perturbed = self._perturbed(channel)[:count]
                made["MagDR"] = np.where(perturbed[:, None, None, None], made["learned restorer"], crops)
            for name, restored in made.items():
                rows.append({"method": name, "channel": channel, **self._apart(clean, restored)})
                print(rows[-1]["method"], channel, rows[-1]["ssim_output"], flush=True)
        return rows

    def _perturbed(self, channel: str) -> npt.NDArray[np.bool_]:
        """Which faces under PGD the stage would restore: those that it calls perturbed."""
        crops = self.treated("pgd", channel)
        found = self.bench.evidence(crops, f"test-pgd-{channel}")
        return np.asarray(self._flags(found, self._seen(crops), "MagDR or inputs"))

    def _reconstructed(self, crop: Any) -> Any:
        masks = self.bench.parser.look(from_rgb([crop])[0])[2]
        return restore(crop, masks, self.detector.quick(masks), self.calibration.usual, self.a.looks).face

    def _apart(self, clean: Crops, restored: Crops) -> Row:
        names = self.people.names[: len(clean)]
        pairs = {
            "input": (from_rgb(list(clean)), from_rgb(list(restored))),
            "output": (self._edits(clean).numpy(), self._edits(restored).numpy()),
        }
        row: Row = {}
        for side, (a, b) in pairs.items():
            errors = np.square(a - b).mean((1, 2, 3)) * 127.5**2
            similar = [metrics.ssim(metrics.luma(x), metrics.luma(y), 2.0) for x, y in zip(a, b, strict=True)]
            last = [self.bench.parser.views(images).features["last"] for images in (a, b)]
            alike = [metrics.cosine(x, y) for x, y in zip(*last, strict=True)]
            row[f"mse_{side}"] = mean(errors, names)
            row[f"ssim_{side}"] = mean(similar, names)
            row[f"psnr_{side}"] = mean(10 * np.log10(255**2 / np.maximum(errors, 1e-6)), names)
            row[f"cosine_{side}"] = mean(alike, names)
            if side == "output":
                row["disrupted"] = share(np.square(a - b).mean((1, 2, 3)) >= DISRUPTED, names)
        return row

    def adaptive(self) -> list[Row]:
        """F1 of each of our detectors by the attack's iterations: through the operations of eq. 7, and evading all."""
        people = faces.Split(self.people.names[: self.a.hunted], self.people.guards[: self.a.hunted])
        clean, bench = self.clean("8bit")[: self.a.hunted], self.bench
        calm, quiet = bench.evidence(clean, "test-clean-hunted"), self._seen(clean)
        rows = []
        for knows, evade in (("operations", None), ("operations and inputs", self._evade())):
            steps = through_operations(people, bench.target, bench.rows, bench.asked, ITERATIONS, self.a.seed, evade)
            for iterations, crops in steps:
                found, seen = bench.evidence(crops, f"test-adaptive-{iterations}"), self._seen(crops)
                values = self._distance(self._edits(clean), self._edits(crops))
                reached = {"disrupted": share(values >= DISRUPTED, people.names), "l2": mean(values, people.names)}
                for name in OURS:
                    hit, alarm = self._flags(found, seen, name), self._flags(calm, quiet, name)
                    row = detection(np.asarray(hit), np.asarray(alarm), self.a.seed)
                    rows.append({"knows": knows, "detector": name, "iterations": iterations, **row, **reached})
        return rows

    def _evade(self) -> Evade:
        """The log-odds of the learned detector beyond its threshold, with a gradient."""
        assert self.inputs is not None
        network, threshold = importing.network(find_engine(self.inputs.engine)), self.inputs.threshold

        def odds(images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = (network(images) + network(images.flip(3))) / 2  # as it is asked
            return logits[:, PERTURBED] - logits[:, CLEAN] - threshold

        return odds


def run(arguments: argparse.Namespace) -> None:
    _known(arguments.out)
    torch.manual_seed(arguments.seed)
    bench = open_bench(arguments)
    try:
        tables = Tables(bench, arguments)
        made = {part: {**facts(arguments, bench, part), "rows": getattr(tables, part)()} for part in arguments.parts}
    finally:
        bench.close()
    known = _known(arguments.out)
    known.setdefault("tasks", {}).setdefault(arguments.task, {}).update(made)
    write_json(arguments.out, known)
    print(arguments.out)


def _known(out: Path) -> Row:
    """What the file has of other tasks and parts. Raises UsageError where it is not such a file."""
    try:
        known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        known.setdefault("tasks", {}).items()
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"--out {out} is no file of these tables ({error}): name another, or delete it") from error
    return dict(known)


def facts(arguments: argparse.Namespace, bench: Bench, part: str) -> Row:
    """What was asked, and of which networks: a table names those alone that its figures depend on."""
    places = {arguments.data: "PACK", arguments.work: "WORK", arguments.out: "OUT"}
    places |= {arguments.target: f"runs/{arguments.target.name}", arguments.calibration: "CALIBRATION"}
    return {
        "command": invocation(places),
        "seed": arguments.seed,
        "device": device_words(torch.device("cpu")),
        "data": "Heads of photographs of the pack's test split, 128 px",
        "probe": bench.editor.card.name,
        "probe_sha256": bench.editor.card.sha256,
        "parser_sha256": bench.parser.card.sha256,
        **{f"{kind}_sha256": find_engine(None, kind).sha256 for kind in PARTS[part]},
        "conditions": list(bench.asked.conditions),
        "operations": bench.asked.operations,
        "baseline_steps": {
            "classifier": baselines.CLASSIFIER_STEPS,
            "auto-encoder": baselines.AUTOENCODER_STEPS,
        },
    }
