"""Several generators at once: which of them a step faces, and how their gradients with respect to delta are added up.

`uniform` adds them equally. `distance` gives more to those that are further from success. `mgda` is the min-norm
point of the gradients' convex hull (Desideri 2012; Sener and Koltun 2018, who take the gradients at the shared
representation, as here), on gradients of unit length: without it the weights go to the generator that is already won,
whose gradient is the shortest. With fewer generators a step than there are, `uniform` and `mgda` take turns and
`distance` draws the losing ones more often. Shares, where given, say how often each is drawn, whatever it gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from stream_guard.errors import UsageError

KINDS = ("uniform", "distance", "mgda")
MEMORY = 0.97
"""Of the running means, a step."""
LEAST = 0.1
"""The urgency that a generator keeps when every pair is disrupted: it must stay so."""


class Balance:
    """The state that is kept between steps: each generator's share of disrupted pairs, and the gradients' length."""

    def __init__(self, kind: str, count: int, per_step: int = 1, shares: Sequence[float] = ()) -> None:
        if kind not in KINDS:
            raise UsageError(f"balance is one of {', '.join(KINDS)}, got {kind!r}")
        if shares and (len(shares) != count or min(shares) < 0 or not 0 < sum(shares) < inf):
            raise UsageError(f"shares are {count} numbers of 0 or more, one a generator, got {list(shares)}")
        if shares and not 0 < per_step < sum(share > 0 for share in shares) + 1:
            raise UsageError("with shares, per_step is 1 or more and at most the generators that have one")
        if count < 1:
            raise UsageError("a disrupter needs at least one generator to train against")
        self.kind, self.count = kind, count
        self.per_step = min(per_step, count) if per_step > 0 else count
        self.shares = torch.tensor(shares, dtype=torch.float32)
        self.won = torch.zeros(count)
        self.length = torch.zeros(1)
        self.turn = 0

    def choose(self, rng: torch.Generator) -> list[int]:
        """The generators of this step."""
        if len(self.shares):
            return sorted(torch.multinomial(self.shares, self.per_step, generator=rng).tolist())
        if self.kind == "distance" and self.per_step < self.count:
            return sorted(torch.multinomial(self.urgency, self.per_step, generator=rng).tolist())
        first, self.turn = self.turn, (self.turn + self.per_step) % self.count
        return sorted((first + k) % self.count for k in range(self.per_step))

    @property
    def urgency(self) -> Tensor:
        """(count,): how far each generator is from success, with a mean of 1."""
        left = (1 - self.won).clamp(min=LEAST)
        return left / left.mean()

    def saw(self, generator: int, disrupted: float) -> None:
        """Remember the share of pairs that this step disrupted."""
        self.won[generator] = MEMORY * self.won[generator] + (1 - MEMORY) * disrupted

    def combine(self, chosen: Sequence[int], gradients: Sequence[Tensor]) -> Tensor:
        """One gradient for the step, of the length that their mean would have."""
        if self.kind == "mgda":
            return self._min_norm(gradients)
        stack = torch.stack(list(gradients))
        if self.kind == "uniform" or self.per_step < self.count or len(self.shares):
            return stack.mean(0)
        weights = self.urgency[list(chosen)].to(stack)
        return torch.einsum("k,k...->...", weights / len(chosen), stack)

    def _min_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        norms = torch.stack([g.norm() for g in gradients])
        now = norms.mean().cpu()
        self.length = (MEMORY * self.length + (1 - MEMORY) * now) if self.length > 0 else now.reshape(1)
        units = torch.stack([g / (n + 1e-12) for g, n in zip(gradients, norms, strict=True)])
        weights = min_norm_weights(units.flatten(1))
        return torch.einsum("k,k...->...", weights, units) * self.length.to(units)

    def state_dict(self) -> dict[str, Any]:
        return {"won": self.won, "length": self.length, "turn": self.turn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Generators that are new since then start as unbeaten."""
        kept = min(self.count, len(state["won"]))
        self.won[:kept] = state["won"][:kept]
        self.length, self.turn = state["length"], int(state["turn"]) % self.count


def min_norm_weights(gradients: Tensor, iterations: int = 100) -> Tensor:
    """(K,) weights, none below 0, with the sum 1, of the shortest combination of the rows of (K, D). Frank-Wolfe."""
    gram = (gradients @ gradients.T).double().cpu()
    weights = torch.full((len(gradients),), 1 / len(gradients), dtype=gram.dtype)
    for _ in range(iterations):
        slope = gram @ weights
        best = torch.zeros_like(weights)
        best[slope.argmin()] = 1
        direction = best - weights
        curve = direction @ gram @ direction
        share = (-(weights @ gram @ direction) / curve.clamp(min=1e-18)).clamp(0, 1)
        weights = weights + share * direction
        if share < 1e-6:
            break
    return weights.to(gradients)
