"""The delivery in the loop: what a face goes through between the disrupter and an attacker's network.

Upsampling the delta into the picture, 8-bit rounding, rescaling, blur, a real encoder through PyAV; the attacker's own
crop follows (objective).
Rounding and codecs have a straight-through gradient (Video Seal): forward the real thing, backward the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.media.loopback import Pictures, h264_loopback, jpeg_loopback
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
    return round8(apply_unrounded(rgb, delta))


def apply_unrounded(rgb: Tensor, delta: Tensor) -> Tensor:
    size = rgb.shape[-1]
    spread = F.interpolate(delta, size=(size, size), mode="bilinear", align_corners=False)
    return (rgb + to_rgb(spread) * window(size, rgb.device)).clamp(0, 1)


def round8(x: Tensor) -> Tensor:
    """Round [0, 1] to 255 levels with a straight-through gradient."""
    return x + (torch.round(x * 255) / 255 - x).detach()


@dataclass(frozen=True)
class Channel:
    """One way of delivering: the side of the region in the delivered frame in pixels, then what befalls that frame.

    A platform rescales the frame by `scale` and softens it by `blur` (a Gaussian's sigma in pixels), then encodes it.
    """

    codec: str
    quality: int
    side: int
    scale: float = 1.0
    blur: float = 0.0

    def __call__(self, rgb: Tensor) -> Tensor:
        """The region (N, 3, S, S) in [0, 1] after this delivery, with a straight-through gradient of the codec."""
        return self.encode(self.reshape(rgb))

    def reshape(self, rgb: Tensor) -> Tensor:
        """Rescaling and blur alone, which are linear: what an unprotected region goes through as well."""
        if self.scale != 1.0:
            rgb = resize(rgb, round(rgb.shape[-1] * self.scale))
        return blurred(rgb, self.blur) if self.blur else rgb

    def encode(self, rgb: Tensor) -> Tensor:
        """Through the real encoder and back; the gradient is the identity's."""
        if self.codec == "none":
            return round8(rgb)
        frames = (rgb.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        decoded = _in_threads(h264_loopback if self.codec == "h264" else jpeg_loopback, frames, self.quality)
        seen = torch.from_numpy(decoded).to(rgb.device).permute(0, 3, 1, 2).to(rgb.dtype) / 255
        return rgb + (seen - rgb).detach()


def resize(rgb: Tensor, side: int) -> Tensor:
    return F.interpolate(rgb, size=(side, side), mode="bilinear", align_corners=False, antialias=side < rgb.shape[-1])


def blurred(rgb: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of `sigma` pixels over three sigmas each way, borders repeated."""
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, device=rgb.device, dtype=rgb.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(rgb.shape[1], 1, 1, -1)
    rgb = F.pad(rgb, (reach,) * 4, mode="replicate")
    rgb = F.conv2d(rgb, kernel, groups=rgb.shape[1])
    return F.conv2d(rgb, kernel.transpose(2, 3), groups=rgb.shape[1])


def _in_threads(loopback: Callable[[Pictures, int], Pictures], frames: Pictures, quality: int) -> Pictures:
    """Encoders release the interpreter's lock: as many at once as torch has CPU threads."""
    workers = min(torch.get_num_threads(), len(frames))
    if workers < 2:
        return loopback(frames, quality)
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(lambda part: loopback(part, quality), np.array_split(frames, workers))))


SIDES = (224, 288, 400, 560)


def random_channel(rng: torch.Generator, codec_share: float = 0.9) -> Channel:
    """Harsher than the test (crf 23 and 30, JPEG 75).

    H.264 at crf 18 to 36 in five of six of `codec_share`, else JPEG 40 to 90, else rounding alone; three in ten,
    none of the largest, are rescaled by 0.5 to 1.5, one in five is blurred.
    """
    u, q, r, s, b, w = torch.rand(6, generator=rng).tolist()
    side = SIDES[int(torch.randint(len(SIDES), (1,), generator=rng))]
    scale = 0.5 + s if r < 0.4 and side < SIDES[-1] else 1.0
    blur = 0.4 + 0.8 * w if b < 0.2 else 0.0
    if u < codec_share * 5 / 6:
        return Channel("h264", 18 + int(q * 19), side, scale, blur)
    if u < codec_share:
        return Channel("jpeg", 40 + int(q * 51), side, scale, blur)
    return Channel("none", 0, side, scale, blur)
