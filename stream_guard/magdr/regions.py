"""The parts of a face: 19 classes, the regions that they make up, and which regions each edit is meant to change.

The conditional mask tensor of MagDR (section 3.2.1) is (N, H, W), one soft mask a region, summing to 1 at each pixel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import UnknownNameError, UsageError

Masks = npt.NDArray[np.float32]
"""(..., N, H, W) in [0, 1]."""

CLASSES = (
    *("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear"),
    *("mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
"""The order of CelebAMask-HQ: what the pack's masks and our parser use."""

BISENET_CLASSES = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r"),
    *("nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"),
)
"""The order of the public BiSeNet checkpoint (zllrunning/face-parsing.PyTorch)."""

FROM_BISENET = tuple(BISENET_CLASSES.index(name) for name in CLASSES)
"""`bisenet_scores[:, FROM_BISENET]` has the classes in the order of CLASSES."""

REGIONS: dict[str, tuple[str, ...]] = {
    "background": ("background",),
    "skin": ("skin", "l_ear", "r_ear", "ear_r"),
    "brows": ("l_brow", "r_brow"),
    "eyes": ("l_eye", "r_eye", "eye_g"),
    "nose": ("nose",),
    "mouth": ("mouth", "u_lip", "l_lip"),
    "hair": ("hair", "hat"),
    "body": ("neck", "neck_l", "cloth"),
}
"""Every class belongs to exactly one region, so that the masks sum to 1 where the classes do."""

NAMES = tuple(REGIONS)

TARGETS: dict[str, tuple[str, ...]] = {
    # Attributes of StarGAN
    "Black_Hair": ("hair", "brows"),
    "Blond_Hair": ("hair", "brows"),
    "Brown_Hair": ("hair", "brows"),
    "Male": ("skin", "mouth"),
    "Not_Young": ("skin", "hair"),
    # Action units of GANimation, and the expressions that are made of them
    "AU1": ("brows",),
    "AU2": ("brows",),
    "AU4": ("brows",),
    "AU5": ("eyes",),
    "AU6": ("skin", "eyes"),
    "AU7": ("eyes",),
    "AU9": ("nose",),
    "AU10": ("mouth",),
    "AU12": ("mouth", "skin"),
    "AU14": ("mouth",),
    "AU15": ("mouth",),
    "AU17": ("mouth", "skin"),
    "AU20": ("mouth",),
    "AU23": ("mouth",),
    "AU25": ("mouth",),
    "AU26": ("mouth", "skin"),
    "AU45": ("eyes",),
    "smile": ("eyes", "mouth", "skin"),
    "open_mouth": ("mouth", "skin"),
    "surprise": ("brows", "eyes", "mouth", "skin"),
    "frown": ("brows", "eyes", "mouth", "skin"),
    "eyes_shut": ("eyes", "skin"),
    "grimace": ("brows", "eyes", "nose", "mouth", "skin"),
    "reenactment": ("brows", "eyes", "nose", "mouth", "skin"),
    # Face replacement changes all of the inner face
    "replacement": ("brows", "eyes", "nose", "mouth", "skin"),
}
"""What each edit may change. Any other region that changes as much is a sign of a perturbation (eq. 5)."""


def targets_of(condition: str) -> tuple[str, ...]:
    """The regions of a condition by the name on a probe's card: `Male`, `AU12`, or several joined by `+`.

    A name that stands in no row counts as `reenactment`. Raises UsageError for an empty name.
    """
    if not condition:
        raise UsageError("a condition needs a name; see stream_guard/magdr/regions.py for those that are known")
    parts = [TARGETS.get(part.strip(), TARGETS["reenactment"]) for part in condition.split("+")]
    return tuple(name for name in NAMES if any(name in part for part in parts))


def region_index(name: str) -> int:
    if name not in REGIONS:
        raise UnknownNameError("region", name, list(REGIONS))
    return NAMES.index(name)


def conditional_masks(classes: Masks) -> Masks:
    """Class probabilities (..., 19, H, W) to the conditional mask tensor (..., N, H, W), summing to 1 at each pixel.

    Raises UsageError for another number of classes.
    """
    if classes.ndim < 3 or classes.shape[-3] != len(CLASSES):
        raise UsageError(f"masks need {len(CLASSES)} classes, got an array of the shape {classes.shape}")
    sums = [classes[..., [CLASSES.index(c) for c in members], :, :].sum(-3) for members in REGIONS.values()]
    masks: Masks = np.stack(sums, -3)
    masks /= np.maximum(masks.sum(-3, keepdims=True), np.float32(1e-6))
    return masks
