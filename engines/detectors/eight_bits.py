"""The zoo's detector in 8-bit integers, for processors, as an engine beside it:

    python -m engines.detectors.eight_bits PACK --write engines/zoo/detector-int8

Convolutions that read the picture itself stay in float32: in 8 bits they moved all scores, and 4 % of the reals were
lost. Ranges are those of heads of the pack's val split, as the stage cuts them out. `evaluate detectors --engine
FOLDER` measures it; a second call then writes what was found onto its card.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from stream_guard.inference import find_engine
from stream_guard.inference.reshaping import unpacked

from ..data import pack
from ..data.heads import HEAD_SHARE, crop, crop_theta
from ..quantising import Pictures, quantised, write
from .command import of_engine
from .measure import SIDE
from .seen import seen

COMMAND = "python -m engines.detectors.eight_bits PACK --write FOLDER"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--write", type=Path, required=True, help="the folder of the quantised engine")
    parser.add_argument("--engine", help="the detector; the zoo's default")
    parser.add_argument("--faces", type=int, default=128, help="faces of the val split to measure ranges on")
    options = parser.parse_args(arguments)
    card = find_engine(options.engine, "detector")
    model = card.read_model()
    small = quantised(model, "image", heads(options.pack, card.input_shape("image")[-1], options.faces), first(model))
    found = of_engine(hashlib.sha256(small).hexdigest())
    what = "its convolutions but those that read the picture itself"
    write(card, small, options.write, COMMAND, found, what, default_on_processor=True)
    print(options.write)


def first(model: bytes) -> list[str]:
    """The convolutions of three channels: those that read the picture itself or its residue."""
    graph = unpacked(model).graph
    colour = {weight.name for weight in graph.initializer if len(weight.dims) == 4 and weight.dims[1] == 3}
    return [node.name for node in graph.node if node.op_type == "Conv" and node.input[1] in colour]


def heads(path: Path, size: int, count: int) -> Pictures:
    """(N, 3, size, size) in [-1, 1], spread over the val split."""
    found = pack.read(path, ["val"])
    chosen = [found[i].rgb for i in np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)]
    rgb = torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float() / 255
    cut = seen(crop(rgb, crop_theta(len(rgb), HEAD_SHARE, 0.0, None), SIDE).clamp(0, 1))
    small = F.interpolate(cut, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray((small * 2 - 1).numpy(), np.float32)


if __name__ == "__main__":
    main()
