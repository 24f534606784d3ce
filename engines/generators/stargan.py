"""StarGAN (Choi et al., CVPR 2018, https://arxiv.org/abs/1711.09020; original code: github.com/yunjey/stargan, MIT).

Key names and shapes are the public checkpoint's. Differences on purpose: `forward` returns the image alone (the
official one returns every activation too, see `activations`), and ReLUs are not in place, so that gradients with
respect to the input can be taken twice. The official solver never calls `eval()`: instance norm then uses each
image's own statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ATTRIBUTES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")

CONDITION_NAMES = ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Not_Young"]
CONDITIONS = [
    [1.0, 0.0, 0.0, 0.5, 0.5],
    [0.0, 1.0, 0.0, 0.5, 0.5],
    [0.0, 0.0, 1.0, 0.5, 0.5],
    [0.0, 0.0, 0.0, 1.0, 0.5],
    [0.0, 0.0, 0.0, 0.5, 0.0],
]
"""One edit a row, as tables and `audit` use them; 0.5 leaves Male or Young as it is."""

WHOLE_CONDITIONS = [
    [1.0, 0.0, 0.0, 0.0, 1.0],
    [0.0, 1.0, 0.0, 0.0, 1.0],
    [0.0, 0.0, 1.0, 0.0, 1.0],
    [0.0, 0.0, 1.0, 1.0, 1.0],
    [0.0, 0.0, 1.0, 0.0, 0.0],
]
"""The same names for weights that know whole attributes only: a young woman's hair in three colours, a young man, an
older woman, the last two with brown hair."""


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            _norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            _norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Generator(nn.Module):
    """G(x, c): image (N, 3, H, W) RGB in [-1, 1] and condition (N, c_dim) to the edited image, same shape and range.

    `conv_dim=64` is the published size (8.43 M parameters); 16 is the slim surrogate (0.53 M).
    """

    def __init__(self, conv_dim: int = 64, c_dim: int = 5, repeat_num: int = 6) -> None:
        super().__init__()
        self.conv_dim, self.c_dim, self.repeat_num = conv_dim, c_dim, repeat_num
        layers: list[nn.Module] = [nn.Conv2d(3 + c_dim, conv_dim, 7, 1, 3, bias=False), _norm(conv_dim), nn.ReLU()]
        width = conv_dim
        for _ in range(2):
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1, bias=False), _norm(width * 2), nn.ReLU()]
            width *= 2
        layers += [ResidualBlock(width) for _ in range(repeat_num)]
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False), _norm(width // 2), nn.ReLU()]
            width //= 2
        layers += [nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.main(with_condition(x, c))

    def activations(self, x: Tensor, c: Tensor) -> list[Tensor]:
        """The output of each child of `main`, as the official forward returns them (after its in-place ReLU)."""
        h = with_condition(x, c)
        out: list[Tensor] = []
        for layer in self.main:
            h = layer(h)
            if isinstance(layer, nn.ReLU):
                out[-1] = h
            out.append(h)
        return out


def with_condition(x: Tensor, c: Tensor) -> Tensor:
    planes = c[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3])
    return torch.cat([x, planes.to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """Image (N, 3, S, S) to (realness (N, 1, S/64, S/64), attribute logits (N, c_dim))."""

    def __init__(self, image_size: int = 128, conv_dim: int = 64, c_dim: int = 5, repeat_num: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, conv_dim, 4, 2, 1), nn.LeakyReLU(0.01)]
        width = conv_dim
        for _ in range(1, repeat_num):
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1), nn.LeakyReLU(0.01)]
            width *= 2
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(width, 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(width, c_dim, image_size // 2**repeat_num, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.main(x)
        return self.conv1(h), self.conv2(h).flatten(1)
