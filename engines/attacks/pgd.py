"""I-FGSM (Kurakin et al. 2017) and PGD (Madry et al. 2018) as Ruiz et al. 2020 turn them on generators.

Both maximise mean((G(x + d) - target)^2). I-FGSM has no random start: with its own output as the target the loss and
the gradient start at exactly 0 and it never moves, so that such a target needs PGD (goldens: `ifgsm_self`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Attack, Linf, Model


class IFGSM(Attack):
    """Iterated sign steps of size `step` for `iterations`."""

    def __init__(self, budget: Linf, step: float = 0.01, iterations: int = 10) -> None:
        super().__init__(budget)
        self.step, self.iterations = step, iterations

    def start(self, x: Tensor) -> Tensor:
        return x

    def run(self, model: Model, x: Tensor, target: Tensor) -> Tensor:
        x_adv = self.start(x)
        for _ in range(self.iterations):
            x_adv, _ = self.one_step(model, x, x_adv, target)
        return x_adv

    def one_step(self, model: Model, x: Tensor, x_adv: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """(the image after one step, the loss before it)."""
        x_adv = x_adv.detach().requires_grad_(True)
        loss = F.mse_loss(model(x_adv), target)
        (grad,) = torch.autograd.grad(loss, x_adv)
        return self.budget.clip(x, x_adv.detach() + self.step * grad.sign()), loss.item()


class PGD(IFGSM):
    """I-FGSM from a uniform start within the budget."""

    def __init__(self, budget: Linf, step: float = 0.01, iterations: int = 10, seed: int = 0) -> None:
        super().__init__(budget, step, iterations)
        self.seed = seed

    def start(self, x: Tensor) -> Tensor:
        generator = torch.Generator(device=x.device).manual_seed(self.seed)
        noise = torch.rand(x.shape, generator=generator, device=x.device) * 2 - 1
        return x + self.budget.epsilon * noise
