"""CycleGAN (Zhu et al., ICCV 2017, https://arxiv.org/abs/1703.10593; code: junyanz/pytorch-CycleGAN-and-pix2pix, BSD).

The ResNet generator and the 70 x 70 PatchGAN. Key names and shapes are those of `latest_net_G_A.pth` and
`latest_net_D_A.pth`; with dropout the second convolution of a block is `conv_block.6` instead of `conv_block.5`, as in
the official files. Instance norm has neither weights nor running statistics, so that train and eval mode agree, and
the biases in front of it change nothing; they are there because the files have them. ReLUs are not in place.
"""

from __future__ import annotations

from torch import Tensor, nn


def _norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)


class ResnetBlock(nn.Module):
    def __init__(self, channels: int, dropout: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(channels), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(channels)]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Generator(nn.Module):
    """Image (N, 3, H, W) RGB in [-1, 1] to the image in the other domain, same shape and range.

    `ngf=64` with 9 blocks is the published size (11.38 M parameters); 16 is the slim surrogate (0.71 M).
    """

    def __init__(self, ngf: int = 64, blocks: int = 9, dropout: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7), _norm(ngf), nn.ReLU()]
        width = ngf
        for _ in range(2):
            layers += [nn.Conv2d(width, width * 2, 3, 2, 1), _norm(width * 2), nn.ReLU()]
            width *= 2
        layers += [ResnetBlock(width, dropout) for _ in range(blocks)]
        for _ in range(2):
            layers += [nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1), _norm(width // 2), nn.ReLU()]
            width //= 2
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Discriminator(nn.Module):
    """Image (N, 3, S, S) to realness of overlapping patches (N, 1, S/8 - 2, S/8 - 2), no sigmoid (LSGAN)."""

    def __init__(self, ndf: int = 64, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, ndf, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = ndf
        for k in range(1, layers + 1):
            wider = ndf * min(2**k, 8)
            parts += [nn.Conv2d(width, wider, 4, 2 if k < layers else 1, 1), _norm(wider), nn.LeakyReLU(0.2)]
            width = wider
        parts.append(nn.Conv2d(width, 1, 4, 1, 1))
        self.model = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class WithoutCondition(nn.Module):
    """A CycleGAN generator behind the two inputs that every target has; the condition (N, 1) changes nothing.

    It is read nevertheless, because an export drops inputs that are not.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        return self.network(image + 0 * condition[:, :1, None, None])
