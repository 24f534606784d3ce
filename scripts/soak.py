"""Faults and load against a real daemon, in sequence: `python scripts/soak.py --minutes 60 --cycles 200`.

`stream-guard serve` runs between nginx' RTMP module and ffmpeg publishers, all on loopback. Each phase makes one thing
go wrong and says what came of it; all the time /metrics is checked: frames in = frames out + drops + in flight, for
every stream. Prints JSON, and progress to stderr; ends with 1 where a phase failed.

Needs ffmpeg and nginx with its RTMP module (Debian: ffmpeg nginx libnginx-mod-rtmp), and Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from soaking.measures import Auditor, account, difference, facts, parsed  # noqa: E402
from soaking.parts import Bench, LateError, free_ports  # noqa: E402
from soaking.phases import PHASES  # noqa: E402


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def run(name: str, bench: Bench) -> dict[str, Any]:
    """One phase, with the account of its pictures."""
    bench.flows("always")
    before, began = account(parsed(bench.daemon.ask("/metrics")[1])), time.monotonic()
    fresh = name == "supervisor-killed"  # a new supervisor counts from 0
    with Auditor(bench) as auditor:
        try:
            result = PHASES[name](bench)
        except (LateError, OSError, KeyError, ValueError) as exc:
            result = {"checks": {f"{type(exc).__name__}: {exc}": False}}
            bench.unpublish("victim")
            bench.daemon.ask("/v1/streams/victim", "DELETE")
    after = account(parsed(bench.daemon.ask("/metrics")[1]))
    shown = after if fresh else difference(after, before)
    checks = {
        **result.pop("checks"),
        "the daemon lives": bench.daemon.alive,
        "pictures add up": shown["missing"] == 0 and not auditor.wrong and auditor.looks > 0,
        "nothing left unprotected": not shown["unprotected"],
    }
    good = all(checks.values())
    failed = [words for words, true in checks.items() if not true]
    say(
        f"{name}: {'good' if good else 'FAILED ' + str(failed + auditor.wrong[:3])} in {time.monotonic() - began:.0f} s"
    )
    return {
        "good": good,
        "checks": checks,
        **result,
        "pictures": shown,
        "audited": {"looks": auditor.looks, "wrong": auditor.wrong[:5]},
        "seconds": round(time.monotonic() - began, 1),
    }


def soak(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        rtmp, http = free_ports(2)
        bench = Bench(Path(folder), args, rtmp, http)
        try:
            bench.serve()
            bench.publish("always")
            say(f"the daemon was ready after {bench.daemon.start()} s")
            chosen = args.only or [name for name in PHASES if name not in args.without]
            load = [round(value, 1) for value in os.getloadavg()]
            phases = {name: run(name, bench) for name in chosen}
            code = bench.daemon.stop()
            crashes = bench.daemon.log().count("Traceback")
        finally:
            bench.close()
    ended = {"exit_code": code, "tracebacks_in_the_log": crashes}
    return {
        "good": all(phase["good"] for phase in phases.values()) and code == 0 and crashes == 0,
        "facts": facts("python scripts/soak.py " + " ".join(sys.argv[1:])),
        "pictures": f"{args.width}x{args.height}@{args.rate}",
        "load_before_and_after": [load, [round(value, 1) for value in os.getloadavg()]],
        "not_run": [name for name in PHASES if name not in phases],
        "end": ended,
        "phases": phases,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the steady phase measures")
    parser.add_argument("--streams", type=int, default=8, help="how many run at once; half of them in the steady phase")
    parser.add_argument("--cycles", type=int, default=200, help="streams that are started and stopped")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--only", action="append", choices=list(PHASES), default=[], metavar="NAME", help="this phase")
    parser.add_argument("--without", action="append", choices=list(PHASES), default=[], metavar="NAME")
    args = parser.parse_args()
    result = soak(args)
    print(json.dumps(result, indent=1))
    sys.exit(0 if result["good"] else 1)


if __name__ == "__main__":
    main()
