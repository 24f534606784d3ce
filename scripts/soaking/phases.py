"""Each fault as a function: makes it happen, waits for what must follow, and says what it saw.

A phase returns `checks` (what must be true, in words) and figures. `always` is a stream of the configuration that no
phase touches: it must go on through all of them, but where nginx or the supervisor ends.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from .measures import parsed, processes, slope, total
from .parts import Bench, children, free_ports, gone, noisy_relay, slow_proxy, small_disk, until

Result = dict[str, Any]
VICTIM = "victim"
AHEAD = ("-muxdelay", "0", "-output_ts_offset")
SAMPLE_SECONDS = 5.0
SETTLE_SECONDS = 60.0
"""Left out of slopes: caches and allocators fill up."""


def publisher_killed(bench: Bench) -> Result:
    bench.begin(VICTIM)
    times = []
    for _ in range(3):
        bench.unpublish(VICTIM)
        until(lambda: bench.daemon.status(VICTIM).get("phase") == "gap", "the gap")
        wanted = bench.daemon.status(VICTIM)["filled"] + 5
        until(partial(_filled, bench, wanted), "pictures that fill the gap")
        bench.publish(VICTIM)
        times.append(until(lambda: bench.daemon.status(VICTIM).get("phase") == "running", "the source to be back"))
        bench.flows(VICTIM)
    status = bench.daemon.status(VICTIM)
    checks = {
        "reconnected each time": status["reconnects"] == 3,
        "the output stayed open": status["outputs"][0]["reconnects"] == 0 and status["outputs"][0]["state"] == "open",
    }
    bench.end(VICTIM)
    return {"checks": checks, "seconds_until_back": times}


def _filled(bench: Bench, wanted: int) -> bool:
    return bool(bench.daemon.status(VICTIM).get("filled", 0) >= wanted)


def _restarted(bench: Bench, times: int) -> bool:
    return bool(bench.daemon.stream(VICTIM)["restarts"] == times)


def server_restarted(bench: Bench) -> Result:
    bench.begin(VICTIM)
    bench.unserve()
    until(lambda: bench.daemon.status(VICTIM).get("phase") == "gap", "the gap")
    bench.serve()
    for name in (VICTIM, "always"):
        bench.publish(name)
    back = {name: bench.flows(name) for name in (VICTIM, "always")}
    until(lambda: bench.daemon.status(VICTIM)["outputs"][0]["state"] == "open", "the output to be back")
    restarts = bench.daemon.stream(VICTIM)["restarts"]
    bench.end(VICTIM)
    return {"checks": {"no worker was restarted": restarts == 0}, "seconds_until_pictures": back}


def output_refused(bench: Bench) -> Result:
    refused = f"rtmp://127.0.0.1:{bench.rtmp_port}/nowhere/{VICTIM}"
    bench.begin(VICTIM, bench.protected(VICTIM), refused, f"rtmp://127.0.0.1:9/none/{VICTIM}")
    bench.flows(VICTIM, 30)
    outputs = bench.daemon.status(VICTIM)["outputs"]
    bench.end(VICTIM)
    checks = {
        "the good output is open": outputs[0]["state"] == "open" and outputs[0]["dropped"] == 0,
        "the others are tried again, in words": all(o["state"] == "waiting" and o["error"] for o in outputs[1:]),
        "no key is shown": VICTIM not in str([output["url"] for output in outputs]),
    }
    return {"checks": checks, "errors": [output["error"] for output in outputs]}


def corrupt_packets(bench: Bench) -> Result:
    """A transport stream over UDP of which some packets are damaged and some never arrive."""
    (port,) = free_ports(1)
    with noisy_relay(port) as (own, done):
        bench.daemon.add(VICTIM, f"udp://127.0.0.1:{port}", bench.protected(VICTIM))
        bench.publish(VICTIM, f"udp://127.0.0.1:{own}?pkt_size=1316")
        bench.flows(VICTIM, 80)
        state = bench.daemon.stream(VICTIM)
    page = parsed(bench.daemon.ask("/metrics")[1])
    seen = {what: int(total(page, f"source_corrupt_{what}_total")) for what in ("packets", "frames")}
    bench.end(VICTIM)
    checks = {"no worker was restarted": state["restarts"] == 0, "the damage was seen": sum(seen.values()) > 0}
    sent = {"packets_damaged": done[0], "packets_lost": done[1]}
    return {"checks": checks, "sent": sent, "seen": seen, "reconnects": state["status"]["reconnects"]}


def clock_jumps(bench: Bench) -> Result:
    """Over UDP, so that no connection breaks: the clock goes back by 14 hours, then ahead by as much."""
    (port,) = free_ports(1)
    url = f"udp://127.0.0.1:{port}"
    bench.daemon.add(VICTIM, url, bench.protected(VICTIM), stall=30, read_timeout=30)
    for options in ((*AHEAD, "50000"), (*AHEAD, "0"), (*AHEAD, "50000")):
        bench.publish(VICTIM, f"{url}?pkt_size=1316", *options)
        bench.flows(VICTIM, 40)
    state = bench.daemon.stream(VICTIM)
    bench.end(VICTIM)
    checks = {
        "no worker was restarted": state["restarts"] == 0,
        "the connection stayed": state["status"]["reconnects"] == 0,
        "it runs": state["phase"] == "running",
    }
    return {"checks": checks}


def disk_full(bench: Bench) -> Result:
    """The recording fills its disk; the outputs must not notice.

    The disk is a file system of 400 KiB in memory, which only root may mount; others get a limit on the size of files,
    set from outside.
    """
    with small_disk(bench.folder / "disk") as mounted:
        pid = bench.begin(VICTIM, record=str(bench.folder / "disk" / "recording.mkv"))
        if not mounted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        until(lambda: len(_told(bench, "record")) > 1, "words on the recording")
        bench.flows(VICTIM, 20)
        state = bench.daemon.stream(VICTIM)
        bench.end(VICTIM)
    said = _told(bench, "record")
    checks = {
        "the output goes on": state["status"]["outputs"][0]["state"] == "open",
        "no worker was restarted": state["restarts"] == 0,
        "the trouble was told": any(("No space" if mounted else "too large") in words for words in said),
    }
    told = [words.replace(str(bench.folder), "FOLDER") for words in said[:3]]
    return {"checks": checks, "full": "a file system" if mounted else "a limit on the size of files", "told": told}


def _told(bench: Bench, kind: str) -> list[str]:
    """What the log says of the victim's outputs or recording."""
    mark = f"stream={VICTIM} {kind}: "
    return [line.partition(mark)[2] for line in bench.daemon.log().splitlines() if mark in line]


def worker_killed(bench: Bench) -> Result:
    pid = bench.begin(VICTIM)
    times = []
    for count in (1, 2):
        os.kill(pid, signal.SIGKILL)
        others = set(children(bench.daemon.pid))
        until(partial(_restarted, bench, count), "the restart")
        until(lambda: bench.daemon.stream(VICTIM)["phase"] == "running", "the stream to run")
        times.append(bench.flows(VICTIM))
        pid = max(set(children(bench.daemon.pid)) - (others - {pid}), default=0)
    bench.end(VICTIM)
    return {"checks": {"it was started again each time": len(times) == 2}, "seconds_until_pictures": times}


def out_of_memory(bench: Bench) -> Result:
    """A worker that takes more than it may: no engine fits into 64 MiB."""
    bench.publish(VICTIM)
    limits, backoff = {"memory": 64 << 20}, {"first": 0.2, "most": 0.5}
    settings = {"limits": limits, "restarts": 2, "backoff": backoff}
    bench.daemon.add(VICTIM, bench.live(VICTIM), bench.protected(VICTIM), **settings)
    until(lambda: bench.daemon.stream(VICTIM)["phase"] == "failed", "the stream to be given up")
    state = bench.daemon.stream(VICTIM)
    bench.end(VICTIM)
    checks = {"it failed in words": "limits.memory" in state["error"], "restarts were tried": state["restarts"] <= 2}
    return {"checks": checks, "restarts": state["restarts"], "error": state["error"]}


def supervisor_killed(bench: Bench) -> Result:
    bench.begin(VICTIM)
    workers = children(bench.daemon.pid)
    bench.daemon.kill()
    left = until(lambda: gone(workers), "the workers to die with the supervisor", 20.0)
    ready = bench.daemon.start()
    back = bench.flows("always")
    names = bench.daemon.ask("/v1/streams")[1]
    bench.unpublish(VICTIM)
    checks = {"workers died with it": left < 20, "streams of the API are not started again": VICTIM not in names}
    return {"checks": checks, "seconds_until_workers_died": left, "seconds_until_ready": ready, "until_pictures": back}


def slow_consumer(bench: Bench) -> Result:
    """One output takes nothing any more; the one beside it must not notice."""
    with slow_proxy(bench.rtmp_port) as (port, stuck):
        slow = f"rtmp://127.0.0.1:{port}/protected/slow"
        bench.begin(VICTIM, bench.protected(VICTIM), slow, encoder={"preset": "ultrafast", "crf": 1})
        until(lambda: bench.daemon.status(VICTIM)["outputs"][1]["state"] == "open", "the slow output to be open")
        stuck.set()
        until(lambda: bench.daemon.status(VICTIM)["outputs"][1]["dropped"] > 20, "pictures dropped for the slow output")
        bench.flows(VICTIM, 20)
        during = bench.daemon.status(VICTIM)
        stuck.clear()
        took = until(lambda: bench.daemon.status(VICTIM)["outputs"][1]["state"] == "open", "the output to be back")
        before = bench.daemon.status(VICTIM)["outputs"][1]["bytes"]
        until(lambda: bench.daemon.status(VICTIM)["outputs"][1]["bytes"] > before, "the output to flow")
        bench.end(VICTIM)
    checks = {
        "the good output lost nothing": during["outputs"][0]["dropped"] == 0,
        "the slow output dropped": during["outputs"][1]["dropped"] > 0,
        "pictures left meanwhile": during["in_flight"] < 30,
    }
    return {"checks": checks, "dropped_for_it": during["outputs"][1]["dropped"], "seconds_until_open": took}


def cycles(bench: Bench) -> Result:
    """Streams that start, show pictures and stop, two at a time."""
    count = bench.args.cycles
    names = [f"cycle{number}" for number in range(2)]
    for name in names:
        bench.publish(name)
    samples: list[Result] = []

    def one(number: int) -> None:
        name = names[number % 2]
        bench.daemon.add(name, bench.live(name), bench.protected(name))
        bench.flows(name, 2)
        bench.daemon.remove(name)

    with ThreadPoolExecutor(2) as pool:
        for begin in range(0, count, 2):
            for done in [pool.submit(one, begin + k) for k in range(min(2, count - begin))]:
                done.result()
            samples.append(processes(bench))
    for name in names:
        bench.unpublish(name)
    until(lambda: len(children(bench.daemon.pid)) == 1, "all workers but one to be gone")
    settled, end = samples[min(4, len(samples) - 1)], samples[-1]
    checks = {
        "no open file is left": end["supervisor_fds"] <= settled["supervisor_fds"] + 4,
        "no thread is left": end["supervisor_threads"] <= settled["supervisor_threads"] + 2,
    }
    return {"checks": checks, "count": count, "after_ten": settled, "at_the_end": processes(bench)}


def together(bench: Bench) -> Result:
    """Streams that start at once and run together for a while."""
    names = [f"together{number}" for number in range(bench.args.streams)]
    for name in names:
        bench.publish(name)
    for name in names:
        bench.daemon.add(name, bench.live(name), bench.protected(name))
    started = max(bench.flows(name) for name in names)
    time.sleep(20.0)
    seen = [bench.daemon.status(name) for name in names]
    until(
        lambda: all(bench.daemon.status(n)["frames_out"] > s["frames_out"] for n, s in zip(names, seen, strict=True)),
        "all",
    )
    shown = processes(bench)
    for name in names:
        bench.end(name)
    return {
        "checks": {"all ran": all(status["phase"] == "running" for status in seen)},
        "streams": len(names),
        "seconds_until_pictures": started,
        "fps": [status["fps"] for status in seen],
        "latency_seconds": [status["latency_seconds"] for status in seen],
        "processes": shown,
    }


def steady(bench: Bench) -> Result:
    """Nothing happens, for minutes: memory, files, threads and the delay must stay where they are."""
    names = [f"steady{number}" for number in range(max(bench.args.streams // 2, 1))]
    for name in names:
        bench.begin(name)
    time.sleep(min(SETTLE_SECONDS, bench.args.minutes * 60 / 4))
    began, times, samples = time.monotonic(), [], []
    while time.monotonic() < began + bench.args.minutes * 60:
        times.append(time.monotonic() - began)
        delays = [bench.daemon.status(name).get("latency_seconds", 0.0) for name in names]
        samples.append({**processes(bench), "delay_ms": 1000 * sum(delays) / len(delays)})
        time.sleep(SAMPLE_SECONDS)
    restarts = sum(bench.daemon.stream(name)["restarts"] for name in names)
    for name in names:
        bench.end(name)
    keys = list(samples[0])
    first, last = samples[0], samples[-1]
    return {
        "checks": {
            "no worker was restarted": restarts == 0,
            "files and threads stayed": all(
                abs(last[k] - first[k]) <= 2 * len(names) for k in keys if "fds" in k or "th" in k
            ),
        },
        "streams": len(names),
        "minutes": round(times[-1] / 60, 2),
        "slope_an_hour": {key: slope(times, [s[key] for s in samples]) for key in keys if "mib" in key or "ms" in key},
        "first": first,
        "last": last,
    }


PHASES: dict[str, Callable[[Bench], Result]] = {
    "publisher-killed": publisher_killed,
    "server-restarted": server_restarted,
    "output-refused": output_refused,
    "corrupt-packets": corrupt_packets,
    "clock-jumps": clock_jumps,
    "disk-full": disk_full,
    "worker-killed": worker_killed,
    "out-of-memory": out_of_memory,
    "slow-consumer": slow_consumer,
    "supervisor-killed": supervisor_killed,
    "cycles": cycles,
    "together": together,
    "steady": steady,
}
