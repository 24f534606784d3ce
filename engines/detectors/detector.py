"""What the disrupter, attacks and tables see of a deepfake detector: one call, one range, one order of classes.

The network's own input size, normalisation and class order stay inside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAKE, REAL = 0, 1
"""The order of the two logits of every `Detector`, whatever its network's own."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Mean and standard deviation of the three kinds of input on [0, 1]."""

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


class Detector(nn.Module):
    """A network with its input: image (N, 3, S, S) RGB in [-1, 1], any S, to logits (N, 2) of (fake, real).

    `temperature` divides the logits; it is 1 until the detector is calibrated. An image counts as real when
    `p_real` is above 0.5.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(
        self, network: nn.Module, name: str, size: int, statistics: Statistics = HALF, real_first: bool = False
    ) -> None:
        """`real_first`: the network's own order is (real, fake), as FaceForensics++ and DeepfakeBench have it."""
        super().__init__()
        self.network, self.name, self.size, self.real_first = network, name, size, real_first
        for key, value in zip(("mean", "std"), statistics, strict=True):
            # [-1, 1] to the network's range in one step.
            self.register_buffer(key, torch.tensor(value)[:, None, None] * 2 - (1 if key == "mean" else 0))
        self.register_buffer("temperature", torch.ones(()))

    def prepare(self, image: Tensor) -> Tensor:
        """The network's own input: resized without aliasing, normalised."""
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(
                image, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        logits = self.network(self.prepare(image)) / self.temperature
        return logits.flip(1) if self.real_first else logits

    def p_real(self, image: Tensor) -> Tensor:
        """(N,): the probability of a real, unedited face."""
        return self(image).softmax(1)[:, REAL]

    def logit_real(self, image: Tensor) -> Tensor:
        """(N,): the logit of `p_real`."""
        logits = self(image)
        return logits[:, REAL] - logits[:, FAKE]
