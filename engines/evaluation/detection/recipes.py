"""How each network of tables I to IV is made: the paper's, and ours beyond it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One network of the tables and how it is trained; `title` as the paper names it."""

    title: str
    architecture: str = "resnet18"
    width: float = 0.125
    lipschitz: float = 0.0
    blurred: float = 0.0
    """Share of pictures blurred as the paper did for its DIP classifier: sigma 3 to 5 of 224 px, here of the size."""
    adversarial: int = 0
    """Steps of the attack on every fake that is learnt from (see adversary)."""
    drawn: int = 0
    """So many pictures that Deep Image Prior drew stand beside each batch; the paper blurs for that."""
    filmed: int = 0
    """So many frames of talking heads are drawn too, beside the people."""
    compressed: float = 0.0
    """Share of batches that go through H.264 (crf 18 to 32) or JPEG (50 to 95)."""
    epochs: int = 12
    """Fewer where a step costs several."""
    lr: float = 2e-3
    start: str = ""
    """The network whose weights it begins with; the attacks are then at full strength from the first step."""


RECIPES: dict[str, Recipe] = {
    "vgg": Recipe("VGG", "vgg16", 0.125, epochs=15, lr=1e-3),
    "resnet": Recipe("ResNet", width=0.25, epochs=14),
    "lipschitz5": Recipe("ResNet (Regularized: lambda=5)", lipschitz=5.0, epochs=4),
    "lipschitz50": Recipe("ResNet (Regularized: lambda=50)", lipschitz=50.0, epochs=4),
    "lipschitz500": Recipe("ResNet (Regularized: lambda=500)", lipschitz=500.0, epochs=4),
    "lipschitz5000": Recipe("ResNet (Regularized: lambda=5000)", lipschitz=5000.0, epochs=4),
    "blurred": Recipe("ResNet (Data Augmented)", width=0.25, blurred=0.4, epochs=14),
    "compressed": Recipe("ResNet (H.264 and JPEG in training)", compressed=0.25),
    "adversarial": Recipe("ResNet (adversarial training)", width=0.25, adversarial=2, epochs=20),
    "prior": Recipe(
        "ResNet (adversarial training, for Deep Image Prior)",
        width=0.25,
        adversarial=2,
        drawn=16,
        epochs=4,
        lr=5e-4,
        start="adversarial",
    ),
    "drawn": Recipe(
        "ResNet (for what Deep Image Prior draws)",
        width=0.25,
        blurred=0.4,
        drawn=64,
        epochs=6,
        lr=1e-3,
        start="adversarial",
    ),
    "filmed": Recipe(
        "ResNet (for what Deep Image Prior draws, of videos too)",
        width=0.25,
        blurred=0.4,
        drawn=64,
        filmed=105,
        epochs=6,
        lr=1e-3,
        start="adversarial",
    ),
}
"""The first seven are the paper's; the others are ours, `drawn` and `filmed` to be asked behind the prior only."""
