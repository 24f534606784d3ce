"""`python -m engines COMMAND`: everything that makes and measures networks, each command resumable or repeatable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stream_guard.errors import StreamGuardError

from . import commands
from .adopting import adoptable
from .arguments import add_threads, check
from .data import clips
from .data.pack import SIZE
from .detectors import command as evaluate_detectors
from .detectors.registry import TRAINERS
from .disrupter import train as disrupter
from .evaluation import second_opinion
from .evaluation.detection import command as fooling_detectors
from .evaluation.tables import TABLES
from .evaluation.tables import run as run_table
from .generators import train_fomm as fomm
from .magdr import calibrate, calibrate_inputs
from .magdr import tables as magdr_tables
from .magdr import train_perturbation as perturbation
from .magdr import train_restorer as restorer
from .magdr import video as magdr_video
from .purification import command as purification
from .settings import described


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m engines", description=__doc__)
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _pack(sub.add_parser("pack", help="pack a folder of faces into one file of at most 40 MiB"))
    _train(sub.add_parser("train", help="train a network for some minutes; resumable"))
    _sheet(sub.add_parser("sheet", help="a picture of what a trained generator does to held-out faces"))
    _export(sub.add_parser("export", help="write a trained network and its card into the zoo"))
    _import(sub.add_parser("import", help="a run folder from a network in the zoo: to measure it, or train on"))
    _adopt(sub.add_parser("adopt", help="a run folder from a published checkpoint: others' weights as a target"))
    calibrate.add(sub.add_parser("calibrate", help="set MagDR's detectors on held-out people, for one probe"))
    calibrate_inputs.add(sub.add_parser("calibrate-inputs", help="set MagDR's detector of perturbed inputs"))
    purify = sub.add_parser("purify", help="a slow second opinion on a video's faces, by Deep Image Prior")
    purification.add(purify)
    purify.set_defaults(run=purification.run)
    _evaluate(sub.add_parser("evaluate", help="measure one table and write its figures to commit"))
    return top


def _pack(pack: argparse.ArgumentParser) -> None:
    pack.add_argument(
        "--media", type=Path, required=True, help="folder with faces/... and parsing/images, parsing/masks"
    )
    pack.add_argument("--out", type=Path, required=True)
    pack.add_argument("--synthetic", type=int, default=700, help="how many of faces/synthetic to add (no masks)")
    pack.add_argument("--aligned", type=int, default=0, help="how many small photographs of faces/utkface to add")
    pack.add_argument("--size", type=int, default=SIZE, help="side of the packed heads in pixels")
    pack.add_argument("--quality", type=int, default=90, help="of the JPEG heads")
    pack.add_argument(
        "--landmarks", type=Path, help="OpenSeeFace's 66-point model (.onnx): adds landmarks and action units"
    )
    pack.add_argument("--clips", type=Path, help="folder of talking heads: adds their frames")
    pack.add_argument("--clip-size", type=int, default=clips.SIZE, help="side of these frames in pixels")
    pack.add_argument("--clip-frames", type=int, default=clips.FRAMES, help="of each clip, evenly spaced")
    pack.add_argument(
        "--deepfakes", type=Path, help="folder with fake/ and fake_originals/: adds frames of real deepfake videos"
    )
    pack.set_defaults(run=commands.pack)


def _train(train: argparse.ArgumentParser) -> None:
    names = train.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in sorted(commands.trainables().items()):
        title = (module.__doc__ or name).strip().splitlines()[0]
        one = names.add_parser(
            name,
            help=title,
            description=title,
            epilog="settings (--set KEY=VALUE) and their defaults:\n" + described(module.Settings),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--data", type=Path, required=True, help="a data pack")
        one.add_argument("--minutes", type=float, required=True, help="stop after this long; 0 only writes the run")
        one.add_argument("--out", type=Path, help=f"run folder (default runs/{name})")
        one.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
        one.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda")
        add_threads(one)
        one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, see below")
        if name == disrupter.NAME:
            _against(one)
        if name in TRAINERS:
            one.add_argument(
                "--fakes", type=Path, nargs="+", required=True, metavar="DIR", help="run folders of generators to tell"
            )
            one.add_argument(
                "--teacher", type=Path, metavar="DIR", help="a detector's run whose answers are a part of the labels"
            )
        if name in (perturbation.NAME, restorer.NAME):
            one.add_argument(
                "--targets", type=Path, nargs="*", default=[], metavar="DIR", help="run folders of generators to attack"
            )
        if name in TRAINERS or name == perturbation.NAME:
            one.add_argument(
                "--start",
                type=Path,
                nargs="+",
                default=[],
                metavar="DIR",
                help="begin with the best weights of this run; with the mean of several that began one with another",
            )
        if name in (fomm.NAME, restorer.NAME):
            one.add_argument("--start", type=Path, metavar="DIR", help="begin with the best weights of this run")
        one.set_defaults(run=commands.train)


def _against(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--targets",
        type=Path,
        nargs="+",
        default=[Path("runs/stargan")],
        metavar="DIR",
        help="run folders of the generators to protect from",
    )
    parser.add_argument(
        "--detectors",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR",
        help="run folders of the detectors that must call the edits fake and the protected faces real",
    )
    parser.add_argument(
        "--purify", type=Path, metavar="DIR", help="a restorer's run: every target also stands behind it, as one more"
    )
    parser.add_argument("--start", type=Path, metavar="DIR", help="begin with the weights of this disrupter's run")


def _sheet(sheet: argparse.ArgumentParser) -> None:
    sheet.add_argument("--data", type=Path, required=True)
    sheet.add_argument("--generator", type=Path, default=Path("runs/stargan"), help="run folder, of any family")
    sheet.add_argument("--out", type=Path, required=True, help="a .png")
    sheet.set_defaults(run=commands.sheet)


def _export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "name", choices=sorted({*commands.trainables(), *adoptable()}), metavar="NAME", help="what the run holds"
    )
    export.add_argument("--from", dest="source", type=Path, help="run folder (default runs/NAME)")
    export.add_argument("--as", dest="zoo_name", help="name in the zoo (a generator's default: NAME-probe)")
    export.add_argument("--note", default="", help="added to the card: what neither settings nor command tell")
    export.set_defaults(run=commands.export)


def _import(unship: argparse.ArgumentParser) -> None:
    unship.add_argument("name", metavar="ENGINE", help="a name in the zoo (stream-guard engines list), or a folder")
    unship.add_argument("--out", type=Path, help="run folder (default runs/ENGINE)")
    words = "a pack: driving frames for First Order Motion; faces for batch norms, to train on"
    unship.add_argument("--data", type=Path, help=words)
    unship.set_defaults(run=commands.unship)


def _adopt(adopt: argparse.ArgumentParser) -> None:
    adopt.add_argument("name", choices=adoptable(), metavar="NAME", help=f"one of: {', '.join(adoptable())}")
    adopt.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="as its authors published it; plain tensors")
    adopt.add_argument("--out", type=Path, help="run folder (default runs/NAME)")
    adopt.add_argument("--data", type=Path, help="a pack with clips: First Order Motion takes driving frames from it")
    adopt.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="where it differs from the published settings"
    )
    adopt.set_defaults(run=commands.adopt)


def _evaluate(evaluate: argparse.ArgumentParser) -> None:
    tables = evaluate.add_subparsers(dest="table", required=True, metavar="TABLE")
    delivered = tables.add_parser("delivered", help="the disruption on delivered video, by face width and crf")
    delivered.add_argument("--media", type=Path, required=True)
    delivered.add_argument(
        "--targets",
        type=Path,
        nargs="+",
        default=[Path("runs/stargan")],
        metavar="DIR",
        help="run folders of the generators",
    )
    delivered.add_argument("--engine", help="the disrupter, by name or folder; the zoo's default")
    delivered.add_argument("--strength", type=float, default=1.0, help="of the perturbation, as `protect` takes it")
    delivered.add_argument("--faces", type=int, default=48)
    delivered.add_argument("--bound-faces", type=int, default=24, help="faces for PGD through the codec (minutes)")
    delivered.add_argument("--widths", type=int, nargs="+", default=[128, 256, 384])
    delivered.add_argument("--crf", type=int, nargs="+", default=[20])
    delivered.add_argument("--seed", type=int, default=0)
    delivered.add_argument("--out", type=Path, default=Path("engines/evaluation/results/delivered.json"))
    delivered.set_defaults(run=commands.delivered)
    detectors = tables.add_parser("detectors", help="what each detector is worth on held-out people")
    evaluate_detectors.add(detectors)
    detectors.set_defaults(run=evaluate_detectors.run)
    second = tables.add_parser("second-opinion", help="what purify says of the faces of whole videos")
    second_opinion.add(second)
    second.set_defaults(run=second_opinion.run)
    fooled = tables.add_parser("detection", help="attacks on detectors and defences: tables I to IV, figure 6")
    fooling_detectors.add(fooled)
    fooled.set_defaults(run=fooling_detectors.run)
    magdr_tables.add(tables.add_parser("magdr", help="MagDR: detection, restoration, the adaptive attack"))
    magdr_video.add(tables.add_parser("magdr-video", help="MagDR's false alarms on real clips"))
    for name, table in TABLES.items():
        one = tables.add_parser(name, help=table.title)
        table.add(one)
        one.set_defaults(run=run_table)


def stopped(arguments: argparse.Namespace) -> str:
    """What is left of a command that was interrupted."""
    if arguments.command != "train":
        return "stopped before the end"
    out = arguments.out or Path("runs") / arguments.name
    if (out / "state.pt").exists():
        return f"stopped; {out} keeps the last checkpoint: --resume goes on from it"
    return "stopped before the first step; nothing was kept"


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        check(arguments)
        arguments.run(arguments)
    except StreamGuardError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or stopped(arguments), file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
