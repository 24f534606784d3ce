"""VGG-16 without batch norm (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556; key names of torchvision).

A width multiplier is added, and `size`: the published network pools to 7 x 7, which is what 224 px give; a smaller
input pools to what it gives, so that nothing is repeated.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import adaptive_pool, scaled

LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Channels of each convolution; 0 halves the picture."""


class VGG16(nn.Module):
    """Image (N, 3, H, W), ImageNet-normalised, to class scores (N, 2). `width=1`, `size=224` is published."""

    def __init__(self, width: float = 1.0, size: int = 224, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        cin = 3
        for channels in LAYERS:
            if channels:
                cout = scaled(channels, width)
                layers += [nn.Conv2d(cin, cout, 3, 1, 1), nn.ReLU()]
                cin = cout
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.pool, hidden = min(size // 32, 7), scaled(4096, width)
        self.classifier = nn.Sequential(
            nn.Linear(cin * self.pool**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 2),
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                # Without a norm the scale must survive 13 layers of itself.
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # every convolution here has a bias

    def forward(self, x: Tensor) -> Tensor:
        h = self.features(x)
        if h.shape[-2:] != (self.pool, self.pool):
            h = adaptive_pool(h, self.pool, self.pool)
        return self.classifier(h.flatten(1))
