"""Tables III and IV and figure 6: Deep Image Prior in front of a classifier.

Differences from the paper: p_real .5 is where pictures of the val split, drawn by the prior, are told best; the paper
takes the classifier's own .5. Beside the paper's defence, the classifier asked again behind the prior, stands a second
opinion: another network behind the prior, and a picture passes where both call it real. The categories of
Carlini-Wagner are filled with `near`, whose pictures can hardly be told from the fakes; those of kappa 200, which slim
networks leave destroyed, stand beside.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...detectors.detector import FAKE, REAL, Detector
from ...detectors.measure import auroc
from ...purification.prior import FAST, EarlyStop, Judge, Purified, Settings, purify
from . import operating
from .data import Part
from .drawn import Drawn
from .networks import Trained
from .perturbed import Perturbed
from .tables import CHUNK, Row, p_real, share, surrogate

THRESHOLDS = (0.5, 0.25)
"""p_real from which a picture counts as real; the paper's two."""
PER_CATEGORY = 10
CERTAIN = 1e4
"""A logit beyond all that a network gives."""
PAPER_SECONDS = 1800.0
"""An image took the paper `a little under 30 minutes` on a Tesla K80."""


@dataclass(frozen=True)
class Cases:
    """The pictures (N, 3, S, S) in [-1, 1] of all categories, which each is in, and whether it is real."""

    images: Tensor
    categories: tuple[str, ...]
    real: tuple[bool, ...]
    names: tuple[str, ...]

    def called(self, words: str) -> Cases:
        """The same with other words for the categories: each goes into the {} of `words`."""
        return replace(self, categories=tuple(words.format(category) for category in self.categories))


@dataclass(frozen=True)
class Defence:
    """`first`, the network that is asked before, and `behind`, the one that is asked behind the prior, with its
    threshold at the logit `by`. Where they are one network, only what it says behind the prior counts, as in the paper.
    """

    first: Trained
    behind: Trained
    by: float = 0.0

    @property
    def alone(self) -> bool:
        return self.first.name == self.behind.name

    @property
    def words(self) -> Row:
        if self.alone:
            return {"network": self.first.name, "title": self.first.recipe.title}
        title = f"{self.first.recipe.title}, then {self.behind.recipe.title}"
        return {"network": f"{self.first.name}+{self.behind.name}", "title": title}

    def both(self, before: Tensor, after: Tensor) -> Tensor:
        """p_real (N,) of the whole: of a second opinion the lower of the two."""
        return after if self.alone else torch.minimum(before, after)


class Both(Detector):
    """Two networks as one, for an attacker who knows both: its logits are their mean."""

    def __init__(self, networks: Sequence[Trained], shifts: Sequence[float]) -> None:
        super().__init__(torch.nn.Identity(), "both", networks[0].detector.size)
        self.members = torch.nn.ModuleList(one.detector for one in networks)
        self.shifts = tuple(shifts)

    def forward(self, image: Tensor) -> Tensor:
        return self._each(image).mean(0)

    def p_real(self, image: Tensor) -> Tensor:
        """(N,): the lower of the two: an attack has to fool both."""
        return self._each(image).softmax(2)[..., REAL].amin(0)

    def _each(self, image: Tensor) -> Tensor:
        moved = image.new_tensor(self.shifts)[:, None]
        logits = torch.stack([network(image) for network in self.members])
        return torch.stack([logits[..., FAKE], logits[..., REAL] - moved], 2)


def known_to_the_attacker(defence: Defence) -> Trained:
    """Both networks of a second opinion, each with its threshold, as one to attack. He still knows of no prior."""
    pair = Both([defence.first, defence.behind], [0.0, defence.by]).eval().requires_grad_(False)
    return Trained(defence.words["network"], defence.first.recipe, pair, {})


def threshold(classifier: Trained, drawn: Drawn, caught: Tensor | None = None) -> float:
    """The logit of `real` from which a drawn picture is called real.

    `caught` (N,): which of the drawn pictures another network, asked before, has called fake already.
    """
    late = drawn.late()
    x, real = late.pictures.float() / 127.5 - 1, late.labels == REAL
    with torch.no_grad():
        logits = torch.cat([classifier.detector.logit_real(some) for some in x.split(CHUNK)])
    if caught is not None:
        logits = logits.masked_fill(caught.repeat(len(logits) // len(caught)), -CERTAIN)
    return operating.threshold(logits[real], logits[~real])


def choose(
    classifier: Trained,
    part: Part,
    made: Mapping[tuple[str, str], Perturbed],
    reals: int,
    attacks: Sequence[str] = ("fgsm", "near"),
) -> Cases:
    """The paper's categories: only people whose unperturbed pictures the classifier gets right.

    Perturbed fakes by attack, setting and whether they fool it (at most PER_CATEGORY each), and, unless there are to
    be none, so many reals and so many unperturbed fakes that there are as many fakes.
    """
    x, _ = part.both()
    n = len(part)
    right_real, right_fake = (p_real(classifier, x[:n]) > 0.5, p_real(classifier, x[n:]) <= 0.5)
    picked: list[tuple[Tensor, str, bool, str]] = []

    def take(images: Tensor, fit: Tensor, category: str, real: bool, most: int) -> None:
        for k in torch.nonzero(fit)[:most, 0].tolist():
            picked.append((images[k], category, real, part.names[k]))

    for attack in attacks:
        for box, source in (("blackbox", surrogate(classifier)), ("whitebox", classifier.name)):
            if (source, attack) not in made:
                continue
            images = made[source, attack].images()
            fooled = p_real(classifier, images) > 0.5
            known = right_fake[: len(images)]
            take(images, known & fooled, f"{attack} {box}, fake-wrong", False, PER_CATEGORY)
            take(images, known & ~fooled, f"{attack} {box}, fake-correct", False, PER_CATEGORY)
    if reals:
        take(x[n:], right_fake, "unperturbed, fake-correct", False, max(PER_CATEGORY, reals - len(picked)))
        take(x[:n], right_real, "unperturbed, real-correct", True, reals)
    return Cases(
        torch.stack([p[0] for p in picked]) if picked else x[:0],
        tuple(p[1] for p in picked),
        tuple(p[2] for p in picked),
        tuple(p[3] for p in picked),
    )


def judge(classifier: Trained, by: float) -> Judge:
    """p_real with the threshold `by` at .5."""
    return lambda shown: torch.sigmoid(classifier.detector.logit_real(shown) - by)


def defend(
    classifier: Trained, cases: Cases, batch: int, by: float = 0.0, settings: Settings = FAST
) -> tuple[Tensor, Row]:
    """p_real (N,) after the defence with its threshold at the logit `by`, and what it cost."""
    start, wall, parts, stops = time.process_time(), time.monotonic(), [], []
    for images in cases.images.split(batch):
        done = purify(images, judge(classifier, by), settings, EarlyStop())
        parts.append(done.p_real)
        stops += done.chosen
        print(f"deep image prior: {len(stops)} of {len(cases.images)} pictures", flush=True)
    count = len(cases.images)
    seconds = (time.process_time() - start) / count
    facts = {
        "batch": batch,
        "size": cases.images.shape[-1],
        "channels": list(settings.channels),
        "skips": list(settings.skips),
        "threshold_logit": round(by, 4),
        "iterations_at_most": settings.iterations,
        "iteration_that_counts_mean": round(sum(stops) / count, 1),
        "cpu_seconds_an_image": round(seconds, 2),
        "wall_seconds_an_image": round((time.monotonic() - wall) / count, 2),
        "times_sooner_than_the_papers_30_minutes": round(PAPER_SECONDS / seconds, 1),
    }
    return torch.cat(parts), facts


def table3(cases: Cases, before: Tensor, after: Tensor, without: Tensor | None = None) -> list[Row]:
    """All categories together: accuracy, AUROC, precision and recall of fakes and reals, with and without.

    `without`: what both networks of a second opinion say with no prior.
    """
    real = torch.tensor(cases.real)
    rows = []
    for word, p, threshold in (
        *(("Deep Image Prior", after, threshold) for threshold in THRESHOLDS),
        *([("Both networks, no prior", without, 0.5)] if without is not None else []),
        ("Baseline", before, 0.5),
    ):
        says = p > threshold
        row: Row = {"defence": word, "threshold": threshold, "accuracy": share(says == real, cases.names)}
        row["auroc"] = round(auroc(p[real].numpy(), p[~real].numpy()), 4)
        for kind, is_real in (("fake", False), ("real", True)):
            hit = ((says == is_real) & (real == is_real)).sum()
            row[f"precision_{kind}"] = round(float(hit / (says == is_real).sum().clamp(min=1)), 4)
            row[f"recall_{kind}"] = round(float(hit / (real == is_real).sum().clamp(min=1)), 4)
        rows.append(row)
    return rows


def table4(cases: Cases, before: Tensor, after: Tensor) -> list[Row]:
    """Each category by itself."""
    rows = []
    for category in dict.fromkeys(cases.categories):
        inside = torch.tensor([c == category for c in cases.categories])
        names = [n for n, one in zip(cases.names, inside.tolist(), strict=True) if one]
        real = torch.tensor(cases.real)[inside]
        row: Row = {"category": category, "count": len(names)}
        row["baseline"] = share((before[inside] > 0.5) == real, names)
        for threshold in THRESHOLDS:
            row[f"threshold_{threshold}"] = share((after[inside] > threshold) == real, names)
        rows.append(row)
    return rows


def figure6(classifier: Trained, cases: Cases, iterations: int, by: float = 0.0) -> list[Row]:
    """The classifier's p_real along the optimisation, and its average over ten iterations, for four pictures."""
    wanted = {
        "a": "fgsm whitebox, fake-wrong",
        "b": "near whitebox, fake-wrong",
        "c": "unperturbed, fake-correct",
        "d": "unperturbed, real-correct",
    }
    found = {key: cases.categories.index(what) for key, what in wanted.items() if what in cases.categories}
    if not found:
        return []
    settings = Settings(FAST.channels, FAST.skips, FAST.depth, iterations, window=10, every=5)
    stop = EarlyStop(patience=iterations)  # runs to the end, and still says where it would have stopped
    done: Purified = purify(cases.images[list(found.values())], judge(classifier, by), settings, stop)
    smooth = done.averaged(settings.window)
    return [
        {
            "panel": key,
            "picture": wanted[key],
            "iterations": done.steps.tolist(),
            "p_real": [round(v, 4) for v in done.path[:, k].tolist()],
            "p_real_averaged": [round(v, 4) for v in smooth[:, k].tolist()],
            "stops_at": done.chosen[k],
        }
        for k, key in enumerate(found)
    ]


def summary(facts: dict[str, Any], cases: Cases) -> dict[str, Any]:
    return {**facts, "pictures": len(cases.images), "reals": sum(cases.real)}
