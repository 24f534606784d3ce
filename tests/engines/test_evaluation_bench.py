"""What the tables' columns are made of: whose faces, which edits, how strong an attack; on stand-ins that tell."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from engines.attacks.base import L2, Linf
from engines.attacks.pgd import IFGSM, PGD
from engines.evaluation import protectors
from engines.evaluation.delivered import Still, clip
from engines.evaluation.deliveries import Deliveries, Treated, Treatment
from engines.evaluation.methods import fixed
from engines.evaluation.tables import bench as benches
from engines.evaluation.tables import detection
from engines.evaluation.tables.bench import Bench
from engines.generators.target import Target
from stream_guard.types import Box, head_region

METHODS = {"none": 0.0, "ours": 1.0, "pgd": 2.0}


class Shift(nn.Module):
    """Its edit is the picture and ten times its condition; it remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x, c):
        self.asked.append(float(c[0, 0]))
        return x + 10 * c[:, :, None, None]


def target(count=3):
    rows = torch.arange(1, count + 1).float()[:, None]
    return Target(Shift(), "stargan", rows, ["Black_Hair", "Blond_Hair", "Brown_Hair"][:count], 16)


def still(seed: int, side: int = 120) -> Still:
    rgb = np.random.default_rng(seed).integers(60, 190, (side // 8, side // 8, 3), dtype=np.uint8)
    return Still(f"face {seed}", rgb.repeat(8, 0).repeat(8, 1), Box(45, 40, 75, 85))


class Told:
    """A bench whose pictures are numbers: the method's, and of an edit ten times the condition more."""

    channels = (SimpleNamespace(name="8bit"),)
    seed, width, names = 0, 256, ["a", "b", "c", "d"]

    def __init__(self, real: float):
        self.real, self.verdicts, self.stills = real, {}, list("abcd")
        self.generators = [SimpleNamespace(name="g", target=target(), seen=True)]
        self.detectors = [SimpleNamespace(name="x", kind="xception")]
        self.progress = SimpleNamespace(begin=lambda *words: None, tick=lambda: None)
        self.deliveries = SimpleNamespace(
            need=lambda *words: None, heads=lambda made, *words: torch.full((4, 3, 2, 2), METHODS[made.name])
        )
        self.trained = lambda kind: {}

    def method(self, name, generator=None, engine=None):
        return SimpleNamespace(name=name)

    def edit(self, generator, images, rows):
        return images + 10 * (1 + torch.from_numpy(rows))[:, None, None, None]

    def passes(self, reader, images):
        return (images[:, 0, 0, 0] == self.real).numpy()

    def pairs(self, generator, a_face):
        return np.arange(4), np.zeros(4, np.int64)


def passed(table, real: float, key: str, figure: str) -> dict[str, float]:
    rows = table(Told(real)).rows
    return {row["labels"][key]: row["columns"]["8bit"][figure]["value"] for row in rows}


@pytest.mark.parametrize(("real", "found"), [(0, "x"), (1, "x + P(x)"), (10, "G(x)"), (11, "G(x + P(x))")])
def test_each_row_of_table_4_is_of_the_pictures_it_names(real, found):
    shares = passed(detection.table4, real, "input", "passed_as_real")
    assert shares == {title: float(title == found) for title in ("x", "x + P(x)", "G(x)", "G(x + P(x))")}


@pytest.mark.parametrize(("real", "found"), [(10, "fake of the original"), (12, "fake of PGD-10's")])
def test_table_2s_fakes_are_of_the_method_it_names(real, found):
    shares = passed(detection.table2, real, "fakes", "fakes_passed")
    assert shares == {title: float(title == found) for title in detection.METHODS.values()}


def test_the_reals_of_every_method_are_unprotected():
    assert set(passed(detection.table2, 0, "fakes", "recall").values()) == {1.0}


@pytest.mark.parametrize(("k", "name"), list(enumerate(detection.HAIR)))
@pytest.mark.parametrize("table", [detection.table1, detection.table7])
def test_a_condition_is_the_one_that_is_named(table, k, name):
    assert passed(table, 10 * (k + 1), "condition", "fakes_passed")[name] in (0.0, 1.0)
    rows = [r for r in table(Told(10 * (k + 1))).rows if r["columns"]["8bit"]["fakes_passed"]["value"]]
    assert [row["labels"]["condition"] for row in rows] == [name]


def bare(**parts) -> Bench:
    """A bench without a command line."""
    made = object.__new__(Bench)
    made.progress = SimpleNamespace(begin=lambda *words: None, tick=lambda: None)
    made.__dict__ |= {"device": torch.device("cpu"), "seed": 0, "_treated": {}, "_references": {}, **parts}
    return made


def test_a_detector_passes_what_it_gives_more_than_a_half():
    reader = SimpleNamespace(detector=SimpleNamespace(p_real=lambda images: images[:, 0, 0, 0]))
    images = torch.tensor([0.2, 0.5, 0.51, 0.9])[:, None, None, None].expand(4, 3, 2, 2)
    assert bare().passes(reader, images).tolist() == [False, False, True, True]


def test_pairs_take_all_conditions_in_turn():
    made = bare(stills=list("abc"), arguments=SimpleNamespace(conditions=2))
    faces, rows = made.pairs(SimpleNamespace(target=target()))
    assert (faces.tolist(), rows.tolist()) == ([0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("name", "kind"), [("ifgsm", IFGSM), ("pgd", PGD), ("pgd_same_psnr", PGD)])
def test_the_attacks_have_ruiz_steps_and_budgets_or_the_disrupters_psnr(monkeypatch, name, kind):
    given = []
    monkeypatch.setattr(benches.protectors, "iterated", lambda key, attack, *words: given.append(attack))
    engine = SimpleNamespace(budget_psnr_db=38.0, card=SimpleNamespace(sha256=""))
    made = bare(engine=engine, _deliveries=SimpleNamespace(stills=[]))
    made.method(name, SimpleNamespace(name="g", target=target()))
    ((attack,), same) = given, name == "pgd_same_psnr"
    assert type(attack) is kind
    assert (attack.step, attack.iterations) == (0.01, 10)
    assert attack.budget == (L2(2 * 10 ** (-38.0 / 20)) if same else Linf(0.05))


def test_attacks_go_through_the_conditions_in_turn_and_only_i_fgsm_flees_from_black():
    """Fled from black every value rises; from its own output each goes on where the random start began."""
    changes = {}
    for attack in (IFGSM(Linf(0.05)), PGD(Linf(0.05))):
        against = target()
        (treatment,) = protectors.iterated("a", attack, against, [still(0)], lambda: None).treatments
        changes[type(attack)] = treatment.difference(16)
        assert against.network.asked[-10:] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    assert changes[IFGSM].min() > 0.049
    assert 0.3 < float((changes[PGD] > 0).float().mean()) < 0.7
    assert changes[PGD].abs().max() == pytest.approx(0.05, abs=1e-5)


def test_a_face_in_a_clip_is_as_wide_as_was_asked_and_drifts():
    boxes = [box for _, box in clip(still(0), 96)]
    assert [box.width for box in boxes] == pytest.approx([96.0] * 6)
    assert boxes[0].height == pytest.approx(96 * 45 / 30)
    assert len({(box.x0, box.y0) for box in boxes}) == 6


def test_what_a_few_faces_cost_is_of_these_alone():
    """Against numpy, on the pixels of each head: the first face is perturbed by half as much as the second."""
    stills = [still(0), still(1)]
    treatments = [
        Treatment(
            fixed(np.full((3, 4, 4), level, np.float32), head_region, 0.0), lambda size: torch.zeros(3, size, size)
        )
        for level in (4 / 255, 8 / 255)
    ]
    made = Deliveries(stills, [16], [])
    found = made.quality(Treated("two", treatments), 60)
    alone = [
        Deliveries([s], [16], []).quality(Treated("one", [t]), 60) for s, t in zip(stills, treatments, strict=True)
    ]
    assert found.first(1) == alone[0]
    assert found.first(1).psnr_db == pytest.approx(alone[1].psnr_db + 20 * np.log10(2), abs=0.3)
    errors = [10 ** (-one.psnr_db / 10) for one in alone]  # both heads have as many pixels
    assert found.psnr_db == pytest.approx(-10 * np.log10(np.mean(errors)), abs=0.01)
    assert found.first(None) == found


def test_a_crop_that_an_attacker_takes_is_compared_with_the_same_crop_of_the_original():
    deliveries = SimpleNamespace(clean=lambda width, size, crop: torch.full((1, 3, 2, 2), crop))
    made = bare(stills=["a"], arguments=SimpleNamespace(conditions=1), _deliveries=deliveries)
    generator = benches.Generator("g", target(), True, 1, 1.0)
    found = [float(made.reference(generator, 256, crop).mean()) for crop in (1.0, 0.71, 1.0)]
    assert found == pytest.approx([11.0, 10.71, 11.0])  # the edit adds ten
