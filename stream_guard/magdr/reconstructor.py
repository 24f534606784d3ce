"""Rec-Net (Algorithm 1 of MagDR): for each patch of a face, layer by layer, the operation that calms the detector.

Each category has one parameter to begin with (`FIRST`). For a face, each layer tries all its categories with that
parameter, keeps the three best, tries all parameters of those, and takes the best (lines 7 to 11). The search counts
its looks at the probe and stops at a bound, so that it is bounded in time and deterministic.

Where there is a learned restorer, which the paper has not, it takes the place of all that (`by_learning`): image
operations calm a face that it restored further, but take the edit away from the clean one. Differences from the paper,
on purpose: FIRST is fixed, where lines 1 to 6 choose it by S_final on a training set; a small price for every change of
the input (`PRICE`), because blurring more always calms the detector more; the patches are four groups of regions,
because a layer is searched for each; and the whole face is searched before them, as one patch: generators that
normalise each picture answer to all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .engines import Rgb
from .operations import LAYERS, Method, category
from .regions import NAMES, Masks

TOP = 3
PRICE = 1.0
"""What a mean change of one on [0, 1] costs, in units of S_final."""

WHOLE = "whole"
PATCHES: dict[str, tuple[str, ...]] = {
    "features": ("brows", "eyes", "nose", "mouth"),
    "skin": ("skin",),
    "hair": ("hair",),
    "around": ("background", "body"),
}

Learned = Callable[[Rgb], Rgb]
"""The learned restorer of a whole face."""

Judge = Callable[[Rgb], float]
"""S_final of a face, or a cheaper stand-in; lower is cleaner."""

FIRST: dict[str, float] = {
    "none": 0.0,
    "median": 3,
    "gaussian": 1.0,
    "bilateral": 0.1,
    "total_variation": 0.08,
    "nl_means": 0.06,
    "jpeg": 50,
    "depth": 5,
    "resize": 0.5,
    "super_resolution": 0.5,
    "sharpen": 30,
}
"""The parameter of each category that a search begins with, of middling strength."""


@dataclass(frozen=True)
class Recipe:
    """What to do with each patch, in order; `looks` is how often the search asked the judge."""

    methods: Mapping[str, tuple[Method, ...]]
    looks: int = 0
    learned: Learned | None = None
    """What the whole face goes through instead."""

    def __call__(self, face: Rgb, masks: Masks) -> Rgb:
        """The face with every patch treated, blended by the soft masks (N, S, S)."""
        return blended(face if self.learned is None else self.learned(face), masks, self.methods)

    @property
    def changes(self) -> bool:
        return self.learned is not None or bool(self._operations())

    def __str__(self) -> str:
        first = "learned restorer" if self.learned is not None else ""
        return "; ".join(part for part in (first, self._operations()) if part) or "nothing"

    def _operations(self) -> str:
        said = {name: ", ".join(str(m) for m in way if m.category != "none") for name, way in self.methods.items()}
        return "; ".join(f"{name}: {way}" for name, way in said.items() if way)


def by_learning(learned: Learned) -> Recipe:
    """The learned restorer alone, whatever a probe says of it: of reenactment none hears anything (docs/magdr.md)."""
    return Recipe({}, learned=learned)


@dataclass
class Search:
    """One search: `judge` is asked at most `bound` times."""

    judge: Judge
    bound: int
    looks: int = 0

    def recipe(self, face: Rgb, masks: Masks) -> Recipe:
        """The methods for the whole face, then for each patch that is there, the largest first."""
        chosen: dict[str, tuple[Method, ...]] = {}
        for patch in (WHOLE, *sorted(PATCHES, key=lambda name: -float(patch_mask(masks, name).mean()))):
            if patch_mask(masks, patch).mean() < 0.01:
                continue
            for layer in LAYERS:
                method = self._best(face, masks, chosen, patch, layer)
                chosen[patch] = (*chosen.get(patch, ()), method)
        return Recipe(chosen, self.looks)

    def _best(
        self, face: Rgb, masks: Masks, chosen: dict[str, tuple[Method, ...]], patch: str, layer: tuple[str, ...]
    ) -> Method:
        """Lines 7 to 10: every category with its own parameter, then every parameter of the three best."""

        def price(method: Method) -> float:
            tried = blended(face, masks, {**chosen, patch: (*chosen.get(patch, ()), method)})
            self.looks += 1
            change = float(np.abs(tried.astype(np.int16) - face).mean()) / 255
            return self.judge(tried) + PRICE * change

        prices: dict[Method, float] = {}
        for name in layer:
            if self.looks < self.bound:
                prices[Method(name, FIRST[name])] = price(Method(name, FIRST[name]))
        leading = sorted(prices, key=lambda m: prices[m])[:TOP]
        for method in [Method(m.category, p) for m in leading for p in category(m.category).parameters]:
            if method not in prices and self.looks < self.bound:
                prices[method] = price(method)
        return min(prices, key=lambda m: prices[m]) if prices else Method("none", 0.0)


def blended(face: Rgb, masks: Masks, methods: Mapping[str, tuple[Method, ...]]) -> Rgb:
    """The face after the methods for the whole of it, then each patch's; soft borders, rounded once."""
    for method in methods.get(WHOLE, ()):
        face = method(face)
    total = np.zeros(face.shape, np.float32)
    rest = np.ones(face.shape[:2], np.float32)
    for patch, way in ((name, way) for name, way in methods.items() if name != WHOLE):
        treated = face
        for method in way:
            treated = method(treated)
        weight = patch_mask(masks, patch)
        total += treated * weight[..., None]
        rest -= weight
    total += face * rest[..., None]
    return np.rint(total).clip(0, 255).astype(np.uint8)


def patch_mask(masks: Masks, patch: str) -> Masks:
    """(S, S): the sum of the patch's regions; 1 everywhere for the whole."""
    if patch == WHOLE:
        return np.ones(masks.shape[1:], np.float32)
    found: Masks = masks[[NAMES.index(name) for name in PATCHES[patch]]].sum(0)
    return found


@dataclass(frozen=True)
class Restored:
    """The face after detect, reconstruct, detect again; `scores` are S_final before and after each round."""

    face: Rgb
    recipe: Recipe
    scores: tuple[float, ...]


def restore(
    face: Rgb,
    masks: Masks,
    judge: Judge,
    limit: float,
    bound: int,
    rounds: int = 2,
) -> Restored:
    """Reconstruct until the judge says at most `limit`, for at most `rounds` rounds and about `bound` looks in all.

    What leaves the face no calmer is dropped, and ends it. The recipe holds the methods of all rounds.
    """
    scores, looks = [judge(face)], 1
    current = face
    ways: dict[str, tuple[Method, ...]] = {}
    for _ in range(rounds):
        if scores[-1] <= limit or looks >= bound:
            break
        search = Search(judge, bound - looks)
        found = search.recipe(current, masks)
        tried = {name: (*ways.get(name, ()), *way) for name, way in found.methods.items()}
        treated = blended(face, masks, {**ways, **tried})
        looks += search.looks + 1
        score = judge(treated)
        if score >= scores[-1]:
            break
        current, ways = treated, {**ways, **tried}
        scores.append(score)
    return Restored(current, Recipe(ways, looks), tuple(scores))
