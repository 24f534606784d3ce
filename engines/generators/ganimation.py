"""GANimation (Pumarola et al., ECCV 2018, https://arxiv.org/abs/1807.09251), as vipermu/ganimation builds it.

Key names and shapes are those of the checkpoints that Ruiz et al. 2020 attack. Differences on purpose: `forward`
returns the edited image (the official one returns attention and colour, see `masks`), and the debug1 to debug4
modules, which hold the layers of `main` again under other names, are not built: `checkpoint.load_ganimation` drops
their keys. The official code never calls `eval()`: instance norm then uses each image's own statistics.
"""

from __future__ import annotations

from torch import Tensor, nn

from . import stargan

ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
"""The condition: intensities / 5, so in [0, 1], of these units in the order in which OpenFace writes them."""


class Generator(nn.Module):
    """G(x, c): image (N, 3, H, W) RGB in [-1, 1] and action units (N, c_dim) to the edited image, same range.

    `conv_dim=64` is the published size (8.47 M parameters); 16 is the slim surrogate (0.54 M).
    """

    def __init__(self, conv_dim: int = 64, c_dim: int = len(ACTION_UNITS), repeat_num: int = 6) -> None:
        super().__init__()
        self.conv_dim, self.c_dim, self.repeat_num = conv_dim, c_dim, repeat_num
        trunk = list(stargan.Generator(conv_dim, c_dim, repeat_num).main.children())[:-2]  # all but colour and tanh
        self.main = nn.Sequential(*trunk)
        self.im_reg = nn.Sequential(nn.Conv2d(conv_dim, 3, 7, 1, 3, bias=False), nn.Tanh())
        self.im_att = nn.Sequential(nn.Conv2d(conv_dim, 1, 7, 1, 3, bias=False), nn.Sigmoid())

    def masks(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """(attention (N, 1, H, W) in [0, 1]: the share of the input that is kept; colour (N, 3, H, W) in [-1, 1])."""
        h = self.main(stargan.with_condition(x, c))
        return self.im_att(h), self.im_reg(h)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        attention, colour = self.masks(x, c)
        return compose(x, attention, colour)


def compose(x: Tensor, attention: Tensor, colour: Tensor) -> Tensor:
    return (1 - attention) * colour + attention * x


class Discriminator(stargan.Discriminator):
    """Image (N, 3, S, S) to (realness (N, S/64, S/64), action units (N, c_dim)); the layers are StarGAN's.

    The official one squeezes its outputs, so that a batch of one loses its first axis; this one does not.
    """

    def __init__(
        self, image_size: int = 128, conv_dim: int = 64, c_dim: int = len(ACTION_UNITS), repeat_num: int = 6
    ) -> None:
        super().__init__(image_size, conv_dim, c_dim, repeat_num)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        real, units = super().forward(x)
        return real.squeeze(1), units
