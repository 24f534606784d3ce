"""The trainers of GANimation and CycleGAN: they learn, resume, become targets and probes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from engines.data.action_units import UNITS
from engines.export import PARITY_ATOL, to_onnx
from engines.generators import train_cyclegan as cyclegan
from engines.generators import train_ganimation as ganimation
from engines.generators.families import target_of
from engines.generators.ganimation import Generator
from stream_guard.errors import EngineError, UsageError
from tests.support.targets import SMALL

CPU = torch.device("cpu")
SMALL["cyclegan"] = cyclegan.Settings(ngf=4, ndf=4, blocks=1, size=64, warm_batch=2, warm_steps=2)
MODULES = {"ganimation": ganimation, "cyclegan": cyclegan}


@pytest.mark.parametrize("name", MODULES)
def test_a_run_resumes_and_becomes_a_target(name, faces, tmp_path):
    module, settings = MODULES[name], SMALL[name]
    run = module.train(faces, tmp_path / "r", 0.02, False, "cpu", settings)
    assert run.step >= 1
    assert module.train(faces, tmp_path / "r", 0.01, True, "cpu", settings).step > run.step
    target = target_of(tmp_path / "r", faces)
    assert (target.family, target.size) == (name, 64)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    condition = target.sample(2, torch.Generator().manual_seed(0))
    assert condition.shape == (2, target.conditions.shape[1])
    edited = target(x, condition)
    assert edited.shape == x.shape
    assert edited.abs().max() <= 1
    assert torch.allclose(edited[:1], target(x[:1], condition[:1]), atol=1e-5)  # each image by itself


@pytest.mark.filterwarnings("ignore:.*instance_norm.*", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_a_target_exports_as_a_probe_with_both_inputs(name, faces, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    MODULES[name].train(faces, tmp_path / "r", 0.0, False, "cpu", SMALL[name])
    target = target_of(tmp_path / "r")
    rows = target.conditions[:1].expand(2, -1).clone()
    example = {"image": torch.rand(2, 3, 64, 64) * 2 - 1, "condition": rows}
    assert to_onnx(target, example, "edited", tmp_path / "g.onnx") < PARITY_ATOL
    session = onnxruntime.InferenceSession(str(tmp_path / "g.onnx"), providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == ["image", "condition"]


def test_ganimation_learns_the_drawn_expressions(faces):
    torch.manual_seed(0)
    trainer = ganimation.GANimationTrainer(ganimation.Settings(conv_dim=8, size=64, lr=3e-3), faces, CPU)
    losses = [trainer.step(k, False)["l1"] for k in range(24)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_drawn_pair_shows_its_condition_in_the_crop(faces):
    trainer = ganimation.GANimationTrainer(SMALL["ganimation"], faces, CPU)
    x, target, c, own = trainer.batch()
    assert x.shape == target.shape == (2, 3, 64, 64)
    assert x.abs().max() <= 1
    assert target.abs().max() <= 1
    assert own.max() < 0.2  # the drawn face is at rest, mirrored or not
    moved = (target - x).abs().mean((1, 2, 3)) > 0.002
    assert torch.equal(moved, (c - own).abs().amax(1) > 0.05)


def test_random_units_keep_what_they_do_not_touch():
    base = torch.full((64, len(UNITS)), 0.9)
    units = ganimation.random_units(64, base, torch.Generator().manual_seed(0))
    blind = [UNITS.index(unit) for unit in (6, 9, 14, 17)]
    assert torch.equal(units[:, blind], base[:, blind])
    assert (units != base).any(1).float().mean() > 0.8
    assert ((units >= 0) & (units <= 1)).all()


def test_a_stronger_start_lets_the_condition_reach_the_face():
    """Instance norm takes a constant plane off again; only the border tells a fresh network what was asked."""
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8), 128, mode="bicubic").clamp(0, 1) * 2 - 1
    units = [torch.tensor([ganimation.condition(e)] * 2) for e in ({12: 1.0, 25: 1.0}, {4: 1.0, 15: 1.0})]
    inside = []
    for gain in (1.0, 5.0):
        torch.manual_seed(0)
        network = ganimation.strengthen(Generator(8), gain)
        with torch.no_grad():
            one, two = (network.masks(x, c)[1][:, :, 48:80, 48:80] for c in units)
        inside.append((one - two).square().mean().sqrt())
    assert inside[1] > 1.7 * inside[0]


def test_a_planned_run_meets_its_adversary_at_the_end_of_the_plan(faces, tmp_path):
    settings = dataclasses.replace(SMALL["ganimation"], plan_minutes=100.0)
    run = ganimation.train(faces, tmp_path / "r", 0.01, False, "cpu", settings)
    assert run.step >= 1
    rate = torch.load(tmp_path / "r" / "state.pt", weights_only=True)["parts"]["opt_g"]["param_groups"][0]["lr"]
    assert rate == settings.lr  # the schedule has hardly begun, though the call is over


@pytest.mark.parametrize("wgan", [False, True])
def test_the_adversary_learns_realness_and_units(wgan, faces):
    settings = ganimation.Settings(conv_dim=4, size=64, adversary_dim=4, batch=2, wgan=wgan, critic=2)
    trainer = ganimation.GANimationTrainer(settings, faces, CPU)
    before = [p.clone() for p in trainer.d.parameters()]
    report = trainer.step(8, True)
    assert set(report) == {"d", "l1", "attention"}
    assert all(np.isfinite(v) for v in report.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.d.parameters(), strict=True))


def test_the_gradient_penalty_is_that_of_the_blend():
    class Linear(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(1)[:, None, None] * 0.5, None

    x = torch.rand(3, 3, 4, 4)
    expected = (0.5 * np.sqrt(48) - 1) ** 2
    assert ganimation.gradient_penalty(Linear(), x, -x).item() == pytest.approx(expected, rel=1e-5)


def test_total_variation_counts_each_edge_once():
    attention = torch.zeros(2, 1, 4, 4)
    attention[:, :, :, 2:] = 1
    assert ganimation.total_variation(attention).item() == pytest.approx(4)


def test_a_pack_without_landmarks_is_refused(packed):
    with pytest.raises(EngineError, match="--landmarks"):
        ganimation.GANimationTrainer(SMALL["ganimation"], packed[0], CPU)


def test_a_run_of_another_width_is_said(faces, tmp_path):
    ganimation.train(faces, tmp_path / "r", 0.0, False, "cpu", SMALL["ganimation"])
    assert isinstance(ganimation.load(tmp_path / "r"), Generator)
    state = torch.load(tmp_path / "r" / "state.pt", weights_only=True)
    state["settings"] = state["settings"].replace('"conv_dim": 4', '"conv_dim": 8')
    torch.save(state, tmp_path / "r" / "state.pt")
    with pytest.raises(EngineError, match="do not fit Generator"):
        ganimation.load(tmp_path / "r")


def test_cyclegan_goes_from_pairs_to_unpaired(faces):
    trainer = cyclegan.CycleGANTrainer(SMALL["cyclegan"], faces, CPU)
    assert [sorted(trainer.step(k)) for k in (1, 2)] == [["back", "forth"], ["cycle", "d", "g", "same"]]
    people = [set(half.names) for half in trainer.halves]
    assert not people[0] & people[1]


def test_the_unpaired_steps_teach_the_generator_only_through_its_own_optimiser(faces):
    trainer = cyclegan.CycleGANTrainer(SMALL["cyclegan"], faces, CPU)
    for group in trainer.opt_g.param_groups:
        group["lr"] = 0.0
    weights = [p.clone() for p in itertools.chain(trainer.g_a.parameters(), trainer.g_b.parameters())]
    critics = [p.clone() for p in trainer.d_a.parameters()]
    trainer.unpaired()
    now = itertools.chain(trainer.g_a.parameters(), trainer.g_b.parameters())
    assert all(torch.equal(a, b) for a, b in zip(weights, now, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(critics, trainer.d_a.parameters(), strict=True))


def test_the_pool_returns_old_fakes_about_half_of_the_time():
    pool = cyclegan.Pool(10, torch.Generator().manual_seed(0))
    for k in range(10):
        assert pool.swap(torch.full((1, 1, 1, 1), float(k))).item() == k
    old = sum(pool.swap(torch.full((1, 1, 1, 1), float(k))).item() != k for k in range(10, 210))
    assert 70 < old < 130


def test_a_donor_that_the_pack_does_not_hold_is_refused(faces):
    with pytest.raises(UsageError, match="'nobody'"):
        cyclegan.CycleGANTrainer(dataclasses.replace(SMALL["cyclegan"], donor="nobody"), faces, CPU)


def test_a_pack_without_landmarks_cannot_replace_faces(packed):
    with pytest.raises(EngineError, match="no landmarks"):
        cyclegan.CycleGANTrainer(SMALL["cyclegan"], packed[0], CPU)
