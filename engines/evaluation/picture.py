"""`python -m engines.evaluation.picture DEMO OUT.png`: original, protected, edited, edited after protection.

Takes the folder that `stream-guard demo` wrote, so that every pixel went through the encoder and back. The demo is
made from the astronaut portrait (NASA, public domain), the only face that may be shown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stream_guard.audit.pictures import to_rgb
from stream_guard.audit.probes import Probe, load_probes
from stream_guard.media import open_source, pixels
from stream_guard.stages.faces import FacesStage
from stream_guard.types import Frame, head_region

SIZE = 256
TITLES = ("original", "protected", "original, edited: {}", "protected, edited: {}")


def nth_frame(path: Path, index: int) -> Frame:
    with open_source(str(path)) as source:
        frames = (item for item in source.read() if isinstance(item, Frame))
        for frame in frames:
            if frame.index == index:
                return frame
    raise SystemExit(f"{path} has no frame {index}")


def panels(original: Frame, protected: Frame, probe: Probe, condition: int) -> list[np.ndarray]:
    stage = FacesStage()
    stage.open()
    (looked,) = [*stage.process(original), *stage.flush()]
    stage.close()
    head = head_region(max(looked.faces, key=lambda face: face.box.area).box)
    shown = [pixels.read_rgb(frame.picture, head, SIZE) for frame in (original, protected)]
    small = [pixels.read_rgb(frame.picture, head, probe.size) for frame in (original, protected)]
    edits = probe.edit(small)[:, condition]
    return [
        *shown,
        *(np.asarray(Image.fromarray(to_rgb(e)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for e in edits),
    ]


def compose(rows: list[tuple[str, list[np.ndarray]]]) -> Image.Image:
    gap, label = 8, 22
    width = 4 * SIZE + 5 * gap
    sheet = Image.new("RGB", (width, len(rows) * (SIZE + label + gap) + gap), (250, 250, 250))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for r, (name, pictures) in enumerate(rows):
        for c, (title, picture) in enumerate(zip(TITLES, pictures, strict=True)):
            x, y = gap + c * (SIZE + gap), gap + r * (SIZE + label + gap)
            draw.text((x, y), title.format(name), (40, 40, 40), font)
            sheet.paste(Image.fromarray(picture), (x, y + label))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frame", type=int, default=60)
    parser.add_argument("--conditions", nargs="+", default=["Black_Hair", "Not_Young"])
    arguments = parser.parse_args()
    original, protected = (nth_frame(arguments.demo / f"{n}.mp4", arguments.frame) for n in ("original", "protected"))
    (probe,) = load_probes(["stargan-probe"])
    rows = [
        (name.replace("_", " ").lower(), panels(original, protected, probe, probe.conditions.index(name)))
        for name in arguments.conditions
    ]
    compose(rows).save(arguments.out, optimize=True)
    print(arguments.out)


if __name__ == "__main__":
    main()
