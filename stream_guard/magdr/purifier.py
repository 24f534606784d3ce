"""MagDR's reconstructor as an adversary of protected video: what an attacker would do before they edit a face.

Unlike the stage it does not wait for the detector: an attacker loses nothing by trying. The recipe is searched on a
face's first sample and applied to its later ones, as an attacker with a whole clip would.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..inference import AUTO
from .detector import Detector
from .engines import Parser, Rgb, from_rgb
from .panel import open_panel
from .reconstructor import Recipe, by_learning, restore
from .regions import Masks, conditional_masks
from .restorer import LearnedRestorer

LOOKS = 120


@dataclass
class Purifier:
    """`purify(crop, probe, track)`: the head crop (S, S, 3) in 8 bits as the attacker would feed it to the probe."""

    parser: Parser
    detectors: dict[str, Detector]
    looks: int = LOOKS
    restorer: LearnedRestorer | None = None
    recipes: dict[tuple[str, int], Recipe] = field(default_factory=dict)

    def __call__(self, crop: Rgb, probe: str, track: int) -> Rgb:
        """A probe without a calibration is attacked with the recipe for the first that has one."""
        name = probe if probe in self.detectors else next(iter(self.detectors))
        masks = conditional_masks(self.parser.classes(from_rgb([crop])[0]))
        if (name, track) not in self.recipes:
            self.recipes[name, track] = self._recipe(crop, masks, self.detectors[name])
        return self.recipes[name, track](crop, masks)

    def _recipe(self, crop: Rgb, masks: Masks, detector: Detector) -> Recipe:
        if self.restorer is not None:
            return by_learning(self.restorer)
        return restore(crop, masks, detector.quick(masks), float("-inf"), self.looks, rounds=1).recipe

    @property
    def size(self) -> int:
        return self.parser.size

    def facts(self) -> dict[str, object]:
        """Which recipes were found, by probe and face."""
        return {f"{name}, face {track}": str(recipe) for (name, track), recipe in sorted(self.recipes.items())}

    def close(self) -> None:
        if self.restorer is not None:
            self.restorer.close()
        for detector in self.detectors.values():
            detector.editor.close()
        self.parser.close()


def open_purifier(backend: str = AUTO) -> Purifier:
    """With every probe of the zoo that the calibration knows. Raises EngineError where there is none."""
    panel = open_panel(inputs=False, restores=True, backend=backend)
    detectors = {detector.editor.card.name: detector for detector in panel.detectors}
    return Purifier(panel.parser, detectors, restorer=panel.restorer)
