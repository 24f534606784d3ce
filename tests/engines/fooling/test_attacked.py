"""Tables I and II: unperturbed and attacked pictures, and our attacks beside the library's."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engines.evaluation.detection import library, networks, perturbed, tables
from engines.evaluation.detection.data import Pictures
from stream_guard.errors import EngineError


def test_table_1(trained: list[networks.Trained], pictures: Pictures) -> None:
    rows = tables.table1(trained, pictures.test)
    assert [row["network"] for row in rows] == ["vgg", "resnet", "blurred"]
    for row in rows:
        low, high = row["accuracy"]["ci95"]
        assert low <= row["accuracy"]["value"] <= high
        assert row["accuracy"]["count"] == 32
        assert row["accuracy"]["value"] == pytest.approx((row["recall_fake"] + row["recall_real"]) / 2, abs=1e-3)


def test_table_2_takes_black_box_pictures_from_the_other_network(
    trained: list[networks.Trained], pictures: Pictures, made: dict[tuple[str, str], perturbed.Perturbed]
) -> None:
    rows = {row["network"]: row for row in tables.table2(trained, pictures.test, made)}
    assert tables.surrogate(trained[0]) == "resnet"
    assert tables.surrogate(trained[1]) == "vgg"
    vgg = trained[0]
    expected = (tables.p_real(vgg, made["resnet", "fgsm"].images()) <= 0.5).float().mean()
    assert rows["vgg"]["fgsm_blackbox"]["8 bits"]["value"] == pytest.approx(float(expected), abs=1e-3)
    assert set(rows["vgg"]["cw_whitebox"]) == set(perturbed.DELIVERIES)
    assert rows["resnet"]["cw_facts"]["iterations"] == 5
    assert rows["resnet"]["near_facts"]["near_iterations"] == 3
    assert rows["resnet"]["fgsm_facts"]["linf_mean"] <= 0.02 + 1 / 255


def test_stricter_thresholds_trade_reals_for_fakes(
    trained: list[networks.Trained], pictures: Pictures, made: dict[tuple[str, str], perturbed.Perturbed]
) -> None:
    assert tables.trade(trained, pictures.test, made) == []
    robust = replace(trained[1], recipe=replace(trained[1].recipe, adversarial=1))
    (row,) = tables.trade([robust], pictures.test, made)
    recall = list(row["real_recall_at"].values())
    assert recall == sorted(recall, reverse=True)
    attacked = tables.p_real(robust, made["resnet", "fgsm"].images()).sort().values
    passed = tables.p_real(robust, pictures.test.reals.float() / 127.5 - 1)
    assert (passed > attacked[-1]).float().mean() - 1e-3 <= recall[-1] <= (passed > attacked[8]).float().mean() + 1e-3


def test_the_papers_code_returns_the_fake_where_kappa_is_not_reached(
    trained: list[networks.Trained], pictures: Pictures, made: dict[tuple[str, str], perturbed.Perturbed]
) -> None:
    found = made["resnet", "cw"]
    assert found.facts["reached"] == 0
    clean = pictures.test.first(6).only_fakes()[0]
    assert torch.equal(found.as_papers_code(pictures.test), clean)
    some = replace(found, reached=torch.tensor([True] + [False] * 5)).as_papers_code(pictures.test)
    assert torch.equal(some[0], found.images()[0])
    assert torch.equal(some[1:], clean[1:])
    row = tables.table2(trained[1:2], pictures.test, {("resnet", "cw"): found})[0]
    assert row["cw_whitebox_papers_code"]["8 bits"]["value"] == pytest.approx(
        float((tables.p_real(trained[1], clean) <= 0.5).float().mean()), abs=1e-3
    )


def test_a_fake_that_had_to_go_far_was_held(trained: list[networks.Trained], pictures: Pictures) -> None:
    x = pictures.test.only_fakes()[0]
    reals = pictures.test.reals
    passed = tables.p_real(trained[1], reals.float() / 127.5 - 1) > 0.5
    near = ((reals.float() / 127.5 - 1 - x) / 2).square().mean((1, 2, 3)).sqrt() <= perturbed.CLOSE
    assert not near.any()
    assert passed.any()
    assert perturbed._held_close(trained[1], x, reals) == 1
    assert perturbed._held_close(trained[1], reals.float() / 127.5 - 1, reals) == pytest.approx(
        1 - float(passed.float().mean()), abs=1e-3
    )


def test_pictures_are_made_once_and_again_for_another_network(
    trained: list[networks.Trained], pictures: Pictures, tmp_path: Path
) -> None:
    effort = perturbed.Effort(2, 1, 2)
    first = perturbed.make(trained[1], pictures.test, "cw", effort, tmp_path)
    again = perturbed.make(trained[1], pictures.test, "cw", effort, tmp_path)
    assert again.facts == first.facts
    other = perturbed.make(replace(trained[2], name="resnet"), pictures.test, "cw", effort, tmp_path)
    assert other.facts["weights"] != first.facts["weights"]
    (path,) = tmp_path.glob("*-cw.pt")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EngineError, match=r"cw.pt holds no attacked pictures .*: delete it to make them"):
        perturbed.make(trained[1], pictures.test, "cw", effort, tmp_path)


def test_our_attacks_stand_beside_the_librarys(trained: list[networks.Trained], pictures: Pictures) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("foolbox")
    one_step, carlini, early = library.compare(trained[1], pictures.test.first(3), 2, 12)
    assert one_step["ours"]["success"] == one_step["theirs"]["success"]
    assert one_step["ours"]["l2_mean"] == pytest.approx(one_step["theirs"]["l2_mean"], rel=1e-3)
    assert carlini["iterations"] == 12
    assert carlini["times_as_fast"] > 0
    assert early["attack"].endswith("each stops early")


def test_the_suite_reports_the_worst(trained: list[networks.Trained], pictures: Pictures) -> None:
    (row,) = tables.suite(trained[1:2], pictures.test.first(8), 4, 6, 0)
    assert row["epsilon"] == pytest.approx(0.02)
    assert row["worst"]["value"] <= min(row[name]["value"] for name in ("apgd_ce", "apgd_margin", "square"))
    assert set(row["checks"]) >= {"share_of_zero_gradients", "without_a_bound_nothing_holds"}
