"""`python -m engines COMMAND`: everything that makes and measures networks, each command resumable or repeatable."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stream_guard.errors import StreamGuardError

from . import commands


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m engines", description=__doc__)
    sub = top.add_subparsers(dest="command", required=True)

    pack = sub.add_parser("pack", help="pack a folder of faces into one file of at most 40 MiB")
    pack.add_argument(
        "--media", type=Path, required=True, help="folder with parsing/images, parsing/masks, faces/synthetic"
    )
    pack.add_argument("--out", type=Path, required=True)
    pack.add_argument("--synthetic", type=int, default=700, help="how many synthetic faces to add (no masks)")
    pack.set_defaults(run=commands.pack)

    train = sub.add_parser("train", help="train a network for some minutes; resumable")
    train.add_argument("name", choices=sorted(commands.TRAINABLE))
    train.add_argument("--data", type=Path, required=True, help="a data pack")
    train.add_argument("--minutes", type=float, required=True)
    train.add_argument("--out", type=Path, help="run folder (default runs/NAME)")
    train.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda")
    train.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a training setting")
    train.add_argument(
        "--target", type=Path, default=Path("runs/stargan"), help="disrupter: run folder of the generator"
    )
    train.set_defaults(run=commands.train)

    sheet = sub.add_parser("sheet", help="a picture of what a trained generator does to held-out faces")
    sheet.add_argument("--data", type=Path, required=True)
    sheet.add_argument("--generator", type=Path, default=Path("runs/stargan"))
    sheet.add_argument("--out", type=Path, required=True, help="a .png")
    sheet.set_defaults(run=commands.sheet)

    export = sub.add_parser("export", help="write a trained network and its card into the zoo")
    export.add_argument("name", choices=sorted(commands.TRAINABLE))
    export.add_argument("--from", dest="source", type=Path, help="run folder (default runs/NAME)")
    export.set_defaults(run=commands.export)

    evaluate = sub.add_parser("evaluate", help="measure the disruption on delivered video and commit the figures")
    evaluate.add_argument("--media", type=Path, required=True)
    evaluate.add_argument(
        "--target", type=Path, default=Path("runs/stargan"), help="run folder of the generator, for the bound"
    )
    evaluate.add_argument("--faces", type=int, default=48)
    evaluate.add_argument("--bound-faces", type=int, default=24, help="faces for PGD through the codec (minutes)")
    evaluate.add_argument("--widths", type=int, nargs="+", default=[128, 256, 384])
    evaluate.add_argument("--crf", type=int, nargs="+", default=[20])
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--out", type=Path, default=Path("engines/evaluation/results/delivered.json"))
    evaluate.set_defaults(run=commands.evaluate)
    return top


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except StreamGuardError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("stopped; a training run keeps its last checkpoint: --resume goes on from it", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
