"""Glass-to-glass delay that a protected live stream adds, through nginx's RTMP module: `python scripts/latency.py`.

A publisher draws the time into every picture as black and white squares. From nginx the stream is taken twice, at the
same time: by Stream Guard, and by a plain PyAV relay that decodes and encodes with the same settings. Two viewers read
the squares. The difference of the two delays of the same picture is what protection adds. Prints JSON.

Needs nginx with its RTMP module (Debian: nginx libnginx-mod-rtmp). Everything stays on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

RTMP_MODULE = "/usr/lib/nginx/modules/ngx_rtmp_module.so"
SQUARE, BITS, CHECK = 8, 32, 8
"""The clock: 32 bits of milliseconds and 8 of a checksum, as squares of 8 x 8 samples in the top row."""
WARM_UP_SECONDS = 8.0
"""Left out: connections begin with what the servers held back."""
SHOWN = ("frames_in", "frames_out", "dropped", "blocked", "unprotected", "faces", "protected_faces")
SLOPE_SECONDS = 100
"""A slope over less than this says nothing."""
GOP_SECONDS = 2
LOW_DELAY = {"fflags": "nobuffer", "analyzeduration": "1000000", "probesize": "500000"}


def checksum(value: int) -> int:
    return (sum(value >> shift & 0xFF for shift in (0, 8, 16, 24)) ^ 0xA5) & 0xFF


def draw_clock(luma: Any, milliseconds: int) -> None:
    """Write the time into the top rows of a luma plane (rows, columns)."""
    value = milliseconds & 0xFFFFFFFF
    code = value << CHECK | checksum(value)
    for place in range(BITS + CHECK):
        bit = code >> (BITS + CHECK - 1 - place) & 1
        luma[:SQUARE, place * SQUARE : (place + 1) * SQUARE] = 235 if bit else 16


def read_clock(luma: Any) -> int | None:
    """The time in the picture, or None where the squares can't be read."""
    cells = luma[2 : SQUARE - 2, : SQUARE * (BITS + CHECK)].reshape(SQUARE - 4, BITS + CHECK, SQUARE)[:, :, 2:-2]
    code = 0
    for bright in cells.mean(axis=(0, 2)) > 125:
        code = code << 1 | int(bright)
    value = code >> CHECK
    return value if checksum(value) == code & 0xFF else None


def plane(picture: av.VideoFrame) -> Any:
    y = picture.planes[0]
    return np.frombuffer(y, np.uint8).reshape(y.height, -1)[:, : picture.width]


def encoder(out: Any, width: int, height: int, rate: int, preset: str, crf: float) -> Any:
    stream = out.add_stream(
        "libx264", rate=rate, options={"preset": preset, "crf": str(crf), "tune": "zerolatency", "forced-idr": "1"}
    )
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base = Fraction(1, 1000)
    context.gop_size, context.thread_type = GOP_SECONDS * rate, "SLICE"
    return stream


def opened(url: str) -> Any:
    """The stream, once somebody publishes it."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return av.open(url, options=LOW_DELAY, timeout=20)
        except av.error.OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


# --- the parts, each a process of its own -----------------------------------------------------------------------------


def publish(args: argparse.Namespace) -> None:
    """A talking head, in a loop, with the time in it and a tone."""
    from stream_guard.talking_head import talking_head

    shown = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format="yuv420p").to_ndarray()
        for rgb in talking_head(args.width, args.height, 4, args.rate)
    ]
    order = [*range(len(shown)), *range(len(shown) - 2, 0, -1)]
    with av.open(args.source, "w", format="flv") as out:
        video = encoder(out, args.width, args.height, args.rate, "ultrafast", 20)
        sound = out.add_stream("aac", rate=44100, layout="mono")
        began, samples = time.monotonic(), 0
        for number in range(round(args.seconds * args.rate)):
            time.sleep(max(began + number / args.rate - time.monotonic(), 0))
            pixels = shown[order[number % len(order)]].copy()
            draw_clock(pixels[: args.height], round(time.monotonic() * 1000))
            picture = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            picture.pts, picture.time_base = round(number * 1000 / args.rate), Fraction(1, 1000)
            out.mux(video.encode(picture))
            while samples < (number + 1) / args.rate * 44100:
                block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 44100, samples, Fraction(1, 44100)
                out.mux(sound.encode(block))
                samples += 1024


def relay(args: argparse.Namespace) -> None:
    """Decode and encode, nothing else; the sound is copied."""
    with opened(args.source) as source, av.open(args.target, "w", format="flv") as out:
        came = source.streams.video[0]
        came.codec_context.thread_type = "SLICE"
        video = encoder(out, came.codec_context.width, came.codec_context.height, args.rate, args.preset, args.crf)
        sounds = {stream.index: out.add_stream_from_template(stream) for stream in source.streams.audio}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream_index in sounds:
                packet.stream = sounds[packet.stream_index]
                out.mux(packet)
                continue
            for picture in packet.decode():
                picture.pict_type = 0
                out.mux(video.encode(picture))


def protect(args: argparse.Namespace) -> None:
    """Stream Guard."""
    from stream_guard.config import load_pipeline, parse_set
    from stream_guard.live.spec import LiveSpec
    from stream_guard.live.stream import LiveStream
    from stream_guard.media import EncoderSettings, LiveOutput
    from stream_guard.metrics import Metrics

    config = load_pipeline(args.pipeline, [parse_set(text) for text in args.set])
    spec = LiveSpec(
        "latency",
        args.source,
        (LiveOutput(args.target),),
        config,
        EncoderSettings(preset=args.preset, crf=args.crf, gop=GOP_SECONDS * args.rate),
        end_after_gap_seconds=20.0,
    )
    metrics = Metrics()
    stream = LiveStream(spec, metrics)
    signal.signal(signal.SIGINT, lambda number, where: stream.drain())
    status = stream.run(threading.Event())
    value = metrics.registry.get_sample_value
    spent = {
        name: round(1000 * (value("stream_guard_stage_duration_seconds_sum", {"stage": name}) or 0) / count, 2)
        for name in [*(stage.name for stage in config.stages), "encode"]
        if (count := value("stream_guard_stage_duration_seconds_count", {"stage": name}))
    }
    json.dump({"stage_ms": spent, "status": status.to_json()}, sys.stdout)


def view(args: argparse.Namespace) -> None:
    """Prints the time in each picture and the time at which it was decoded, in milliseconds."""
    with opened(args.source) as source:
        source.streams.video[0].codec_context.thread_type = "SLICE"
        for picture in source.decode(video=0):
            now, drawn = time.monotonic() * 1000, read_clock(plane(picture))
            print(-1 if drawn is None else drawn, round(now, 1), flush=True)


ROLES: dict[str, Callable[[argparse.Namespace], None]] = {
    "publish": publish,
    "relay": relay,
    "protect": protect,
    "view": view,
}


# --- putting them together --------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    # A session of its own: the scheduler shares the cores between sessions, as between services.
    process = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def nginx(folder: Path, port: int) -> Iterator[None]:
    blocks = " ".join(f"application {name} {{ live on; }}" for name in ("live", "protected", "plain"))
    (folder / "nginx.conf").write_text(
        f"load_module {RTMP_MODULE}; daemon off; master_process off; pid {folder}/pid; error_log {folder}/log error;\n"
        f"events {{}} rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096; {blocks} }} }}\n"
    )
    with child(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=subprocess.DEVNULL):
        wait_until(lambda: listens(port), "nginx to listen")
        yield


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run all parts for the given time; what came of it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        stack.enter_context(nginx(folder, port))
        at = {name: f"rtmp://127.0.0.1:{port}/{name}/clock" for name in ("live", "protected", "plain")}

        def part(role: str, log: str, **urls: str) -> subprocess.Popen[str]:
            out = stack.enter_context((folder / log).open("w"))
            given = [f"--{name}={url}" for name, url in urls.items()]
            command = [sys.executable, str(HERE), *sys.argv[1:], f"--role={role}", *given]
            return stack.enter_context(child(command, stdout=out))

        publisher = part("publish", "publisher", source=at["live"])
        protecting = part("protect", "ours", source=at["live"], target=at["protected"])
        part("relay", "relay", source=at["live"], target=at["plain"])
        for name in ("protected", "plain"):
            part("view", f"seen-{name}", source=at[name])
        publisher.wait()
        time.sleep(2.0)
        protecting.send_signal(signal.SIGINT)
        protecting.wait(60)
        seen = {name: read_log(folder / f"seen-{name}") for name in ("protected", "plain")}
        ours = json.loads((folder / "ours").read_text() or "{}")
    return conclude(args, seen, ours)


def read_log(path: Path) -> dict[int, float]:
    """Delay in ms by the time that was drawn; unreadable pictures have the key -1."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(row[0]): float(row[1]) - int(row[0]) for row in rows if len(row) == 2}


def conclude(args: argparse.Namespace, seen: dict[str, dict[int, float]], ours: dict[str, Any]) -> dict[str, Any]:
    both = sorted(set(seen["protected"]) & set(seen["plain"]) - {-1})
    both = [drawn for drawn in both if drawn > both[0] + WARM_UP_SECONDS * 1000]
    if not both:
        raise SystemExit("no picture arrived on both ways; see whether nginx and the encoders run")
    protected, plain = (np.array([seen[name][drawn] for drawn in both]) for name in ("protected", "plain"))
    status = ours.get("status", {})
    return {
        "pictures": len(both),
        "seconds": round((both[-1] - both[0]) / 1000, 1),
        "size": f"{args.width}x{args.height}@{args.rate}",
        "encoder": f"libx264 {args.preset} crf {args.crf:g} zerolatency",
        "pipeline": args.pipeline,
        "protected_ms": spread(protected),
        "plain_ms": spread(plain),
        "added_ms": spread(protected - plain),
        "added_of_percentiles_ms": {
            name: round(spread(protected)[name] - spread(plain)[name], 1) for name in ("p50", "p99")
        },
        "slope_ms_per_hour": {"protected": slope(both, protected), "plain": slope(both, plain)},
        "stage_ms": ours.get("stage_ms"),
        "status": {key: status.get(key) for key in SHOWN},
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def spread(values: Any) -> dict[str, float]:
    return {name: round(float(np.percentile(values, q)), 1) for name, q in (("p50", 50), ("p90", 90), ("p99", 99))}


def slope(drawn: list[int], delays: Any) -> float | None:
    """Of the medians of ten seconds each, by Theil and Sen: a few bad moments do not tilt it. None for a short run."""
    times = np.array(drawn)
    if times[-1] - times[0] < SLOPE_SECONDS * 1000:
        return None
    slots = (times - times[0]) // 10_000
    points = [(float(times[slots == s].mean()), float(np.median(delays[slots == s]))) for s in np.unique(slots)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(points) for b in points[i + 1 :]]
    return round(float(np.median(slopes)) * 3_600_000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the publisher sends")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--preset", default="veryfast", help="of both encoders")
    parser.add_argument("--crf", type=float, default=23.0, help="of both encoders")
    parser.add_argument("--pipeline", default="live")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.OPTION=VALUE", help="any stage option")
    parser.add_argument("--role", choices=sorted(ROLES), help=argparse.SUPPRESS)
    parser.add_argument("--source", default="", help=argparse.SUPPRESS)
    parser.add_argument("--target", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.seconds = args.minutes * 60
    if args.role:
        ROLES[args.role](args)
    else:
        print(json.dumps(measure(args), indent=2))


if __name__ == "__main__":
    main()
