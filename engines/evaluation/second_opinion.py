"""`python -m engines evaluate second-opinion`: what `purify` says of the faces of whole videos."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from stream_guard.errors import UsageError

from ..arguments import add_threads
from ..data.clips import SUFFIXES, videos_in
from ..invocation import invocation
from ..purification.command import BEHIND, SIZES
from ..purification.judges import Asked, asked
from ..purification.opinions import Limits, opinions
from ..purification.tracks import collect
from ..training import pick_device
from ..writing import write_json
from .machine import machine

RESULTS = Path(__file__).resolve().parent / "results" / "second_opinion.json"
LEAST_CROPS = 2
"""Of a track: shorter ones are mostly no faces."""


def add(parser: argparse.ArgumentParser) -> None:
    folders: dict[str, Any] = {"type": Path, "nargs": "*", "default": [], "metavar": "DIR"}
    parser.add_argument("--real", **folders, help="folders of real videos, of people that nothing learned from")
    parser.add_argument("--fake", **folders, help="folders of deepfakes")
    parser.add_argument("--detector", default="", metavar="ENGINE|DIR")
    parser.add_argument("--behind", default=BEHIND, metavar="ENGINE|DIR")
    parser.add_argument("--faces", type=int, default=3, help="crops of each face, evenly spaced")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    add_threads(parser)
    parser.add_argument("--out", type=Path, default=RESULTS)


def run(arguments: argparse.Namespace) -> None:
    """Measure and write the JSON: a row a video, and how often each verdict was given."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    videos = _videos(arguments)
    start, device = time.monotonic(), pick_device(arguments.device)
    first, behind = (asked(name, arguments.threads, device) for name in (arguments.detector, arguments.behind))
    rows = [
        {
            "folder": folder.name,
            "video": path.name,
            "real": real,
            "tracks": _tracks(path, first, behind, arguments, device),
        }
        for real, folder, path in videos
    ]
    places = {folder: f"videos/{folder.name}" for folder in (*arguments.real, *arguments.fake)}
    document = {
        "table": "second_opinion",
        "title": "Deep Image Prior as a second opinion, on the faces of whole videos",
        "command": invocation({**places, arguments.out: "OUT"}),
        "seed": 0,
        "device": str(device),
        "machine": machine(),
        "detector": first.name,
        "behind": behind.name,
        "together": [_together([row for row in rows if row["real"] == real], real) for real in (True, False)],
        "rows": rows,
        "seconds": round(time.monotonic() - start, 1),
    }
    write_json(arguments.out, document)
    print(arguments.out)


def _videos(arguments: argparse.Namespace) -> list[tuple[bool, Path, Path]]:
    """(real or fake, folder, video) of all, looked up before the first is measured. Raises UsageError for none."""
    folders = [(True, folder) for folder in arguments.real] + [(False, folder) for folder in arguments.fake]
    found = [(real, folder, path) for real, folder in folders for path in videos_in(folder)]
    if not found:
        raise UsageError(f"nothing to measure: no video in --real and --fake; videos end in {', '.join(SUFFIXES)}")
    return found


def _tracks(
    path: Path, first: Asked, behind: Asked, arguments: argparse.Namespace, device: torch.device
) -> list[dict[str, Any]]:
    print(path.name, file=sys.stderr)
    tracks = [track for track in collect(path, max(SIZES[0], first.size)) if len(track.crops) >= LEAST_CROPS]
    return opinions(tracks, first, behind, arguments.faces, SIZES[0], Limits(), device)


def _together(rows: list[dict[str, Any]], real: bool) -> dict[str, Any]:
    """Verdicts on the faces that are large enough, and those of the first detector alone, at p_real .5."""
    large = [track for row in rows for track in row["tracks"] if "p_real_after" in track]
    return {
        "real": real,
        "videos": len(rows),
        "faces": len(large),
        "too_small": sum(len(row["tracks"]) for row in rows) - len(large),
        "verdicts": dict(Counter(track["verdict"] for track in large)),
        "real_before": sum(track["p_real_before"] > 0.5 for track in large),
        "real_behind": sum(track["p_real_after"] > Limits().real_from for track in large),
    }
