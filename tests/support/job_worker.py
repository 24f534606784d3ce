"""One job in a process of its own, to be killed: `python job_worker.py FOLDER_OF_PLUGIN SPEC_AS_JSON [SEGMENTS]`.

After so many segments it waits for the kill. FILE_LIMIT in the environment: no file may grow beyond so many bytes.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

sys.path[:0] = [sys.argv[1], str(Path(__file__).resolve().parents[2])]


def main() -> int:
    from stream_guard.daemon.jobs.work import run_job

    if limit := os.environ.get("FILE_LIMIT"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    left = int(sys.argv[3]) if len(sys.argv) > 3 else -1
    whole = threading.Lock()  # messages come from two threads, and print writes a line in two pieces

    def emit(message: dict[str, Any]) -> None:
        nonlocal left
        with whole:
            print(json.dumps(message), flush=True)
        left -= message["type"] == "segment"
        if left == 0:
            threading.Event().wait()

    return run_job(json.loads(sys.argv[2]), emit, threading.Event())


if __name__ == "__main__":
    sys.exit(main())
