"""The detector networks by name: how each is built and which public layout it loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from stream_guard.errors import UsageError

from ..generators.checkpoint import LoadReport, load_into, read_state_dict
from . import dfb_mesonet, keras, mesonet, multi_attention, pair, residue, resnet, vgg, xception
from .detector import HALF, IMAGENET, UNIT, Detector, Statistics

PAIRED = {"resnet18_residue_pair": "resnet18_residue"}
"""Of what a pair is one."""

Layout = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Architecture:
    """One network: `build(width, size)`, the published input `size`, its statistics, class order and key layout."""

    name: str
    description: str
    build: Callable[[float, int], nn.Module]
    size: int
    statistics: Statistics = HALF
    real_first: bool = False
    layout: Layout = dict

    def detector(self, width: float = 1.0, size: int = 0) -> Detector:
        """A new detector at a width multiplier and an input size (0: the published one)."""
        size = size or self.size
        return Detector(self.build(width, size), self.name, size, self.statistics, self.real_first)

    def load_public(self, path: str | Path) -> tuple[Detector, LoadReport]:
        """The published network with a public checkpoint's weights, and what did not fit.

        MesoNet's Keras files end in .h5. Raises EngineError for another network or a pickle with code.
        """
        detector = self.detector()
        network = detector.network
        if str(path).endswith(".h5") and isinstance(network, mesonet.Meso4 | mesonet.MesoInception4):
            report = keras.load(network, path)
        else:
            report = load_into(network, self.layout(read_state_dict(path)))
        return detector.eval().requires_grad_(False), report


def _meso_width(width: float) -> int:
    """MesoNet is so small that it only grows: whole multiples of its channels."""
    return max(1, round(width))


ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        Architecture(
            "xception",
            "Xception, FaceForensics++ layout",
            lambda width, size: xception.Xception(width),
            xception.FFPP_SIZE,
            real_first=True,
            layout=xception.layout,
        ),
        Architecture(
            "dfb_xception",
            "Xception, DeepfakeBench layout",
            lambda width, size: xception.Xception(width, adjust_channel=True),
            xception.DFB_SIZE,
            real_first=True,
            layout=xception.layout,
        ),
        Architecture(
            "resnet18",
            "ResNet-18, torchvision layout",
            lambda width, size: resnet.resnet18(width),
            224,
            IMAGENET,
            layout=resnet.layout,
        ),
        Architecture(
            "resnet18_residue",
            "ResNet-18 and a small network on the picture's high-pass residue",
            lambda width, size: residue.ResidueResNet(width),
            224,
            IMAGENET,
            layout=resnet.layout,
        ),
        Architecture(
            "resnet18_residue_pair",
            "two ResNet-18, each with a small network on the picture's high-pass residue, averaged",
            lambda width, size: pair.Pair(lambda: residue.ResidueResNet(width)),
            224,
            IMAGENET,
        ),
        Architecture(
            "resnet50",
            "ResNet-50, torchvision layout",
            lambda width, size: resnet.resnet50(width),
            224,
            IMAGENET,
            layout=resnet.layout,
        ),
        Architecture("vgg16", "VGG-16, torchvision layout", vgg.VGG16, 224, IMAGENET, layout=resnet.layout),
        Architecture(
            "multi_attention",
            "Multi-attentional, EfficientNet-B4, DeepfakeBench layout",
            lambda width, size: multi_attention.MultiAttention(width, multi_attention.depth_of(width)),
            multi_attention.SIZE,
            real_first=True,
            layout=multi_attention.layout,
        ),
        Architecture(
            "mesonet",
            "Meso4, the official network",
            lambda width, size: mesonet.Meso4(size, _meso_width(width)),
            mesonet.SIZE,
            UNIT,
        ),
        Architecture(
            "mesoinception4",
            "MesoInception4, the official network",
            lambda width, size: mesonet.MesoInception4(size, _meso_width(width)),
            mesonet.SIZE,
            UNIT,
        ),
        Architecture(
            "dfb_meso4",
            "Meso4 of DeepfakeBench",
            lambda width, size: dfb_mesonet.DfbMeso4(),
            dfb_mesonet.SIZE,
            real_first=True,
            layout=dfb_mesonet.layout,
        ),
        Architecture(
            "dfb_mesoinception4",
            "MesoInception4 of DeepfakeBench",
            lambda width, size: dfb_mesonet.DfbMesoInception4(),
            dfb_mesonet.SIZE,
            real_first=True,
            layout=dfb_mesonet.layout,
        ),
    )
}


def architecture(name: str) -> Architecture:
    """The architecture called `name`. Raises UsageError listing those there are."""
    if name not in ARCHITECTURES:
        raise UsageError(f"{name!r} is no detector; choose one of: {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[name]
