"""How fast a video is protected, against a plain transcode, a naive loop and `deface`; prints JSON.

    python -m engines.evaluation.benchmark_throughput [CLIP] [--seconds 10] [--repeats 5] > throughput.json

Without CLIP a talking head of 1280x720 with sound is drawn. The sides run alternately in this one run, so that a
machine that gets slower gets slower for all; each repeat starts with another side.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from stream_guard.audit.run import AuditOptions, audit
from stream_guard.config import load_pipeline, parse_set
from stream_guard.errors import StreamGuardError
from stream_guard.media import EncoderSettings, open_source, transcode
from stream_guard.media.measure import stream_size
from stream_guard.media.synthesis import write_clip
from stream_guard.protect import protect_file
from stream_guard.talking_head import speech, talking_head

from .deface_side import DEFACE_SIDES, deface_seconds, find_deface
from .machine import machine
from .naive_loop import naive_protect

WIDTH, HEIGHT, RATE = 1280, 720, 25


@dataclass
class Side:
    """One way to do it. `run` takes the output's path and returns the seconds that count."""

    name: str
    run: Callable[[Path], float]
    frames: int
    seconds: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def once(self, folder: Path) -> None:
        target = folder / f"{self.name}.mp4"
        target.unlink(missing_ok=True)
        started = perf_counter()
        self.seconds.append(self.run(target))
        self.wall.append(perf_counter() - started)

    @property
    def rates(self) -> list[float]:
        return [self.frames / seconds for seconds in self.seconds]

    def summary(self) -> dict[str, object]:
        return {"frames": self.frames, "fps": spread(self.rates), "seconds": self.seconds, "wall_seconds": self.wall}


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def timed(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="stream-guard-bench-") as folder:
        print(json.dumps(benchmark(options, Path(folder)), indent=2))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engines.evaluation.benchmark_throughput", description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path, help="a video; drawn when left out")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the drawn clip")
    parser.add_argument("--deface-seconds", type=float, default=2.0, help="length of the drawn clip for deface")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--crf", type=float, default=20.0)
    parser.add_argument("--preset", default="veryfast")
    parser.add_argument("--threads", type=int, default=0, help="encoder threads; 0 lets the encoder choose")
    parser.add_argument("--engine", help="the disrupter; the zoo's default when left out")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    parser.add_argument("--without", action="append", default=[], choices=["naive", "deface"], help="leave a side out")
    return parser.parse_args(arguments)


def benchmark(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Runs all sides and returns what is printed. Progress goes to stderr."""
    facts = machine()
    clip = options.clip or drawn(folder / "clip.mp4", options, options.seconds)
    encoder = EncoderSettings(codec="libx264", preset=options.preset, crf=options.crf, threads=options.threads)
    own = own_sides(clip, encoder, options)
    sides = [*own, *deface_sides(folder, options)]
    for side in own:  # caches, page tables and lazy imports are not what is measured
        say(f"warming up: {side.name}")
        side.run(warm := folder / "warm-up.mp4")
        warm.unlink()
    for repeat in range(options.repeats):
        for i in range(len(sides)):
            side = sides[(i + repeat) % len(sides)]
            side.once(folder)
            say(f"repeat {repeat + 1} of {options.repeats}: {side.name} {side.rates[-1]:.1f} fps")
    return {
        "benchmark": "throughput",
        "clip": describe(clip),
        "encoder": {"codec": "libx264", "preset": options.preset, "crf": options.crf, "threads": options.threads},
        "backend": options.backend,
        "machine": facts,
        "repeats": options.repeats,
        "sides": {side.name: side.summary() for side in sides},
        "ratios": ratios(sides),
        "cost": cost(clip, folder),
        "notes": notes(options),
    }


def drawn(path: Path, options: argparse.Namespace, seconds: float) -> Path:
    say(f"drawing a talking head of {seconds:g} s")
    width, height = options.width, options.height
    pictures = talking_head(width, height, seconds, RATE)
    write_clip(path, pictures, width=width, height=height, rate=RATE, loudness=speech)
    return path


def own_sides(clip: Path, encoder: EncoderSettings, options: argparse.Namespace) -> list[Side]:
    """The plain transcode, the product, and the naive loop, all with the same encoder settings."""
    sets = [f"disrupt.backend={options.backend}", f"faces.backend={options.backend}"]
    sets += [f"disrupt.engine={options.engine}"] if options.engine else []
    config = load_pipeline("protect", [parse_set(text) for text in sets])
    frames = frames_of(clip)
    sides = [
        Side("plain", lambda out: timed(lambda: transcode(str(clip), str(out), encoder)), frames),
        Side("ours", lambda out: protect_file(clip, out, config, encoder=encoder).seconds, frames),
    ]
    if "naive" not in options.without:
        loop = partial(naive_protect, clip, encoder=encoder, engine=options.engine, backend=options.backend)
        sides.append(Side("naive", lambda out: timed(lambda: loop(out)), frames))
    return sides


def deface_sides(folder: Path, options: argparse.Namespace) -> list[Side]:
    """`deface` on a shorter clip of the same kind, since it is slow; what one picture takes is not counted."""
    if "deface" in options.without or find_deface() is None:
        return []
    clip = options.clip or drawn(folder / "clip-for-deface.mp4", options, options.deface_seconds)
    single = drawn(folder / "one-picture.mp4", options, 1 / RATE)
    frames = frames_of(clip) - 1
    return [Side(name, deface_run(clip, single, extra), frames) for name, extra in DEFACE_SIDES.items()]


def deface_run(clip: Path, single: Path, extra: list[str]) -> Callable[[Path], float]:
    """One run of deface, less the time it takes for a single picture: Python's start, the model's loading and so on."""
    fixed = min(deface_seconds(single, single.with_name("one-defaced.mp4"), extra) for _ in range(2))
    say(f"deface {' '.join(extra)}: {fixed:.1f} s for a single picture")
    return lambda out: max(deface_seconds(clip, out, extra) - fixed, 1e-3)


def frames_of(clip: Path) -> int:
    with open_source(str(clip)) as source:
        return stream_size(str(clip), source.info.video.stream).packets


def ratios(sides: list[Side]) -> dict[str, dict[str, float]]:
    """Ours over each other side, in frames a second, within each repeat."""
    ours = next(side for side in sides if side.name == "ours")
    others = [side for side in sides if side is not ours]
    found = {f"ours_to_{o.name}": spread([a / b for a, b in zip(ours.rates, o.rates, strict=True)]) for o in others}
    plain = next(side for side in sides if side.name == "plain")
    found["ours_to_plain_with_loading"] = spread([b / a for a, b in zip(ours.wall, plain.wall, strict=True)])
    return found


def cost(clip: Path, folder: Path) -> dict[str, object]:
    """Bit rate and pixels at the same crf, with the plain transcode's own loss subtracted."""
    say("measuring bit rate and PSNR")
    summary = audit(
        *(clip, folder / "ours.mp4", []), reference=folder / "plain.mp4", options=AuditOptions(samples=8)
    ).summary
    return {key: summary[key] for key in ("bitrate_ratio", "face", "frame", "flicker", "flicker_reference", "faces")}


def describe(clip: Path) -> dict[str, object]:
    with open_source(str(clip)) as source:
        video = source.info.video
        size = stream_size(str(clip), video.stream)
    return {
        "width": video.width,
        "height": video.height,
        "codec": video.codec,
        "pix_fmt": video.pix_fmt,
        "frames": size.packets,
        "seconds": size.seconds,
        "sound": any(stream.kind == "audio" for stream in source.info.streams),
    }


def notes(options: argparse.Namespace) -> list[str]:
    said = [
        "ours: seconds from the first picture's decoding to the finished file; wall_seconds include loading engines"
    ]
    if options.clip is None:
        said.append("the clip is a talking head that is drawn from the astronaut portrait of scikit-image")
    if "deface" in options.without:
        said.append("deface was left out")
    elif find_deface() is None:
        said.append("deface was not found on the path and is left out")
    else:
        said.append("deface: wall time of its command less what a clip of one picture takes, over the other pictures")
    return said


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except StreamGuardError as error:
        sys.exit(f"benchmark_throughput: {error}")
