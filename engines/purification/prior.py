"""Remove a perturbation by fitting Deep Image Prior to the picture and stopping early (fooling_detectors, eq. 11-12).

min over theta of MSE(f(theta, z), x_adv), by Adam; natural structure comes before the perturbation does. The answer is
the detector's p_real averaged over a window of iterations: the paper's at iteration 6,000 of 10,000 (`Fixed`), or
where the running variance of the pictures is least, the moment before noise is fitted (`EarlyStop`; Wang et al., TMLR
2023, https://arxiv.org/abs/2112.06074), which needs no number tuned on the pictures that are judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stream_guard.errors import UsageError

from .network import DEPTH, FAST_CHANNELS, FAST_DEPTH, FAST_SKIPS, PAPER_CHANNELS, PAPER_SKIPS, PriorNetwork, noise

Judge = Callable[[Tensor], Tensor]
"""Pictures (N, 3, S, S) in [-1, 1] to p_real (N,)."""


@dataclass(frozen=True)
class Settings:
    """How the prior is fitted. The defaults are the paper's, for pictures of 512 px."""

    channels: tuple[int, ...] = PAPER_CHANNELS
    skips: tuple[int, ...] = PAPER_SKIPS
    depth: int = DEPTH
    iterations: int = 10_000
    lr: float = 0.01
    jitter: float = 1 / 30
    """Standard deviation of the noise added to z in each step."""
    window: int = 10
    """Iterations over which p_real is averaged, centred on the one that counts."""
    every: int = 1
    """p_real is looked at on every so many iterations."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.window < 1 or self.every < 1 or self.lr <= 0 or self.jitter < 0:
            raise UsageError("iterations, window and every must be 1 or more, lr above 0 and jitter 0 or more")


PAPER = Settings(iterations=6_005)
"""For pictures of PAPER_SIZE, with Fixed: up to the end of the window of the iteration that counts."""
PAPER_SIZE = 512

FAST = Settings(channels=FAST_CHANNELS, skips=FAST_SKIPS, depth=FAST_DEPTH, iterations=500, every=2)
"""For pictures of 64 px, with EarlyStop."""


class Stop(Protocol):
    """Decides which iteration counts for each picture."""

    def look(self, step: int, pictures: Tensor) -> bool:
        """Take in what the network draws at `step`; whether all pictures are decided."""

    def chosen(self, last: int, count: int) -> list[int]:
        """The iteration that counts for each of the `count` pictures, `last` being the last that was run."""


@dataclass
class Fixed:
    """The same iteration for every picture; the paper's 6,000 was tuned on the pictures that it reports."""

    at: int = 6_000

    def look(self, step: int, pictures: Tensor) -> bool:
        return False

    def chosen(self, last: int, count: int) -> list[int]:
        return [min(self.at, last)] * count


@dataclass
class EarlyStop:
    """Where the variance of the last `window` pictures is least, once it has not fallen for `patience` looks."""

    window: int = 30
    patience: int = 120
    every: int = 2
    after: int = 60
    """Steps in which the network still learns what a picture is; never chosen."""
    _seen: deque[Tensor] = field(default_factory=deque)
    _least: Tensor | None = None
    _at: Tensor | None = None

    def look(self, step: int, pictures: Tensor) -> bool:
        if step % self.every:
            return False
        self._seen.append(pictures.flatten(1))
        if len(self._seen) <= self.window // self.every:
            return False
        self._seen.popleft()
        variance = torch.stack(list(self._seen)).var(0, unbiased=False).mean(1)
        if self._least is None or self._at is None:
            self._least, self._at = torch.full_like(variance, torch.inf), torch.zeros_like(variance)
        if step < self.after:
            return False
        better = variance < self._least
        self._least = torch.where(better, variance, self._least)
        self._at = torch.where(better, torch.full_like(self._at, step), self._at)
        return bool((step - self._at > self.patience).all())

    def chosen(self, last: int, count: int) -> list[int]:
        if self._at is None:
            return [last] * count
        return [max(0, int(at) - self.window // 2) for at in self._at.tolist()]


@dataclass(frozen=True)
class Purified:
    """`pictures` (N, 3, S, S) in [-1, 1] at the end, `p_real` (N,) of the iteration that counts, averaged over the
    window, and the whole `path` (T, N) of p_real at the iterations `steps` (T,)."""

    pictures: Tensor
    p_real: Tensor
    chosen: list[int]
    steps: Tensor
    path: Tensor

    def averaged(self, window: int) -> Tensor:
        """(T, N): the path averaged over a window of iterations centred on each; shorter at both ends."""
        near = (self.steps[:, None] - self.steps[None, :]).abs() <= window / 2
        return near.float() @ self.path / near.float().sum(1, keepdim=True)


def purify(images: Tensor, judge: Judge, settings: Settings, stop: Stop) -> Purified:
    """Fit a network of its own to each of the images (N, 3, S, S) in [-1, 1], all in one batch.

    S must be a multiple of 2 to the number of levels. The gradient of one image never reaches another's network.
    Raises UsageError for another shape.
    """
    size, levels = images.shape[-1], len(settings.channels)
    if images.ndim != 4 or images.shape[1:3] != (3, size) or size % 2**levels:
        raise UsageError(f"images must be (N, 3, S, S) with S a multiple of {2**levels}, got {tuple(images.shape)}")
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(settings.seed)
        return _fit(images, judge, settings, stop)


def _fit(images: Tensor, judge: Judge, settings: Settings, stop: Stop) -> Purified:
    rng = torch.Generator().manual_seed(settings.seed)
    network = PriorNetwork(len(images), settings.channels, settings.skips, settings.depth).to(images.device)
    # A quarter less time on a processor.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types do not know it
    z = noise(len(images), images.shape[-1], rng, settings.depth).to(images.device)
    z = z.contiguous(memory_format=torch.channels_last)
    goal = (images + 1) / 2
    opt = torch.optim.Adam(network.parameters(), settings.lr)
    steps: list[int] = []
    path: list[Tensor] = []
    drawn, step = images, 0
    for step in range(1, settings.iterations + 1):
        out = network(z + settings.jitter * torch.randn(z.shape, generator=rng).to(z) if settings.jitter else z)
        # Each image's own mean: the batch does not change the step of its network.
        loss = F.mse_loss(out, goal, reduction="sum") / goal[0].numel()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        drawn = out.detach() * 2 - 1
        if step % settings.every == 0:
            with torch.no_grad():
                path.append(judge(drawn).cpu())
            steps.append(step)
        if stop.look(step, drawn):
            break
    return _answer(drawn, torch.tensor(steps), torch.stack(path), stop.chosen(step, len(images)), settings.window)


def _answer(drawn: Tensor, steps: Tensor, path: Tensor, chosen: list[int], window: int) -> Purified:
    p_real = []
    for k, at in enumerate(chosen):
        away = (steps - at).abs()
        near = away <= max(window / 2, float(away.min()))
        p_real.append(path[near, k].mean())
    return Purified(drawn, torch.stack(p_real), chosen, steps, path)
