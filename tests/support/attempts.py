"""A job in processes of its own, killed and started again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import jobs
from tests.support.media import SAME_BITS, Clip, write

WORKER = Path(__file__).with_name("job_worker.py")
OPEN_GOP = "open-gop=1:keyint=10:min-keyint=2:bframes=3:b-adapt=0:scenecut=0"


class Attempts:
    """Runs of one job in processes of their own, one after the other."""

    def __init__(self, folder: Path, source: Path, output: Path, **settings: Any) -> None:
        self.output = output
        plugin = folder / "plugin"
        pipeline = plugin / "remember.yaml" if plugin.exists() else jobs.install(plugin)
        settings = {"pipeline": str(pipeline), "encoder": SAME_BITS, **settings}
        self.work = folder / "work" / output.stem
        self.spec = {
            "id": output.stem,
            "settings": {"source": str(source), "output": str(output), **settings},
            "folder": str(self.work),
            "segment_seconds": 0.4,
        }
        self.plugin = plugin
        self.notes: list[str] = []
        self.report: dict[str, Any] = {}
        self.error = ""
        self.permanent = False

    def run(self, *, kill_after_segments: int = 0, kill_after_seconds: float | None = None) -> int:
        """Start, kill when asked to, and return the exit code. Seconds count from the first message."""
        child = subprocess.Popen(
            [
                *(sys.executable, str(WORKER), str(self.plugin), json.dumps(self.spec)),
                *([str(kill_after_segments)] if kill_after_segments else []),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        messages: list[dict[str, Any]] = []
        assert child.stdout is not None
        with child, child.stdout:
            for line in child.stdout:
                messages.append(json.loads(line))
                if kill_after_seconds is not None:
                    time.sleep(kill_after_seconds)
                    child.kill()
                if sum(m["type"] == "segment" for m in messages) == kill_after_segments > 0:
                    child.kill()
        self.notes += [m["message"] for m in messages if m["type"] == "note"]
        errors = [m for m in messages if m["type"] == "error"]
        self.error = errors[0]["message"] if errors else ""
        self.permanent = bool(errors and errors[0]["permanent"])
        self.report = next((m["report"] for m in messages if m["type"] == "report"), {})
        return child.returncode


def with_b_frames(folder: Path, suffix: str, **options: str) -> Path:
    chosen = {"bf": "3", "b_strategy": "0", "g": "9", "sc_threshold": "0", **options}
    return write(folder / f"clip{suffix}", Clip(size=(320, 240), frames=70, options=chosen))


def same(whole: Attempts, cut: Attempts) -> None:
    one, other = jobs.content(whole.output), jobs.content(cut.output)
    assert one.pictures == other.pictures
    assert one.packets == other.packets
    for key in ("frames_in", "frames_out", "faces", "protected_faces", "source", "truncation"):
        assert whole.report[key] == cut.report[key], key
