"""The delivery in the loop: what a face goes through between the disrupter and an attacker's network.

Upsampling the delta into the picture, 8-bit rounding, a real encoder through PyAV, and the attacker's own crop.
Rounding and codecs have a straight-through gradient (Video Seal): forward the real thing, backward the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.media.loopback import h264_loopback, jpeg_loopback
from stream_guard.media.pixels import FEATHER

_TO_RGB = ((1.0, 0.0, 1.5748), (1.0, -0.1873, -0.4681), (1.0, 1.8556, 0.0))


def to_rgb(delta: Tensor) -> Tensor:
    """A YCbCr difference (N, 3, H, W) as an RGB difference (BT.709, full range)."""
    return torch.einsum("ij,njhw->nihw", delta.new_tensor(_TO_RGB), delta)


def window(size: int, device: torch.device) -> Tensor:
    """(size, size): 1 inside, a raised-cosine ramp to 0 over FEATHER of the side at each border."""
    edge = (torch.arange(size, device=device) + 0.5) / size
    ramp = (torch.minimum(edge, 1 - edge) / FEATHER).clamp(0, 1)
    ramp = 0.5 - 0.5 * torch.cos(torch.pi * ramp)
    return ramp[:, None] * ramp[None, :]


def apply(rgb: Tensor, delta: Tensor) -> Tensor:
    """Add a delta on its grid to a region (N, 3, S, S) in [0, 1], as the runtime does, and round to 8 bits."""
    size = rgb.shape[-1]
    spread = F.interpolate(delta, size=(size, size), mode="bilinear", align_corners=False)
    return round8((rgb + to_rgb(spread) * window(size, rgb.device)).clamp(0, 1))


def round8(x: Tensor) -> Tensor:
    """Round [0, 1] to 255 levels with a straight-through gradient."""
    return x + (torch.round(x * 255) / 255 - x).detach()


@dataclass(frozen=True)
class Channel:
    """One way of delivering: the codec and the side of the region in the delivered frame, in pixels."""

    codec: str
    quality: int
    side: int

    def __call__(self, rgb: Tensor) -> Tensor:
        """The region (N, 3, S, S) in [0, 1] after this delivery, with a straight-through gradient."""
        if self.codec == "none":
            return rgb
        frames = (rgb.detach() * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        decoded = (h264_loopback if self.codec == "h264" else jpeg_loopback)(frames, self.quality)
        seen = torch.from_numpy(decoded).to(rgb.device).permute(0, 3, 1, 2).to(rgb.dtype) / 255
        return rgb + (seen - rgb).detach()


SIDES = (224, 288, 400, 560)


def random_channel(rng: torch.Generator) -> Channel:
    """Harsher than the test: H.264 at crf 18 to 32 in three of four, JPEG 55 to 90, or rounding alone."""
    u, q = torch.rand(2, generator=rng).tolist()
    side = SIDES[int(torch.randint(len(SIDES), (1,), generator=rng))]
    if u < 0.75:
        return Channel("h264", 18 + int(q * 15), side)
    if u < 0.9:
        return Channel("jpeg", 55 + int(q * 36), side)
    return Channel("none", 0, side)
