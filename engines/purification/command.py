"""`python -m engines purify`: a slow second opinion on faces that the `detect` stage is unsure of, or MagDR flags.

Offline, because the runtime never imports torch: it reads the file, finds and follows its faces as the runtime does,
fits Deep Image Prior to some crops of each, and asks a network that learned what the prior draws while the
perturbation is not drawn yet.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from stream_guard.errors import UsageError
from stream_guard.stages.reasons import NO_FACE

from ..training import pick_device
from ..writing import write_text
from .judges import asked
from .opinions import FAKE_TO, REAL_FROM, Limits, as_paper, fast, opinions
from .prior import PAPER_SIZE
from .tracks import collect

SIZES = (64, 96, 128)
BEHIND = "detector-purified"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, help="a video or a picture that FFmpeg reads")
    parser.add_argument(
        "--detector",
        default="",
        metavar="ENGINE|DIR",
        help="asked before (the zoo's default, another, or a run folder)",
    )
    parser.add_argument(
        "--behind",
        default=BEHIND,
        metavar="ENGINE|DIR",
        help=f"asked behind the prior ({BEHIND}: it learned what that draws)",
    )
    parser.add_argument("--tracks", type=int, nargs="*", help="only these faces, as verdicts number them")
    parser.add_argument("--faces", type=int, default=4, help="crops of each face, evenly spaced")
    parser.add_argument("--size", type=int, choices=SIZES, help=f"side of what is purified, {SIZES[0]} when left out")
    parser.add_argument(
        "--paper",
        action="store_true",
        help=f"as the paper does it: {PAPER_SIZE} px, iteration 6000, one crop after another; on a processor half an "
        "hour each",
    )
    parser.add_argument("--real-from", type=float, default=REAL_FROM, help="p_real behind the prior of a real face")
    parser.add_argument("--fake-to", type=float, default=FAKE_TO, help="p_real behind the prior of a fake, at most")
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,  # two take four fifths of the time alone, and fifty times as long where something else runs
        help="CPU threads; more are worth it only where nothing else runs (0: torch's choice)",
    )
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")


def run(arguments: argparse.Namespace) -> None:
    """Purify the faces and print what was said before and is said after, as JSON."""
    if arguments.faces < 1:
        raise UsageError(f"--faces must be 1 or more, got {arguments.faces}")
    if not 0 < arguments.fake_to <= arguments.real_from < 1:
        raise UsageError(
            f"0 < --fake-to <= --real-from < 1 is needed, got {arguments.fake_to:g} and {arguments.real_from:g}"
        )
    if arguments.paper and arguments.size:
        raise UsageError(f"--paper is at {PAPER_SIZE} px, got --size {arguments.size} too: leave one of them out")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device, size = pick_device(arguments.device), PAPER_SIZE if arguments.paper else arguments.size or SIZES[0]
    first, behind = (asked(name, arguments.threads, device) for name in (arguments.detector, arguments.behind))
    tracks = collect(arguments.video, max(size, first.size), arguments.tracks)
    limits = Limits(arguments.real_from, arguments.fake_to)
    prior = as_paper if arguments.paper else fast
    found = opinions(tracks, first, behind, arguments.faces, size, limits, device, prior)
    facts: dict[str, Any] = {
        "detector": first.name,
        "behind": behind.name,
        "prior": "paper" if arguments.paper else "fast",
    }
    facts |= {"size": size, "real_from": limits.real_from, "fake_to": limits.fake_to}
    if not found:
        facts["reason"] = NO_FACE
    text = json.dumps({**facts, "tracks": found}, indent=1)
    if arguments.out is None:
        print(text)
    else:
        write_text(arguments.out, text + "\n")
        print(arguments.out)
