"""`python -m engines evaluate magdr-video`: what `screen` says of real clips, and of the same clips protected by us.

Clean clips are taken as they were delivered, and once more after H.264 crf 23: every `perturbed` is a false alarm. The
protected ones went through the product's own pipeline and encoder, so that `perturbed` is right.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_guard.chain import Chain
from stream_guard.config import OnFailure, PipelineConfig, load_pipeline
from stream_guard.magdr import plausible
from stream_guard.media import EncoderSettings, FileSink, Source, open_source, pixels
from stream_guard.media.orientation import orientation_of, upright
from stream_guard.metrics import Metrics
from stream_guard.outcome import Tally
from stream_guard.screen import TrackVerdict, judge, note
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Frame, head_region

from ..evaluation.figures import share
from ..shipping import RESULTS
from ..writing import write_json
from .faces import Crops

Row = dict[str, Any]
STAGES = "faces", "magdr"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=Path, nargs="+", required=True, metavar="PATH", help="videos of real people")
    parser.add_argument("--frames", type=int, default=75, help="pictures of each clip")
    parser.add_argument("--protected", type=int, default=8, help="how many of the clips are protected as well")
    parser.add_argument("--out", type=Path, default=RESULTS / "magdr_video.json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    config = load_pipeline("screen")
    judging = replace(config, stages=tuple(spec for spec in config.stages if spec.name in STAGES))
    found: dict[str, list[tuple[str, TrackVerdict]]] = {"as delivered": [], "H.264 crf 23": [], "protected": []}
    for number, clip in enumerate(sorted(arguments.clips)):
        with tempfile.TemporaryDirectory(prefix="stream-guard-") as folder:
            versions = {"as delivered": clip, "H.264 crf 23": written(clip, Path(folder), None, arguments.frames)}
            if number < arguments.protected:
                versions["protected"] = written(clip, Path(folder), load_pipeline("protect"), arguments.frames)
            for name, path in versions.items():
                verdicts = screened(path, judging, arguments.frames)
                found[name] += [(f"clip {number}", verdict) for verdict in verdicts]
        print(f"{number + 1} of {len(arguments.clips)} clips", flush=True)
    document = {
        "command": "python -m engines evaluate magdr-video --clips CLIPS "
        f"--frames {arguments.frames} --protected {arguments.protected}",
        "data": f"{len(arguments.clips)} clips, {arguments.frames} pictures each",
        "rows": [row(name, tracks) for name, tracks in found.items() if tracks],
    }
    write_json(arguments.out, document)
    print(arguments.out)


def row(name: str, tracks: Sequence[tuple[str, TrackVerdict]]) -> Row:
    """Labels, reasons for unknown, and the share called perturbed of those that were judged."""
    judged = [(clip, verdict) for clip, verdict in tracks if verdict.label != "unknown"]
    flags = [verdict.label == "perturbed" for _, verdict in judged]
    return {
        "version": name,
        "tracks": len(tracks),
        "labels": dict(Counter(verdict.label for _, verdict in tracks)),
        "unknown": dict(Counter(verdict.reason for _, verdict in tracks if verdict.label == "unknown")),
        "perturbed": share(flags, [clip for clip, _ in judged]) if judged else None,
        "scores": sorted(round(verdict.score, 3) for _, verdict in judged if verdict.score is not None),
    }


def screened(path: Path, config: PipelineConfig, frames: int) -> list[TrackVerdict]:
    """The verdicts of the faces in the first pictures of a file."""
    tally, tracks = Tally(Metrics(), OnFailure.PASS), dict[tuple[str, int | None], Any]()
    with open_source(str(path)) as source, Chain(config.stages, tally) as chain:
        for frame in first(source, frames):
            for out in chain.process(frame):
                note(tracks, out)
        for out in chain.flush():
            note(tracks, out)
    verdicts, _, _ = judge(tracks, {"magdr": ("perturbed",)})
    return [verdict for verdict in verdicts if verdict.track is not None]


def written(path: Path, folder: Path, config: PipelineConfig | None, frames: int) -> Path:
    """The first pictures of a file at crf 23, through a pipeline or as they are, without sound."""
    out = folder / f"{'plain' if config is None else config.name}.mp4"
    with open_source(str(path)) as source:
        sink = FileSink(str(out), source, EncoderSettings(crf=23))
        try:
            with Chain(() if config is None else config.stages, Tally(Metrics(), OnFailure.PASS)) as chain:
                for frame in first(source, frames):
                    for done in chain.process(frame):
                        sink.write(done)
                for done in chain.flush():
                    sink.write(done)
            sink.close()
        except BaseException:
            sink.abort()
            raise
    return out


def crops(path: Path, size: int, frames: int = 50, looks: int = 3) -> Crops:
    """Upright head crops (N, size, size, 3) of the largest face at up to `looks` moments of a file's first pictures."""
    stage, seen = FacesStage(), []
    stage.open()
    try:
        with open_source(str(path)) as source:
            for frame in first(source, frames):
                seen += list(stage.process(frame))
            seen += list(stage.flush())
    finally:
        stage.close()
    found = []
    for frame in seen[:: max(1, len(seen) // looks)][:looks]:
        boxes = [face.box for face in frame.faces]
        best = max(boxes, key=lambda box: box.area, default=None)
        others = [box for box in boxes if box is not best]
        way = orientation_of(frame.picture)
        if best is not None and not plausible.place(best, others, frame.width, frame.height, 48, way):
            found.append(upright(pixels.read_rgb(frame.picture, head_region(best, way), size), way))
    return np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)


def first(source: Source, count: int) -> Iterator[Frame]:
    for item in source.read():
        if isinstance(item, Frame):
            yield item
            count -= 1
            if count <= 0:
                return
