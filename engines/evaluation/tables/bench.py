"""What every table works on: held-out faces, targets, detectors, methods and their deliveries, each made once a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stream_guard.errors import UsageError
from stream_guard.types import Box

from ...attacks.base import L2, Linf
from ...attacks.pgd import IFGSM, PGD
from ...data import pack
from ...data.origin import DRAWN
from ...detectors import registry
from ...detectors.detector import Detector
from ...disrupter.budget import rms_of_psnr
from ...generators.families import target_of
from ...generators.target import Target
from ...magdr.purified import PurifiedTarget
from ...magdr.train_restorer import load as load_restorer
from ...progress import Progress
from ...training import ADOPTED, noted, pick_device, stored
from .. import protectors
from ..channels import Channel
from ..delivered import Still
from ..deliveries import Deliveries, Treated
from ..figures import as_flags
from ..protectors import Engine, open_engine
from ..run import held_out

EPSILON = 0.05
"""The budget of I-FGSM, PGD and the universal perturbation on [-1, 1], and 10 steps of 0.01 (Ruiz et al. 2020)."""
BATCH = 16

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Generator:
    """A target of a run folder. `seen` says whether the disrupter was trained against it."""

    name: str
    target: Target
    seen: bool
    steps: int
    minutes: float
    learned: float = 0.0
    """Share of the pictures it learned from that a disrupter had protected."""
    weights_of: str = ""
    """The file that others' weights were adopted from; empty for a surrogate."""

    def facts(self) -> dict[str, object]:
        return {
            "name": self.name,
            "family": self.target.family,
            "seen": self.seen,
            "steps": self.steps,
            "training_minutes": self.minutes,
            "protected_in_training": self.learned,
            "parameters": sum(p.numel() for p in self.target.network.parameters()),
            "size": self.target.size,
            **({"weights_of": self.weights_of} if self.weights_of else {}),
        }


@dataclass(frozen=True)
class Reader:
    """A detector of a run folder; `kind` is its architecture."""

    name: str
    kind: str
    detector: Detector

    def facts(self) -> dict[str, object]:
        return {
            "name": self.name,
            "architecture": self.kind,
            "parameters": sum(p.numel() for p in self.detector.parameters()),
            "size": self.detector.size,
        }


class Bench:
    """Made from the command line; `faces` and `conditions` are the table's own defaults unless given."""

    def __init__(
        self, arguments: argparse.Namespace, faces: int, columns: Sequence[Channel], progress: Progress
    ) -> None:
        self.arguments, self.progress, self.seed = arguments, progress, int(arguments.seed)
        self.device = pick_device(arguments.device)
        self.channels = list(columns)
        self.width: int = arguments.width
        self.stills = held_out_faces(arguments, faces)
        self.names = [still.name for still in self.stills]
        self.generators = [self._generator(folder, True) for folder in arguments.targets]
        self.generators += [self._generator(folder, False) for folder in arguments.unseen]
        self.detectors = [self._reader(folder) for folder in arguments.detectors]
        self.verdicts: dict[tuple[object, ...], npt.NDArray[np.bool_]] = {}
        self._opened: list[Engine] = []
        self.engine = self._open(arguments.disrupter)
        self._treated: dict[str, Treated] = {}
        self._references: dict[tuple[str, int, float], Tensor] = {}
        self._deliveries: Deliveries | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._opened:
            engine.close()

    def _open(self, source: str | Path | None) -> Engine:
        self._opened.append(open_engine(source, self.arguments.threads or 1))
        return self._opened[-1]

    def _generator(self, folder: Path, seen: bool) -> Generator:
        run, target = stored(folder), target_of(folder, self.arguments.data)
        minutes, learned = round(run.seconds / 60, 1), float(run.settings.get("protected", 0.0))
        return Generator(
            folder.resolve().name,
            target.to(self.device),
            seen,
            run.step,
            minutes,
            learned,
            noted(folder).get(ADOPTED, ""),
        )

    def _reader(self, folder: Path) -> Reader:
        detector = registry.detector_of(folder)
        return Reader(folder.resolve().name, detector.name, detector.to(self.device))

    def purified(self, generator: Generator) -> list[Generator]:
        """The generator behind each of `--purifiers`, as an attacker would have it who restores what he gets."""
        return [
            replace(
                generator,
                name=f"{generator.name} behind {folder.resolve().name}",
                target=PurifiedTarget(generator.target, load_restorer(folder).to(self.device)),
                seen=False,
            )
            for folder in self.arguments.purifiers
        ]

    def passes(self, reader: Reader, images: Tensor) -> npt.NDArray[np.bool_]:
        """(N,): whether the detector passes each image (N, 3, S, S) in [-1, 1] as real."""
        out = []
        with torch.no_grad():
            for i in range(0, len(images), BATCH):
                out.append(reader.detector.p_real(images[i : i + BATCH].to(self.device)) > 0.5)
        return as_flags(torch.cat(out))

    @property
    def deliveries(self) -> Deliveries:
        if self._deliveries is None:
            sizes = sorted({g.target.size for g in self.generators})
            self._deliveries = Deliveries(self.stills, sizes, self.channels, self.progress.begin, self.progress.tick)
        return self._deliveries

    def method(self, name: str, generator: Generator | None = None, engine: Engine | None = None) -> Treated:
        """`none`, `ours`, or `ifgsm`, `pgd`, `bound` against a generator; made once."""
        key = f"{name} on {generator.name}" if generator else f"{name} {(engine or self.engine).card.sha256}"
        if key not in self._treated:
            self._treated[key] = self._treat(name, key, generator, engine or self.engine)
        return self._treated[key]

    def _treat(self, name: str, key: str, generator: Generator | None, engine: Engine) -> Treated:
        stills = self.deliveries.stills
        if name == "none":
            return protectors.none(stills)
        if name == "ours":
            return protectors.ours(engine, stills)
        if name == "universal":
            return protectors.universal(self._universal(), stills)
        if name in ("bound", "bound_all"):
            return self._bound(key, engine, [generator] if generator else [g for g in self.generators if g.seen])
        if generator is None:
            raise UsageError(f"the method {name!r} needs a generator to attack")
        self.progress.begin(f"attacking: {key}", len(stills))
        same_psnr = L2(2 * rms_of_psnr(engine.budget_psnr_db))
        attack = {
            "ifgsm": IFGSM(Linf(EPSILON)),
            "pgd": PGD(Linf(EPSILON), seed=self.seed),
            "pgd_same_psnr": PGD(same_psnr, seed=self.seed),
        }[name]
        return protectors.iterated(key, attack, generator.target, stills, self.progress.tick)

    def _bound(self, key: str, engine: Engine, generators: Sequence[Generator]) -> Treated:
        stills = self.deliveries.stills[: self.arguments.bound_faces]
        targets, steps = [g.target for g in generators], self.arguments.bound_iterations
        self.progress.begin(f"attacking: {key}", len(stills))
        return protectors.bound(key, engine, targets, stills, steps, self.seed, self.progress.tick)

    def _universal(self) -> Tensor:
        """One perturbation fitted on `--universal-faces` training faces of the pack, against every seen generator."""
        seen = [g.target for g in self.generators if g.seen]
        if self.arguments.data is None or not seen:
            raise UsageError("the universal perturbation is fitted on a pack's training faces: --data and --targets")
        heads = pack.read(self.arguments.data, ["train"])[: self.arguments.universal_faces]
        self.progress.begin("fitting the universal perturbation", len(heads))
        return protectors.fit_universal(Linf(EPSILON), seen, heads, self.seed, self.progress.tick)

    def edit(self, generator: Generator, images: Tensor, rows: Rows) -> Tensor:
        """`images` (N, 3, S, S) edited under condition `rows` (N,) of the target, in batches, on the CPU."""
        target, out = generator.target, []
        with torch.no_grad():
            for i in range(0, len(images), BATCH):
                condition = target.conditions[torch.from_numpy(rows[i : i + BATCH]).to(self.device)]
                out.append(target(images[i : i + BATCH].to(self.device), condition).cpu())
        return torch.cat(out)

    def reference(self, generator: Generator, width: int, crop: float) -> Tensor:
        """G(x) of every pair of `pairs`, kept: x is the original, cropped as the attacker crops."""
        key = generator.name, width, crop
        if key not in self._references:
            faces, rows = self.pairs(generator)
            clean = self.deliveries.clean(width, generator.target.size, crop)
            plain = replace(generator, target=generator.target.plain)
            self._references[key] = self.edit(plain, clean[faces], rows)
        return self._references[key]

    def trained(self, kind: str) -> dict[str, Engine]:
        """Disrupters of `--trained KIND:NAME=DIR`, by NAME: trained on one generator, detector or condition alone."""
        given = [entry for entry in self.arguments.trained if entry.startswith(f"{kind}:")]
        return {
            name: self._open(Path(folder))
            for name, _, folder in (entry.partition(":")[2].partition("=") for entry in given)
        }

    def pairs(self, generator: Generator, a_face: int | None = None) -> tuple[Rows, Rows]:
        """(face, condition) of each pair: `a_face` conditions for each face, all of them in turn over the faces."""
        count = len(generator.target.conditions)
        each = min(a_face or self.arguments.conditions, count)
        faces = np.repeat(np.arange(len(self.stills)), each)
        return faces, np.arange(len(self.stills) * each) % count


def held_out_faces(arguments: argparse.Namespace, count: int) -> list[Still]:
    """`count` photographs of the test split: whole stills of `--media` where given, else the pack's heads."""
    if arguments.media is not None:
        found = held_out(arguments.media, count, arguments.seed)
    else:
        heads = [head for head in pack.read(arguments.data, ["test"]) if head.origin != DRAWN]
        order = np.random.default_rng(arguments.seed).permutation(len(heads))[:count]
        found = [Still(heads[k].name, heads[k].rgb, _box(heads[k])) for k in order]
    if not found:
        raise UsageError(
            "no held-out face was found: the tables need --data PACK or --media with faces of the test split"
        )
    return found


def _box(head: pack.Head) -> Box:
    side = head.rgb.shape[0]
    x0, y0, x1, y1 = (side * v for v in head.face)
    return Box(x0, y0, x1, y1)
