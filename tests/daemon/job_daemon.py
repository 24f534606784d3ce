"""A daemon with real workers, to be killed: `python job_daemon.py SETTINGS JOB`.

Submits the job under the key `k`, prints its states, and ends when the job has ended.
"""

from __future__ import annotations

import json
import sys
import time

from stream_guard.daemon.daemon import Daemon
from stream_guard.daemon.settings import DaemonSettings, JobSettings


def main() -> None:
    daemon = Daemon(DaemonSettings.model_validate_json(sys.argv[1]))
    daemon.start()
    state, new = daemon.submit(JobSettings.model_validate_json(sys.argv[2]), "k")
    tell({"id": state.id, "new": new})
    while (state := daemon.job(state.id)).phase != "ended":
        tell({"phase": state.phase, "progress": state.progress})
        time.sleep(0.05)
    tell({"state": state.model_dump(mode="json"), "metrics": daemon.metrics().decode()})
    daemon.drain()
    daemon.close()


def tell(message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
