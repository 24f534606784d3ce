"""Every recipe learns, and each network has its threshold where the val split is told best."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engines.attacks.classifier import PAPER_EPSILON, margin
from engines.evaluation.detection import adversary, networks, operating
from engines.evaluation.detection.data import Pictures
from stream_guard.errors import EngineError


def test_the_best_epoch_is_the_one_with_the_greatest_auroc_on_val(
    pictures: Pictures, trained: list[networks.Trained]
) -> None:
    for one in trained:
        found = one.facts["val_auroc"]
        assert found[one.facts["best_epoch"] - 1] == max(found)
        assert networks.validation(one.detector, pictures) == pytest.approx(max(found), abs=2e-3)


@pytest.mark.parametrize("name", ["lipschitz500", "adversarial", "compressed"])
def test_every_recipe_trains(pictures: Pictures, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(networks.RECIPES[name], epochs=1, width=0.0625)
    monkeypatch.setitem(networks.RECIPES, name, quick)
    small = replace(pictures, train=pictures.train.first(16))
    found = networks.train(name, small, batch=16, say=lambda words: None)
    assert found.facts["epochs_run"] == 1
    assert not found.detector.training


def test_a_training_starts_from_another_network(
    trained: list[networks.Trained], pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained[1].detector
    still = replace(networks.RECIPES["adversarial"], epochs=1, width=0.0625, lr=0.0)
    monkeypatch.setitem(networks.RECIPES, "adversarial", still)
    found = networks.train("adversarial", pictures, batch=16, say=lambda words: None, start=first).detector
    for (name, ours), theirs in zip(found.named_parameters(), first.parameters(), strict=True):
        if name != "network.fc.bias":  # the threshold is chosen anew
            torch.testing.assert_close(ours, theirs, msg=name)


def test_the_threshold_moves_into_the_last_bias(trained: list[networks.Trained], pictures: Pictures) -> None:
    for one in trained[:2]:
        before = copy.deepcopy(one.detector)
        by = operating.shift(before, pictures.val) + 3.0
        last = [m for m in before.network.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.bias[1] += 3.0 + by
        after = copy.deepcopy(before)
        found = operating.shift(after, pictures.val)
        x = pictures.val.reals
        fell = before.logit_real(x / 127.5 - 1) - after.logit_real(x / 127.5 - 1)
        torch.testing.assert_close(fell, torch.full_like(fell, found), atol=1e-4, rtol=0)
        assert found > 2


def test_the_threshold_tells_both_best() -> None:
    reals, fakes = torch.tensor([1.0, 2.0, 3.0, -5.0]), torch.tensor([-4.0, -3.0, 0.0, 0.5])
    assert operating.threshold(reals, fakes) == 0.5
    assert operating.threshold(reals, fakes - 10) == -9.5


def test_a_network_that_was_attacked_in_training_is_moved_where_both_kinds_of_fakes_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reals, fakes, attacked = torch.tensor([1.0, 2.0, 5.0, 6.0]), torch.tensor([-2.0, 0.0]), torch.tensor([3.0, 4.0])
    moved: list[float] = []
    monkeypatch.setattr(
        operating, "logits", lambda detector, part, epsilon=0.0: (reals, attacked if epsilon else fakes)
    )
    monkeypatch.setattr(operating, "move", lambda detector, by: moved.append(by))
    detector: Any = None
    assert operating.shift(detector, detector) == 0.0
    # At 0 all reals and half of the fakes are told, at 4 half of the reals and all fakes: between them lies no better.
    assert operating.shift(detector, detector, 0.1) == operating.threshold(reals, torch.cat([fakes, attacked])) == 0.0
    fakes = fakes + 3.5
    assert operating.shift(detector, detector, 0.1) == 4.0
    assert moved == [0.0, 0.0, 4.0]


def test_only_fakes_are_attacked_and_some_reals_are_noisy(trained: list[networks.Trained], pictures: Pictures) -> None:
    torch.manual_seed(0)
    detector = copy.deepcopy(trained[1].detector)
    x, labels = pictures.test.both()
    x = x.repeat(4, 1, 1, 1)
    labels = labels.repeat(4)
    made = adversary.against(detector, x, labels, PAPER_EPSILON, 2)
    away = (made - x).abs().amax((1, 2, 3))
    assert float(away.max()) <= PAPER_EPSILON + 1e-6
    assert float(away[labels == 0].min()) > 0.5 * PAPER_EPSILON
    assert 0.1 < float((away[labels == 1] > 0).float().mean()) < 0.6
    before, after = (margin(detector(p), labels)[labels == 0].mean() for p in (x, made))
    assert after < before


def test_the_attack_grows_with_the_training() -> None:
    assert adversary.epsilon(0.05) == 0
    assert 0 < adversary.epsilon(0.3) < PAPER_EPSILON
    assert adversary.epsilon(0.5) == adversary.epsilon(1.0) == PAPER_EPSILON


def test_a_network_survives_the_disk(trained: list[networks.Trained], tmp_path: Path, pictures: Pictures) -> None:
    one = replace(trained[1], recipe=networks.RECIPES["resnet"])
    networks.save(one, tmp_path / "n.pt")
    with pytest.raises(EngineError, match="delete it to train it"):
        networks.load(tmp_path / "n.pt")  # it is slimmer than the recipe says
