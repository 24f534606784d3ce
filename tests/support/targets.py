"""Generators and detectors whose answers are known."""

from __future__ import annotations

import torch
from torch import nn

from engines.disrupter.train import DisrupterTrainer, Settings
from engines.generators import train_ganimation as ganimation
from engines.generators.target import Target
from engines.magdr.fit import Asked


class Amplifier(nn.Module):
    """A stand-in for a generator: easy to disrupt."""

    def __init__(self, gain=8.0):
        super().__init__()
        self.gain = gain

    def forward(self, x, c):
        return torch.tanh(self.gain * x + c.mean(1)[:, None, None, None])


def amplifier(gain=8.0, size=64):
    return Target(Amplifier(gain), "toy", torch.tensor([[0.0], [0.2]]), ["none", "some"], size)


class Brightness(nn.Module):
    """A detector that takes bright images for real."""

    def forward(self, image):
        score = 2 * image.mean((1, 2, 3))
        return torch.stack([-score, score], 1)


def trainer(data, targets=None, detectors=None, **changes):
    settings = Settings(**{"width": 8, "batch": 2, "detect_every": 1, "codec_share": 0.0} | changes)
    return DisrupterTrainer(settings, data, targets or {"a": amplifier()}, detectors or {}, torch.device("cpu"))


class Tinted(nn.Module):
    """An edit that nobody can miss: green and blue are halved."""

    def forward(self, image, condition):
        return image * torch.tensor([1.0, 0.5, 0.5])[:, None, None] - torch.tensor([0.0, 0.5, 0.5])[:, None, None]


def tinted() -> Target:
    return Target(Tinted(), "tint", torch.zeros(2, 1), ["a", "b"], 64)


ASKED = Asked("a" * 64, "b" * 64, ("Male",), 3, 0)
"""A calibration's question, of engines that are not there."""
SMALL = {"ganimation": ganimation.Settings(conv_dim=4, size=64, adversary_dim=4, batch=2)}
"""Generators that train in no time."""
