"""Pictures as torch tensors, on a CUDA device or on the processor: read faces, write perturbations, make small copies.

The arithmetic is that of `pixels` and `perturbation`, written once over whole tensors: all faces of a picture go
through the same few steps, and what the steps need is computed from the regions on the device itself.

Tolerance beside the processor's path (`tests/media/test_device.py`): with the same delta, samples are equal but for
ties of rounding: at most 1 level on 0.1 % of a region's samples. A crop differs from swscale's by at most 3 of 255
levels, by 0.5 on average. The budget itself holds exactly.
"""

from .planes import Planes, lies_on_device, planes_of, to_host
from .reading import read_faces, small_luma, small_rgb
from .replacing import overwrite
from .writing import add_deltas

__all__ = [
    "Planes",
    "add_deltas",
    "lies_on_device",
    "overwrite",
    "planes_of",
    "read_faces",
    "small_luma",
    "small_rgb",
    "to_host",
]
