"""`python -m engines purify`: a slow second opinion on faces that the `detect` stage is unsure of, or MagDR flags.

Offline, because the runtime never imports torch: it reads the file, finds and follows its faces as the runtime does,
fits Deep Image Prior to some crops of each and asks the detector again while it forgets the perturbation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stream_guard.errors import UsageError
from stream_guard.media import open_source, pixels
from stream_guard.media.orientation import orientation_of, upright
from stream_guard.stages.faces import FacesOptions, FacesStage
from stream_guard.types import Frame, centred_region

from ..detectors.registry import detector_of
from ..training import pick_device
from .prior import FAST, EarlyStop, purify

CROP = 1.3
SIZES = (64, 96, 128)
THRESHOLD = 0.25
"""p_real from which a purified face counts as real: the paper's better one."""
EVERY = 4
"""Pictures from one crop of a face to the next."""

Rgb = npt.NDArray[np.uint8]


@dataclass
class Track:
    """The crops (size, size, 3) of one face, and the times in seconds they were taken at."""

    number: int
    crops: list[Rgb] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    seen: int = 0

    def spread(self, count: int) -> list[int]:
        """The indices of `count` crops, evenly spaced."""
        return sorted({round(k) for k in np.linspace(0, len(self.crops) - 1, min(count, len(self.crops)))})


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, help="a video or a picture that FFmpeg reads")
    parser.add_argument("--detector", type=Path, required=True, metavar="DIR", help="run folder of a detector")
    parser.add_argument("--tracks", type=int, nargs="*", help="only these faces, as verdicts number them")
    parser.add_argument("--faces", type=int, default=4, help="crops of each face, evenly spaced")
    parser.add_argument("--size", type=int, default=64, choices=SIZES, help="side of what is purified; more is slower")
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="p_real from which a face is real")
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    parser.add_argument("--out", type=Path, help="write the JSON here instead of to the terminal")


def run(arguments: argparse.Namespace) -> None:
    """Purify the faces and print what the detector said before and says after, as JSON."""
    if arguments.faces < 1 or not 0 < arguments.threshold < 1:
        raise UsageError("--faces must be 1 or more and --threshold between 0 and 1")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tracks = collect(arguments.video, arguments.size, arguments.tracks)
    found = opinions(
        tracks, detector_of(arguments.detector), arguments.faces, arguments.threshold, pick_device(arguments.device)
    )
    text = json.dumps({"threshold": arguments.threshold, "size": arguments.size, "tracks": found}, indent=1)
    if arguments.out is None:
        print(text)
    else:
        arguments.out.write_text(text + "\n", encoding="utf-8")
        print(arguments.out)


def collect(video: Path, size: int, wanted: Sequence[int] | None = None) -> list[Track]:
    """The faces of a file, followed as the runtime follows them. Raises what opening the file raises."""
    stage = FacesStage(FacesOptions())
    stage.open()
    tracks: dict[int, Track] = {}
    try:
        with open_source(str(video), threads=1) as source:
            for item in source.read():
                if isinstance(item, Frame):
                    _cut(stage.process(item), size, tracks)
        _cut(stage.flush(), size, tracks)
    finally:
        stage.close()
    return [track for number, track in sorted(tracks.items()) if wanted is None or number in wanted]


def _cut(frames: Iterable[Frame], size: int, tracks: dict[int, Track]) -> None:
    for frame in frames:
        orientation = orientation_of(frame.picture)
        for face in frame.faces:
            track = tracks.setdefault(face.track, Track(face.track))
            if track.seen % EVERY == 0:
                region = centred_region(face.box, CROP, orientation)
                track.crops.append(upright(pixels.read_rgb(frame.picture, region, size), orientation))
                track.times.append(frame.time_seconds)
            track.seen += 1


def opinions(
    tracks: Sequence[Track], detector: Any, count: int, threshold: float, device: torch.device
) -> list[dict[str, Any]]:
    """For each face: p_real before and after, averaged over its crops, and the verdict; all in one batch."""
    picked = [(track, k) for track in tracks for k in track.spread(count)]
    if not picked:
        return []
    start = time.monotonic()
    crops = np.stack([track.crops[k] for track, k in picked]).transpose(0, 3, 1, 2)
    images = torch.from_numpy(crops).to(device).float() / 127.5 - 1
    detector = detector.to(device)
    with torch.no_grad():
        before = detector.p_real(images).cpu()
    after = purify(images, detector.p_real, FAST, EarlyStop()).p_real
    seconds = (time.monotonic() - start) / len(picked)
    rows = []
    for track in tracks:
        mine = [n for n, (owner, _) in enumerate(picked) if owner is track]
        p = float(after[mine].mean())
        rows.append(
            {
                "track": track.number,
                "crops": len(mine),
                "times_seconds": [round(track.times[k], 3) for owner, k in picked if owner is track],
                "p_real_before": round(float(before[mine].mean()), 4),
                "p_real_after": round(p, 4),
                "verdict": "real" if p > threshold else "fake",
                "seconds_a_face": round(seconds, 2),
            }
        )
    return rows
