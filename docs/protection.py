"""`python docs/protection.py DEMO`: draws docs/protection.png from a folder that `stream-guard demo` made.

One row an edit: original, protected as delivered, what the surrogate makes of each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from engines.data.detect import still_detector
from stream_guard.audit.probes import load_probes
from stream_guard.media import open_source, pixels
from stream_guard.types import Frame, head_region

EDITS = (("fomm-probe", "turn_left", "reenacted: turn left"), ("fomm-probe", "tilt", "reenacted: tilt"))
FRAME, SIDE, EDGE, LINE = 30, 256, 8, 22

Picture = npt.NDArray[np.uint8]


def frame(path: Path) -> Frame:
    with open_source(str(path)) as source:
        frames: Iterator[Frame] = (item for item in source.read() if isinstance(item, Frame))
        return next(islice(frames, FRAME, None))


def rows(original: Frame, protected: Frame) -> Iterator[list[tuple[str, Picture]]]:
    box = still_detector()(pixels.whole_rgb(original.picture))
    if box is None:
        raise SystemExit("no face was found in the demo's clip")
    head = head_region(box)
    for name, condition, words in EDITS:
        (probe,) = load_probes([name])
        small = [pixels.read_rgb(f.picture, head, probe.size) for f in (original, protected)]
        k = probe.conditions.index(condition)
        edits = [((e[k].transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8) for e in probe.edit(small)]
        large = [pixels.read_rgb(f.picture, head, SIDE) for f in (original, protected)]
        said = ["original", "protected", f"original, {words}", f"protected, {words}"]
        yield list(zip(said, [*large, *edits], strict=True))


def main() -> None:
    folder = Path(sys.argv[1])
    found = list(rows(frame(folder / "original.mp4"), frame(folder / "protected.mp4")))
    step = SIDE + EDGE
    sheet = Image.new("RGB", (4 * step + EDGE, len(found) * (step + LINE) + EDGE), "#fafafa")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for y, row in enumerate(found):
        for x, (words, picture) in enumerate(row):
            left, top = EDGE + x * step, EDGE + y * (step + LINE)
            draw.text((left, top), words, "#222222", font)
            sheet.paste(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top + LINE))
    sheet.save(Path(__file__).parent / "protection.png")


if __name__ == "__main__":
    main()
