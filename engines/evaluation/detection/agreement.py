"""Whether the fast Deep Image Prior says what the paper's would: the same pictures through both.

The paper's network, noise and steps are run as published, on pictures of this size. The paper looked at 2,500 to 7,500
iterations at 512 px and took 6,000; the iteration that counts is chosen here on people of the val split, drawn by that
network, and so is the threshold there.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from ...detectors.detector import REAL
from ...purification.prior import FAST, Fixed, Settings, purify
from . import operating
from .defence import CERTAIN, Cases, Defence, defend, judge
from .tables import Row, p_real, share

PAPER = Settings(iterations=3_000, every=2)
"""The published settings but for the iterations: so many are enough to see the perturbation drawn at 64 px."""
FIRST = 0.1
"""Of the iterations: before, the network has not drawn a picture yet (the paper ignores 500 of 10,000)."""
PAPERS_ITERATIONS = 6_000
PAPERS_SIZE = 512
TIMED = 10


def compare(
    used: Defence, val: tuple[Tensor, Tensor], cases: Cases, count: int, batch: int, settings: Settings = PAPER
) -> Row:
    """What both say of `count` of the cases, taken evenly; `val`: pictures (N, 3, S, S) and labels to choose on."""
    some = spread(cases, count)
    before, seen = p_real(used.first, some.images), p_real(used.first, val[0])
    fast, facts = defend(used.behind, some, batch, used.by, FAST)
    steps, known = path(used, val[0], batch, settings)
    caught = torch.zeros(len(seen), dtype=torch.bool) if used.alone else seen <= 0.5
    at, by = best_iteration(known, val[1] == REAL, caught, int(FIRST * len(steps)))
    start = time.process_time()
    _, found = path(used, some.images, batch, replace(settings, iterations=int(steps[at]) + settings.window))
    seconds = (time.process_time() - start) / len(some.images)
    verdicts = {"fast": used.both(before, fast) > 0.5, "paper": used.both(before, torch.sigmoid(found[at] - by)) > 0.5}
    real = torch.tensor(some.real)
    return used.words | {
        "pictures": len(some.images),
        "reals": int(real.sum()),
        "size": some.images.shape[-1],
        "channels": list(settings.channels),
        "skips": list(settings.skips),
        "iterations_looked_at": [int(steps[int(FIRST * len(steps))]), int(steps[-1])],
        "iteration_that_counts": int(steps[at]),
        "threshold_logit": round(by, 4),
        "chosen_on": len(val[0]),
        "same_verdict": share(verdicts["fast"] == verdicts["paper"], some.names),
        "accuracy_fast": share(verdicts["fast"] == real, some.names),
        "accuracy_paper": share(verdicts["paper"] == real, some.names),
        "cpu_seconds_an_image_fast": facts["cpu_seconds_an_image"],
        "cpu_seconds_an_image_paper": round(seconds, 1),
        "cpu_seconds_an_image_paper_at_512": round(seconds_at(PAPERS_SIZE) * PAPERS_ITERATIONS),
    }


def spread(cases: Cases, count: int) -> Cases:
    """`count` of the cases at the most, as evenly over the categories as they lie."""
    kept = sorted({round(k) for k in torch.linspace(0, len(cases.images) - 1, min(count, len(cases.images))).tolist()})
    return Cases(
        cases.images[kept], *(tuple(part[k] for k in kept) for part in (cases.categories, cases.real, cases.names))
    )


def path(used: Defence, images: Tensor, batch: int, settings: Settings) -> tuple[Tensor, Tensor]:
    """The iterations (T,) and the logit (T, N) of p_real there, averaged over the window as in figure 6."""
    steps, found = torch.empty(0), []
    for some in images.split(batch):
        done = purify(some, judge(used.behind, 0.0), settings, Fixed(settings.iterations))
        steps = done.steps
        found.append(done.averaged(settings.window).logit(1e-6))
        print(f"the paper's prior: {sum(part.shape[1] for part in found)} of {len(images)} pictures", flush=True)
    return steps, torch.cat(found, 1)


def best_iteration(logits: Tensor, real: Tensor, caught: Tensor, first: int) -> tuple[int, float]:
    """The index from `first` on, and the threshold, with the best mean of both recalls; of as good ones the middle."""
    says = logits.masked_fill(caught, -CERTAIN)
    by = [operating.threshold(row[real], row[~real]) for row in says]
    right = torch.stack(
        [(row[real] > t).float().mean() + (row[~real] <= t).float().mean() for row, t in zip(says, by, strict=True)]
    )
    right[:first] = 0
    as_good = torch.nonzero(right >= right.max() - 2 * operating.NEARLY)[:, 0]
    at = int(as_good[len(as_good) // 2])
    return at, by[at]


def seconds_at(size: int) -> float:
    """CPU seconds of one iteration of the paper's network on one picture, without the detector."""
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    settings = replace(PAPER, iterations=TIMED, every=TIMED)
    start = time.process_time()
    purify(image, lambda shown: torch.zeros(len(shown)), settings, Fixed(TIMED))
    return (time.process_time() - start) / TIMED
