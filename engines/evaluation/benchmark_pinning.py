"""Whether binding decode, stages and encode to cores protects a video faster; prints JSON. Linux only.

    python -m engines.evaluation.benchmark_pinning [--seconds 8] [--repeats 5] > pinning.json

The ways run in turns on a drawn talking head of 1280x720. FFmpeg's own threads inherit the cores of the thread that
opens the codec; `apart` gives the stages a core of their own and leaves the rest to all others.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from stream_guard.config import load_pipeline
from stream_guard.crew import Crew
from stream_guard.media import EncoderSettings
from stream_guard.protect import protect_file

from .benchmark_throughput import Side, describe, drawn, frames_of, say, spread
from .machine import machine

Cores = dict[str, set[int]]


def ways(cores: list[int]) -> dict[str, Cores]:
    """By the runner's names of its threads; a thread that is not named may run anywhere."""
    first, last = {cores[0]}, {cores[-1]}
    others = set(cores[1:]) or first
    return {
        "off": {},
        "each": {"stages": first, "decode": last, "encode": last},
        "apart": {"stages": first, "decode": others, "encode": others},
        "stages": {"stages": first},
    }


@contextmanager
def bound(wanted: Cores) -> Iterator[None]:
    """The runner's threads start on these cores."""
    start = Crew.start

    def start_there(crew: Crew, name: str, work: Callable[[], None], *, daemon: bool = False) -> None:
        def on_core() -> None:
            if name in wanted:
                os.sched_setaffinity(0, wanted[name])  # of this thread alone
            work()

        start(crew, name, on_core, daemon=daemon)

    with patch.object(Crew, "start", start_there):
        yield


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(benchmark(options, Path(folder)), indent=1))


def benchmark(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    facts, clip = machine(), drawn(folder / "clip.mp4", options, options.seconds)
    config, frames = load_pipeline("protect"), frames_of(clip)
    encoder = EncoderSettings(codec="libx264", preset="veryfast", crf=20)

    def run(wanted: Cores, out: Path) -> float:
        with bound(wanted):
            return protect_file(clip, out, config, encoder=encoder).seconds

    found = ways(sorted(os.sched_getaffinity(0)))
    sides = [Side(name, partial(run, wanted), frames) for name, wanted in found.items()]
    run({}, folder / "warm-up.mp4")
    for repeat in range(options.repeats):
        for i in range(len(sides)):
            side = sides[(i + repeat) % len(sides)]
            side.once(folder)
            say(f"repeat {repeat + 1} of {options.repeats}: {side.name} {side.rates[-1]:.1f} fps")
    off = sides[0].rates
    return {
        "benchmark": "pinning",
        "machine": facts,
        "clip": describe(clip),
        "repeats": options.repeats,
        "ways": {name: {thread: sorted(at) for thread, at in wanted.items()} for name, wanted in found.items()},
        "sides": {side.name: side.summary() for side in sides},
        "over_off": {s.name: spread([a / b for a, b in zip(s.rates, off, strict=True)]) for s in sides[1:]},
    }


if __name__ == "__main__":
    main()
