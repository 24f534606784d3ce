"""What MagDR is compared with. Small versions of our own: none of these methods' code or weights is used.

Detectors, each a function from 8-bit crops to scores, higher for perturbed: a convolutional classifier of inputs (after
Metzen et al. 2017, Lu et al. 2017), the same on outputs (OTD), an auto-encoder's reconstruction error (MagNet, Meng
and Chen 2017), nearest neighbours in a network's features (after NNIF, Cohen et al. 2020, without influence functions).

Restorers, each a function from an 8-bit crop to a restored one: JPEG (Dziugaite et al. 2016), blur (Ruiz et al. 2020),
the auto-encoder as reformer (Meng and Chen 2017), random resize and padding (Xie et al. 2018), super-resolution
(Mustafa et al. 2020; a resize here), ME-Net (Yang et al. 2019: masking and low-rank estimation), pixel deflection
(Prakash et al. 2018, with total variation in place of wavelets).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from stream_guard.errors import EngineError
from stream_guard.magdr import operations
from stream_guard.magdr.engines import Parser, from_rgb
from stream_guard.magdr.operations import Method, Rgb

from .faces import Crops, to_bytes, to_unit

Scores = npt.NDArray[np.float64]
Detect = Callable[[Crops], Scores]
Restore = Callable[[Rgb], Rgb]

CLASSIFIER_STEPS, AUTOENCODER_STEPS = 400, 800
SECONDS = 3600.0
"""In which a baseline's steps must be made, a minute's work on an idle core: another number of them would be another
baseline."""


def _classifier() -> nn.Module:
    """The high-pass residue of a picture to one log-odds."""
    return nn.Sequential(
        nn.Conv2d(6, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 1),
    )


def _seen(crops: Crops) -> Tensor:
    """The picture, and what a small blur takes from it, magnified: (N, 6, S, S)."""
    image = to_unit(crops)
    residue = image - F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), 3, 1)
    return torch.cat([image - 0.5, 8 * residue], 1)


def train_classifier(clean: Crops, attacked: Crops, seed: int, steps: int = CLASSIFIER_STEPS) -> Detect:
    """A classifier of `clean` (0) and `attacked` (1), as many of each in a batch."""
    torch.manual_seed(seed)
    network, zeros, ones = _classifier(), _seen(clean), _seen(attacked)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in _counted(steps, "classifier"):
        batch = torch.cat([part[torch.randint(len(part), (8,))] for part in (zeros, ones)])
        if step % 2:
            batch = batch.flip(3)
        loss = F.binary_cross_entropy_with_logits(network(batch)[:, 0], torch.cat([torch.zeros(8), torch.ones(8)]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    network.eval()

    def detect(crops: Crops) -> Scores:
        with torch.no_grad():
            found: Scores = network(_seen(crops))[:, 0].double().numpy()
        return found

    return detect


class AutoEncoder(nn.Module):
    """(N, 3, S, S) in [0, 1] to the same, through a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(32, 24, 3, 1, 1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(24, 3, 3, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.main(image)


def train_autoencoder(clean: Crops, seed: int, steps: int = AUTOENCODER_STEPS) -> AutoEncoder:
    """An auto-encoder of clean crops with a little noise at its input, as MagNet's.

    The rate falls to nothing: at a constant one the last steps alone decide whether it gives 19 or 26 dB.
    """
    torch.manual_seed(seed)
    network, images = AutoEncoder(), to_unit(clean)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in _counted(steps, "auto-encoder"):
        batch = images[torch.randint(len(images), (8,))]
        loss = F.mse_loss(network((batch + 0.02 * torch.randn_like(batch)).clamp(0, 1)), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
    return network.eval()


def _counted(steps: int, what: str) -> Iterator[int]:
    """The numbers of the steps. Raises EngineError where the machine is too slow for them."""
    started = time.monotonic()
    for step in range(steps):
        if time.monotonic() - started > SECONDS:
            raise EngineError(
                f"the baseline {what} made {step} of {steps} steps in {SECONDS:g} seconds: what it has learned depends "
                "on this machine's load; measure again when less else is running"
            )
        yield step


def reconstruction_error(network: AutoEncoder) -> Detect:
    def detect(crops: Crops) -> Scores:
        image = to_unit(crops)
        with torch.no_grad():
            error: Scores = (network(image) - image).abs().mean((1, 2, 3)).double().numpy()
        return error

    return detect


def neighbours(parser: Parser, clean: Crops, attacked: Crops, k: int = 9) -> Detect:
    """The share of attacked faces among the k nearest training faces in the parser's deepest features."""

    def features(crops: Crops) -> Scores:
        maps = parser.views(from_rgb(list(crops))).features["deep"]
        flat = maps.reshape(len(maps), -1).astype(np.float64)
        unit: Scores = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        return unit

    known = np.concatenate([features(clean), features(attacked)])
    labels = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]

    def detect(crops: Crops) -> Scores:
        alike = features(crops) @ known.T
        nearest = np.argsort(-alike, 1)[:, :k]
        return labels[nearest].mean(1) + 1e-3 * (alike[:, labels == 1].max(1) - alike[:, labels == 0].max(1))

    return detect


def restorers(network: AutoEncoder, seed: int) -> dict[str, Restore]:
    """The restorers by name; those that draw something draw it from the seed, anew for each call in order."""
    rng = np.random.default_rng(seed)
    return {
        "nothing": lambda rgb: rgb,
        "JPEG 75": Method("jpeg", 75),
        "JPEG 25": Method("jpeg", 25),
        "blur": Method("gaussian", 1.0),
        "auto-encoder reformer": lambda rgb: _reformed(network, rgb),
        "random resize and padding": lambda rgb: random_resize(rgb, rng),
        "super-resolution (a resize)": Method("super_resolution", 0.5),
        "ME-Net": lambda rgb: matrix_estimation(rgb, rng),
        "pixel deflection": lambda rgb: pixel_deflection(rgb, rng),
    }


def _reformed(network: AutoEncoder, rgb: Rgb) -> Rgb:
    with torch.no_grad():
        return to_bytes(network(to_unit(rgb[None])).clamp(0, 1))[0]


def random_resize(rgb: Rgb, rng: np.random.Generator) -> Rgb:
    """Reduced to 0.85 to 1 of its sides and put at a random place on black."""
    side = rgb.shape[0]
    small = int(rng.integers(round(0.85 * side), side + 1))
    top, left = (int(v) for v in rng.integers(0, side - small + 1, 2))
    out = np.zeros_like(rgb)
    resized = Image.fromarray(rgb).resize((small, small), Image.Resampling.BILINEAR)
    out[top : top + small, left : left + small] = np.asarray(resized)
    return out


def matrix_estimation(rgb: Rgb, rng: np.random.Generator, keep: float = 0.5, rank: int = 24) -> Rgb:
    """Half of the pixels dropped, the rest scaled up, and each colour's matrix cut to a low rank."""
    mask = (rng.random(rgb.shape[:2]) < keep)[..., None]
    planes = ((rgb / 255 - 0.5) * mask / keep).transpose(2, 0, 1)
    u, s, v = np.linalg.svd(planes, full_matrices=False)
    low = (u[:, :, :rank] * s[:, None, :rank]) @ v[:, :rank]
    levels: Rgb = np.rint((low.transpose(1, 2, 0) + 0.5) * 255).clip(0, 255).astype(np.uint8)
    return levels


def pixel_deflection(rgb: Rgb, rng: np.random.Generator, count: int = 800, window: int = 10) -> Rgb:
    """`count` pixels replaced by a neighbour within `window`, then smoothed."""
    out, side = rgb.copy(), rgb.shape[0]
    places = rng.integers(0, side, (count, 2))
    sources = (places + rng.integers(-window, window + 1, (count, 2))).clip(0, side - 1)
    out[places[:, 0], places[:, 1]] = rgb[sources[:, 0], sources[:, 1]]
    return operations.total_variation(out, 0.03)


def threshold(detect: Detect, clean: Sequence[Crops], false_alarms: float = 0.01) -> float:
    """The score that this share of clean held-out faces exceeds: the same rule as for MagDR."""
    return float(np.quantile(np.concatenate([detect(part) for part in clean]), 1 - false_alarms, method="higher"))
