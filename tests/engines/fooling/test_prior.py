"""Tables III and IV and figure 6: Deep Image Prior before one network, or beside a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engines import training
from engines.evaluation.detection import defence, drawn, networks, perturbed, tables
from engines.evaluation.detection.data import Pictures
from stream_guard.errors import EngineError
from tests.support.tinted import QUICK, SIZE


def test_tables_3_and_4_and_figure_6(
    trained: list[networks.Trained],
    pictures: Pictures,
    made: dict[tuple[str, str], perturbed.Perturbed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = defence.choose(trained[2], pictures.test, made, reals=4)
    assert sum(cases.real) <= 4
    before = tables.p_real(trained[2], cases.images)
    after, facts = defence.defend(trained[2], cases, 8, settings=QUICK)
    assert after.shape == (len(cases.images),)
    assert facts["times_sooner_than_the_papers_30_minutes"] > 0
    whole = defence.table3(cases, before, after)
    assert [(row["defence"], row["threshold"]) for row in whole] == [
        ("Deep Image Prior", 0.5),
        ("Deep Image Prior", 0.25),
        ("Baseline", 0.5),
    ]
    rows = defence.table4(cases, before, after)
    assert sum(row["count"] for row in rows) == len(cases.images)
    for row in rows:
        if "fake-wrong" in row["category"]:
            assert row["baseline"]["value"] == 0
        else:
            assert row["baseline"]["value"] == 1
    monkeypatch.setattr(defence, "FAST", QUICK)
    for panel in defence.figure6(trained[2], cases, 20):
        assert len(panel["p_real"]) == len(panel["p_real_averaged"]) == len(panel["iterations"]) == 4


def test_a_second_opinion_passes_what_both_networks_call_real(
    trained: list[networks.Trained], pictures: Pictures, made: dict[tuple[str, str], perturbed.Perturbed]
) -> None:
    used = defence.Defence(trained[1], trained[2], 0.5)
    assert used.words == {"network": "resnet+blurred", "title": "ResNet, then ResNet (Data Augmented)"}
    assert defence.Defence(trained[1], trained[1]).words["network"] == "resnet"
    before, after = torch.tensor([0.9, 0.2, 0.9]), torch.tensor([0.7, 0.9, 0.1])
    assert used.both(before, after).tolist() == pytest.approx([0.7, 0.2, 0.1])
    assert defence.Defence(trained[1], trained[1]).both(before, after) is after
    cases = defence.choose(trained[1], pictures.test, made, reals=4)
    p = tables.p_real(trained[1], cases.images)
    whole = defence.table3(cases, p, used.both(p, 1 - p), used.both(p, p))
    assert [row["defence"] for row in whole][2:] == ["Both networks, no prior", "Baseline"]
    assert whole[2]["accuracy"] == whole[3]["accuracy"]


def test_an_attacker_who_knows_both_networks_has_to_fool_both(
    trained: list[networks.Trained], pictures: Pictures, tmp_path: Path
) -> None:
    used = defence.Defence(trained[1], trained[2], 0.5)
    pair = defence.known_to_the_attacker(used)
    x, _ = pictures.test.both()
    each = [one.detector.logit_real(x) for one in trained[1:3]]
    torch.testing.assert_close(pair.detector.p_real(x).logit(), torch.minimum(each[0], each[1] - 0.5))
    torch.testing.assert_close(pair.detector.logit_real(x), (each[0] + each[1] - 0.5) / 2)
    found = perturbed.make(pair, pictures.test, "fgsm", perturbed.Effort(6, 1, 5, 200.0, 1.0, 3), tmp_path)
    assert (tmp_path / "resnet+blurred-fgsm.pt").is_file()
    fakes = pictures.test.only_fakes()[0]
    assert (pair.detector.logit_real(found.images()) > pair.detector.logit_real(fakes)).float().mean() > 0.9
    cases = defence.choose(pair, pictures.test, {(pair.name, "fgsm"): found}, 0)
    assert len(cases.images)
    assert {name.rpartition(", ")[2] for name in cases.called("{}, both known").categories} == {"both known"}


def test_pictures_are_drawn_of_reals_fakes_and_attacked_fakes(
    trained: list[networks.Trained], pictures: Pictures, tmp_path: Path
) -> None:
    path = tmp_path / "drawn.pt"
    found = drawn.make(pictures.train.first(2), SIZE, trained[1].detector, path, QUICK)
    assert found.pictures.shape == (5 * 6, 3, SIZE, SIZE)
    assert found.labels.tolist() == [1, 1, 0, 0, 0, 0] * 5
    assert found.late().labels.tolist() == [1, 1, 0, 0, 0, 0] * 2
    assert torch.equal(found.late().pictures, found.pictures[18:])
    x, labels = found.some(400, torch.Generator().manual_seed(0))
    assert 0.35 < float((labels == 1).float().mean()) < 0.65  # a third of them are real
    assert float(x.abs().max()) <= 1
    stamp = path.stat().st_mtime_ns
    again = drawn.make(pictures.train.first(2), SIZE, trained[1].detector, path, QUICK)
    assert torch.equal(again.pictures, found.pictures)
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(b"nothing")
    with pytest.raises(EngineError, match="delete it to draw them"):
        drawn.make(pictures.train.first(1), SIZE, trained[1].detector, path, QUICK)


def test_pictures_are_drawn_anew_for_another_network_or_other_people(
    trained: list[networks.Trained], pictures: Pictures, tmp_path: Path
) -> None:
    path = tmp_path / "drawn.pt"
    first = drawn.make(pictures.train.first(1), SIZE, trained[1].detector, path, QUICK)
    drawn.make(pictures.train.first(1), SIZE, trained[2].detector, path, QUICK)
    assert str(training.weights_sum(trained[2].detector)) in torch.load(path)["key"]
    assert len(drawn.make(pictures.train.first(2), SIZE, trained[2].detector, path, QUICK).labels) == 30
    torch.save({"pictures": first.pictures, "labels": first.labels}, path)  # as before there were keys
    kept = drawn.make(pictures.train.first(2), SIZE, trained[2].detector, path, QUICK)
    assert torch.equal(kept.pictures, first.pictures)


def test_drawn_pictures_are_learnt_from(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(networks.RECIPES["prior"], epochs=4, width=0.0625, adversarial=0, lr=2e-3)
    monkeypatch.setitem(networks.RECIPES, "prior", quick)
    monkeypatch.setattr(networks, "AVERAGED", 0.5)
    shown = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, SIZE, SIZE)
    told = []
    for labels in ([0, 1], [1, 0]):
        found = drawn.Drawn(shown, torch.tensor(labels))
        one = networks.train("prior", pictures, batch=16, say=lambda words: None, drawn=found)
        assert one.facts["best_epoch"] == 4
        told.append(one.detector.logit_real(shown.float() / 127.5 - 1))
    assert told[0][1] - told[0][0] > told[1][1] - told[1][0] + 0.5


def test_the_defence_has_its_threshold_where_drawn_pictures_are_told(
    trained: list[networks.Trained], pictures: Pictures
) -> None:
    x = torch.cat([pictures.val.reals, pictures.val.fakes]).repeat(5, 1, 1, 1)
    labels = torch.tensor([1] * 16 + [0] * 16).repeat(5)
    by = defence.threshold(trained[2], drawn.Drawn(x, labels))
    p = defence.judge(trained[2], by)(x.float() / 127.5 - 1)
    moved = defence.judge(trained[2], by + 1)(x.float() / 127.5 - 1)
    torch.testing.assert_close(p.logit() - moved.logit(), torch.ones_like(p), atol=1e-3, rtol=0)
    caught = labels[:32] == 0  # all the fakes: then every real may pass
    assert (
        defence.threshold(trained[2], drawn.Drawn(x, labels), caught)
        < trained[2].detector.logit_real(pictures.val.reals.float() / 127.5 - 1).min()
    )
    right = ((p > 0.5) == (labels == 1)).float().mean()
    assert right >= ((tables.p_real(trained[2], x.float() / 127.5 - 1) > 0.5) == (labels == 1)).float().mean() - 0.02
