"""Whether the fast Deep Image Prior and the paper's say the same of the same pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engines.evaluation.detection import agreement, defence, drawn, networks, perturbed, tables
from engines.evaluation.detection.data import Pictures
from engines.purification.prior import Settings
from tests.support.tinted import QUICK, SIZE

SLOW = Settings(channels=(4, 8), skips=(0, 2), iterations=40, every=2)


@pytest.mark.parametrize("second", [False, True])
def test_both_priors_are_asked_about_the_same_pictures(
    trained: list[networks.Trained],
    pictures: Pictures,
    made: dict[tuple[str, str], perturbed.Perturbed],
    monkeypatch: pytest.MonkeyPatch,
    second: bool,
) -> None:
    monkeypatch.setattr(agreement, "FAST", QUICK)
    monkeypatch.setattr(agreement, "PAPERS_SIZE", 64)
    behind = trained[2]
    used = defence.Defence(trained[1] if second else behind, behind, 0.0)
    cases = defence.choose(used.first, pictures.test, made, reals=4)
    val = drawn.three(pictures.val.first(2), SIZE, used.first.detector)
    row = agreement.compare(used, val, cases, 6, 4, SLOW)
    assert (row["pictures"], row["chosen_on"], row["network"]) == (6, 6, used.words["network"])
    assert row["iterations_looked_at"][0] <= row["iteration_that_counts"] <= row["iterations_looked_at"][1] == 40
    right, wrong = row["accuracy_fast"]["value"], row["accuracy_paper"]["value"]
    assert abs(right - wrong) <= 1 - row["same_verdict"]["value"] + 1e-4
    assert row["cpu_seconds_an_image_paper_at_512"] >= 0


def test_the_iteration_is_where_the_pictures_of_val_are_told_best() -> None:
    real = torch.tensor([True, True, False, False])
    told, mixed = torch.tensor([3.0, 2.0, -1.0, -2.0]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    logits = torch.stack([told, mixed, mixed, told + 5, told + 5, told + 5, mixed])
    at, by = agreement.best_iteration(logits, real, torch.zeros(4, dtype=torch.bool), 1)
    assert at == 4  # not the first, which is looked at too soon; the middle of those that are as good
    assert 4 <= by < 7
    # What the first network caught needs no telling: then the others do, too, and the threshold may fall.
    at, by = agreement.best_iteration(mixed[None], real, ~real, 0)
    assert by < -1


def test_pictures_are_taken_evenly_over_the_categories() -> None:
    names = tuple(f"p{k}" for k in range(10))
    cases = defence.Cases(torch.arange(10.0), tuple("aaaaabbbbb"), (True,) * 5 + (False,) * 5, names)
    some = agreement.spread(cases, 4)
    assert some.images.tolist() == [0, 3, 6, 9]
    assert (some.categories, some.real, some.names) == (
        tuple("aabb"),
        (True, True, False, False),
        ("p0", "p3", "p6", "p9"),
    )
    assert agreement.spread(cases, 99).images.tolist() == list(range(10))


def test_the_path_is_what_the_network_says_averaged_over_the_window(
    trained: list[networks.Trained], pictures: Pictures
) -> None:
    used = defence.Defence(trained[2], trained[2])
    images = pictures.test.both()[0][:3]
    steps, found = agreement.path(used, images, 2, replace(SLOW, iterations=12, window=4))
    assert steps.tolist() == [2, 4, 6, 8, 10, 12]
    assert found.shape == (6, 3)
    assert tables.p_real(used.behind, images).shape == (3,)
