"""Random warps: an affine map and a thin-plate spline, for the equivariance losses and for motion from stills.

As in section 3.1 and the code of the paper: eye + N(0, sigma_affine), a 5 x 5 grid of control points with weights
N(0, sigma_tps). Difference: the spline's radius is the usual one (r^2 log r, here of the square root of a sum of
squares; the published code sums absolute values), x and y get weights of their own, and the derivative is written out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import coordinate_grid

_NEAR = 1e-6
POINTS = 5


class Warp:
    """N random maps of the plane [-1, 1]^2 to itself: where each place of the warped picture is taken from."""

    def __init__(
        self, n: int, sigma_affine: float, sigma_tps: float, generator: torch.Generator, device: torch.device
    ) -> None:
        noise = torch.randn(n, 2, 3, generator=generator) * sigma_affine
        self.theta = (torch.eye(2, 3) + noise).to(device)
        self.control = coordinate_grid(POINTS, POINTS, noise).reshape(-1, 2).to(device)
        self.weights = (torch.randn(n, POINTS**2, 2, generator=generator) * sigma_tps).to(device)

    def places(self, at: Tensor) -> Tensor:
        """(N, P, 2) places of the warped picture to the places that they are taken from."""
        offset = at[:, :, None] - self.control
        r2 = offset.square().sum(-1)
        spline = (r2 * 0.5 * torch.log(r2 + _NEAR)) @ self.weights
        return at @ self.theta[:, :, :2].transpose(1, 2) + self.theta[:, None, :, 2] + spline

    def jacobian(self, at: Tensor) -> Tensor:
        """(N, P, 2, 2): the derivative of `places`, row by row."""
        offset = at[:, :, None] - self.control
        r2 = offset.square().sum(-1)
        slope = (torch.log(r2 + _NEAR) + r2 / (r2 + _NEAR))[..., None] * offset
        return self.theta[:, None, :, :2] + torch.einsum("npkj,nki->npij", slope, self.weights)

    def frame(self, image: Tensor) -> Tensor:
        """The warped pictures (N, C, H, W); mirrored beyond the border. Coordinates are those of key points."""
        n, _, height, width = image.shape
        grid = coordinate_grid(height, width, image).reshape(1, -1, 2).expand(n, -1, -1)
        flow = self.places(grid).view(n, height, width, 2)
        return F.grid_sample(image, flow, padding_mode="reflection", align_corners=True)
