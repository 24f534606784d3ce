"""The tables of the papers and ours, by name: `python -m engines evaluate NAME` regenerates one into results/NAME.json.

`TABLES[name].add(parser)` gives its options; `run(arguments)` measures it, writes the JSON and returns it by name.
`arguments.table` is the name; the tables in `--also` share its faces, deliveries and attacks.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stream_guard.errors import UsageError

from ...arguments import add_threads
from ...progress import Progress
from ...writing import write_json
from ..channels import STANDARD, channels
from . import detection, disruption
from .bench import Bench
from .document import Rows, device_words, document
from .flicker import flicker
from .identity import identity
from .purified import purified
from .speed import table9

RESULTS = Path(__file__).resolve().parents[1] / "results"
CRITERION = "mean squared error on [-1, 1] between G(what arrives) and G(original) of at least 0.05"


@dataclass(frozen=True)
class Table:
    """One table: what it measures, on how many faces and in which columns unless told otherwise."""

    title: str
    measure: Callable[[Bench], Rows]
    faces: int
    channels: tuple[str, ...] = STANDARD
    data: str = ""
    """What it is measured on, where not on faces of the test split."""

    def add(self, parser: argparse.ArgumentParser) -> None:
        """The options; they are the same for every table, so that one command line may run several."""
        add_arguments(parser)


TABLES: dict[str, Table] = {
    "table1": Table("Detectors on StarGAN's fakes, by condition", detection.table1, 32),
    "table2": Table("Detectors on every generator's fakes", detection.table2, 32),
    "table3": Table("The multi-attentional detector on fakes", detection.table3, 32),
    "table4": Table("What detectors pass: reals, protected reals, fakes", detection.table4, 32),
    "table5": Table("Transfer between detectors", detection.table5, 32),
    "table6": Table("Transfer between generators", disruption.table6, 24),
    "table7": Table("Transfer between conditions", detection.table7, 32),
    "table8": Table("L2 and share of disrupted images by method", disruption.table8, 24),
    "table9": Table("Seconds an image", table9, 30, data="noise: times do not depend on what is seen"),
    "transfer": Table("Generators never trained on", disruption.transfer, 24),
    "adaptive": Table("An attacker who trained against it", disruption.adaptive, 24),
    "purified": Table("An attacker who purifies first", purified, 24),
    "robustness": Table("After codecs, resizing, cropping and blur", disruption.robustness, 12, disruption.ROBUSTNESS),
    "identity": Table("Identity that survives", identity, 24),
    "flicker": Table("Flicker on real clips", flicker, 1, data="the first pictures of clips of the test split"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the faces, networks and figures come from and go to."""
    paths: dict[str, Any] = {"type": Path, "metavar": "PATH"}
    parser.add_argument("--also", nargs="*", default=[], metavar="TABLE", help="more tables over the same faces")
    parser.add_argument("--targets", nargs="*", default=[], **paths, help="runs of generators it was trained against")
    parser.add_argument("--unseen", nargs="*", default=[], **paths, help="runs of generators it never saw")
    parser.add_argument("--detectors", nargs="*", default=[], **paths, help="runs of detectors")
    parser.add_argument(
        "--purifiers", nargs="*", default=[], **paths, help="purified: runs of restorers, the known one first"
    )
    parser.add_argument("--disrupter", help="a name in the zoo or the folder of an engine (default: the zoo's default)")
    parser.add_argument(
        "--trained",
        nargs="*",
        default=[],
        metavar="KIND:NAME=DIR",
        help="disrupters trained on one generator, detector or condition alone, for tables 6, 5 and 7; "
        "or against a restorer, for purified",
    )
    parser.add_argument("--data", type=Path, metavar="PACK", help="a data pack: faces of its test split")
    parser.add_argument("--media", **paths, help="take whole stills of the test split from this folder instead")
    parser.add_argument("--faces", type=int, help="how many held-out faces (default: the table's own)")
    parser.add_argument("--conditions", type=int, default=1, help="conditions a face, all in turn over the faces")
    parser.add_argument("--width", type=int, default=256, help="of the face in the delivered frame, in pixels")
    parser.add_argument("--widths", type=int, nargs="*", default=[128, 384], help="table8: other widths of the face")
    parser.add_argument(
        "--bound-faces", type=int, default=4, help="table8: faces for PGD through the codec; 0 for none"
    )
    parser.add_argument("--bound-iterations", type=int, default=80)
    parser.add_argument("--universal-faces", type=int, default=16, help="table8: training faces to fit it on")
    parser.add_argument("--identity", **paths, help="identity: the ONNX network that embeds faces")
    parser.add_argument(
        "--clips", nargs="*", default=[], **paths, help="flicker: videos (default: those of --media's test split)"
    )
    parser.add_argument("--frames", type=int, default=32, help="flicker: pictures of each clip")
    parser.add_argument(
        "--holds", type=int, nargs="+", default=[1, 4, 16], help="flicker: pictures a perturbation is held"
    )
    parser.add_argument("--channels", nargs="+", help="columns (default: the table's own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, auto")
    add_threads(parser)
    parser.add_argument("--out", type=Path, help="default: engines/evaluation/results/NAME.json")


def run(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measure the table `arguments.table` and those in `also`, write each one's JSON and return them by name.

    Raises UsageError for an unknown table, where inputs are missing, or where tables do not share their columns.
    """
    names = list(dict.fromkeys([arguments.table, *arguments.also]))
    tables = {name: _table(name) for name in names}
    if arguments.data is None and arguments.media is None:
        raise UsageError("say where the held-out faces are: --data PACK or --media DIR")
    if len(names) > 1 and arguments.out is not None:
        raise UsageError("--out names one file; leave it out with --also")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    faces = arguments.faces or max(table.faces for table in tables.values())
    made = {}
    with Progress() as progress:
        columns = channels(arguments.channels or _columns(tables))
        with Bench(arguments, faces, columns, progress) as bench:
            for name, table in tables.items():
                made[name] = _measure(name, table, bench)
    return made


def _measure(name: str, table: Table, bench: Bench) -> dict[str, Any]:
    start = time.monotonic()
    rows = table.measure(bench)
    made = document({**facts(name, table, bench), "seconds": round(time.monotonic() - start, 1)}, rows)
    out = bench.arguments.out or RESULTS / f"{name}.json"
    write_json(out, made)
    print(out)
    return made


def _table(name: str) -> Table:
    if name not in TABLES:
        raise UsageError(f"unknown table {name!r}; choose one of: {', '.join(TABLES)}")
    return TABLES[name]


def _columns(tables: dict[str, Table]) -> tuple[str, ...]:
    first, *others = tables.values()
    if any(other.channels != first.channels for other in others):
        raise UsageError(f"{', '.join(tables)} have different columns: run them apart, or name --channels for all")
    return first.channels


def facts(name: str, table: Table, bench: Bench) -> dict[str, Any]:
    arguments = bench.arguments
    where = "whole stills" if arguments.media is not None else "heads of the pack"
    return {
        "table": name,
        "title": table.title,
        "command": command(sys.argv[1:], arguments),
        "seed": bench.seed,
        "device": device_words(bench.device),
        "data": table.data or f"{where}: photographs of the test split; clips of 6 frames that drift, 4:2:0",
        "faces": len(bench.stills),
        "face_px": bench.width,
        "criterion": CRITERION,
        "disrupter": {
            "name": bench.engine.card.name,
            "sha256": bench.engine.card.sha256,
            "budget_psnr_db": bench.engine.budget_psnr_db,
            "input_px": bench.engine.card.input_shape("face")[-1],
            "grid": bench.engine.grid,
        },
        "generators": [generator.facts() for generator in bench.generators],
        "detectors": [reader.facts() for reader in bench.detectors],
    }


def command(argv: Sequence[str], arguments: argparse.Namespace) -> str:
    """The command line with words in place of this machine's folders."""
    given = (*arguments.targets, *arguments.unseen, *arguments.detectors, *arguments.purifiers)
    words = {str(arguments.data): "PACK", str(arguments.media): "MEDIA", str(arguments.out): "OUT"}
    runs = {str(p): f"runs/{p.name}" for p in given}
    known = {**runs, **words}
    return "python -m engines " + shlex.join(known.get(word) or _last(word) for word in argv)


def _last(word: str) -> str:
    """A path, or KEY=PATH, with the path's last name alone; other words as they are."""
    key, is_pair, path = word.rpartition("=")
    return f"{key}{is_pair}{Path(path).name}" if "/" in path else word
