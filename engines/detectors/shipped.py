"""A detector as it ships: the file of an engine, run by a session of the runtime, in a torch network's place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stream_guard.inference import Card, open_session

from .detector import HALF, Detector


class _InSession(nn.Module):
    def __init__(self, card: Card) -> None:
        super().__init__()
        self._session = open_session(card)

    def forward(self, image: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run({"image": image.cpu().numpy()})["logits"]).to(image.device)


def shipped(card: Card) -> Detector:
    """What the engine `card` answers, on the processor's best backend; no gradients go through it."""
    # HALF leaves [-1, 1] as it is, which is what an engine takes: the rest is in its file.
    return Detector(_InSession(card), card.name, card.input_shape("image")[-1], HALF).eval()
