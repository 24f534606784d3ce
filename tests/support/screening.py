"""A pipeline that screens with engines of its own, and clips for it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from tests.support.magdr_engines import write_engines
from tests.support.media import X264
from tests.support.scenes import frames


def screening(folder: Path) -> Path:
    """A pipeline with engines of its own."""
    made = write_engines(folder / "engines")
    path = folder / "screen.yaml"
    path.write_text(
        f"""
name: mine
stages:
  - faces: {{size: 320}}
  - magdr:
      parser: {made["parser"]}
      probes: [{made["probe"]}]
      calibration: {made["calibration"]}
      every: 5
reject: {{magdr: [perturbed, unknown]}}
""",
        encoding="utf-8",
    )
    return path


def clip(path: Path, rough: float) -> Path:
    """A second of a head before a backdrop, 320 px wide, with noise of this strength."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={**X264, "crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 320, 256, "yuv420p"
        for frame in frames(25, lambda index: [(80, 30)], size=(320, 256)):
            rgb = frame.picture.to_ndarray(format="rgb24")
            noisy = (rgb + rng.normal(0, rough, (*rgb.shape[:2], 1))).clip(0, 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def restoring(folder: Path, mode: str) -> Path:
    """The tests' own pipeline of screening, with this mode of magdr and quick searches."""
    path = screening(folder)
    text = path.read_text(encoding="utf-8").replace(
        "every: 5", f"every: 5\n      mode: {mode}\n      restore_looks: 10"
    )
    path.write_text(text, encoding="utf-8")
    return path
