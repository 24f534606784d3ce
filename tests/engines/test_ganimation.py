"""GANimation against the official numbers, and its public checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.generators import stargan
from engines.generators import train_ganimation as trainer
from engines.generators.checkpoint import load_ganimation
from engines.generators.ganimation import Discriminator, Generator
from stream_guard.errors import EngineError


def _input(fill_rule, given):
    if given["kind"] == "image":
        array = fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0))
    else:
        array = fill_rule.uniform(given["seed"], given["shape"])
    assert fill_rule.crc(array) == given["crc32"]
    return torch.from_numpy(array)


def _filled(fill_rule, meta, arrays, name, network):
    state = fill_rule.build_state(meta["networks"][name], arrays)
    own = {k: torch.from_numpy(v) for k, v in state.items() if not k.startswith("debug")}
    assert list(own) == list(network.state_dict())
    network.load_state_dict(own)
    return network


@pytest.mark.parametrize("case_id", ["g_train_128", "g_eval_128", "d_128"])
def test_equals_the_official_network(case_id, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "ganimation")
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    x = _input(fill_rule, case["inputs"]["x"])
    with torch.no_grad():
        if case_id == "d_128":
            results = dict(
                zip(("src", "cls"), _filled(fill_rule, meta, arrays, "discriminator", Discriminator())(x), strict=True)
            )
        else:
            network = _filled(fill_rule, meta, arrays, "generator", Generator()).train("eval" not in case_id)
            c = _input(fill_rule, case["inputs"]["c"])
            att, reg = network.masks(x, c)
            results = {"att": att, "reg": reg, "composed": network(x, c)}
    for name, result in results.items():
        expected = case["outputs"][name]
        diff, _ = fill_rule.compare(result, arrays[f"{case_id}/{name}"], expected.get("subsample"))
        assert diff <= expected["suggested_atol"], name


def test_every_official_key_is_ours_or_a_copy(goldens, fill_rule):
    meta, _ = fill_rule.load(goldens, "ganimation")
    section = meta["networks"]["generator"]
    own = set(Generator(8).state_dict())
    assert {section["aliases"].get(row[0], row[0]) for row in section["state_dict"]} == own


def _public(network: Generator) -> dict[str, torch.Tensor]:
    """The layout of the published file: the first layers again under debug names."""
    state = network.state_dict()
    return {f"debug1.{k[5:]}": v.clone() for k, v in state.items() if k.startswith("main.")} | state


def test_the_public_layout_loads(tmp_path: Path):
    torch.manual_seed(0)
    source, filled = Generator(8), Generator(8)
    torch.save(_public(source), tmp_path / "1-30-G.ckpt")
    report = load_ganimation(filled, tmp_path / "1-30-G.ckpt")
    assert report.ok
    assert not report.extra
    x, c = torch.rand(1, 3, 32, 32), torch.rand(1, 17)
    assert torch.equal(source(x, c), filled(x, c))


def test_copies_that_disagree_are_refused(tmp_path: Path):
    state = _public(Generator(8))
    state["debug1.0.weight"] += 1
    torch.save(state, tmp_path / "1-30-G.ckpt")
    with pytest.raises(EngineError, match=r"debug1\.0\.weight"):
        load_ganimation(Generator(8), tmp_path / "1-30-G.ckpt")


def test_a_stargan_checkpoint_is_named(tmp_path: Path):
    torch.save(stargan.Generator(8).state_dict(), tmp_path / "200000-G.ckpt")
    with pytest.raises(EngineError, match=r"not of ganimation\.Generator: .*missing.*im_reg.*of another shape"):
        load_ganimation(Generator(8), tmp_path / "200000-G.ckpt")


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path):
    torch.save(Generator(8), tmp_path / "whole.pt")
    with pytest.raises(EngineError, match="would run code"):
        load_ganimation(Generator(8), tmp_path / "whole.pt")


def test_the_attention_of_the_way_back_is_held_calm_too():
    """The paper's L_A is asked of both masks: the one that makes the expression, and the one that takes it back."""
    made = object.__new__(trainer.GANimationTrainer)
    made.s = trainer.Settings(units=0.0, cycle=0.0, saturation=0.1, smooth=1e-3)
    made.device = torch.device("cpu")
    made.d = lambda image: (torch.zeros(2, 2, 2), torch.zeros(2, 17))
    attention, x = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8)

    class Editor:
        def masks(self, image, units):
            return attention, image

        def __call__(self, image, units):
            return image

    made.g = Editor()
    neighbours = sum(
        float((attention[..., 1:] - attention[..., :-1])[k].square().sum())
        + float((attention[..., 1:, :] - attention[..., :-1, :])[k].square().sum())
        for k in range(2)
    )
    expected = 0.1 * float(attention.mean()) + 1e-3 * neighbours / 2
    loss = made._unpaired(x, x, torch.zeros(2, 17), torch.zeros(2, 17))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_penalty_sees_all_patches_of_the_critic():
    """As the published code, which hands ones for each patch to `autograd.grad`."""

    def critic(image):
        total = image.flatten(1).sum(1)
        return torch.stack([0.5 * total, 0.25 * total], 1)[:, None], None

    x = torch.rand(3, 3, 4, 4)
    expected = (0.75 * 48**0.5 - 1) ** 2
    assert trainer.gradient_penalty(critic, x, -x).item() == pytest.approx(expected, rel=1e-5)
