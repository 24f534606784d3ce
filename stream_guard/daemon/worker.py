"""What runs in a worker process, with its order on stdin."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ExitCode, StreamGuardError
from .channel import Channel

Runner = Callable[[dict[str, Any], Channel], int]
"""Does the work of one order and returns the exit code; `channel.stop` asks it to end."""

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CRASHED = 70
"""The exit code of an error that nobody foresaw (EX_SOFTWARE)."""
AUTOGROUP_TRIES = 20
OOM_SCORE = 500
"""The kernel, short of memory, takes a worker before anything else of ours."""


def _live(spec: dict[str, Any], channel: Channel) -> int:
    from .live_worker import run_live

    return run_live(spec, channel)


def _probe(spec: dict[str, Any], channel: Channel) -> int:
    from .probe_worker import run_probe

    return run_probe(spec, channel)


def _job(spec: dict[str, Any], channel: Channel) -> int:
    from .jobs.work import run_job

    return run_job(spec, channel.send, channel.stop)


RUNNERS: Mapping[str, Runner] = {"live": _live, "job": _job, "probe": _probe}


def main(runners: Mapping[str, Runner] = RUNNERS) -> int:
    """Take the order, bind this process to its limits, work. Returns the exit code."""
    _die_with_parent()
    channel = Channel.claim()
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal's are for the supervisor
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: channel.ask_to_stop())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    order = channel.first()
    _bind(order)
    try:
        return _work(runners[order["kind"]], order["spec"], channel)
    finally:
        channel.close()


def _work(runner: Runner, spec: dict[str, Any], channel: Channel) -> int:
    try:
        return int(runner(spec, channel))
    except StreamGuardError as exc:
        channel.send({"type": "error", "message": str(exc), "final": exc.exit_code is ExitCode.USAGE})
        return int(exc.exit_code)
    except Exception as exc:
        logging.getLogger(__name__).exception("unexpected")
        channel.send({"type": "error", "message": f"unexpected {type(exc).__name__}: {exc}"})
        return CRASHED


def _die_with_parent() -> None:
    """Linux kills this process when the supervisor's thread ends; elsewhere the end of stdin does."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _bind(order: Mapping[str, Any]) -> None:
    """No core dumps, no new privileges, a limit on CPU time, a niceness, and first to go when memory is short."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if seconds := int(order.get("cpu_seconds") or 0):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    if nice := int(order.get("nice") or 0):
        os.nice(nice)
        _step_back(nice)
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != order["parent"]:  # it died before we were bound to it
        os._exit(1)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(OOM_SCORE))
    except OSError as exc:
        logging.getLogger(__name__).debug("oom_score_adj: %s", exc)


def _step_back(nice: int) -> None:
    """Let other sessions go first too: where Linux groups by session, a niceness holds inside its own only."""
    for _ in range(AUTOGROUP_TRIES):
        try:
            with open("/proc/self/autogroup", "w", encoding="ascii") as file:
                file.write(str(nice))
            return
        except BlockingIOError:  # another worker has just done so: once in a tenth of a second is allowed
            time.sleep(0.1)
        except OSError as exc:
            logging.getLogger(__name__).debug("autogroup: %s", exc)
            return


if __name__ == "__main__":
    sys.exit(main())
