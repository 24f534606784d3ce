"""CycleGAN against the official numbers, and its public checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.generators.checkpoint import load_cyclegan
from engines.generators.cyclegan import Discriminator, Generator
from stream_guard.errors import EngineError

OLD_NORM = {"model.2.running_mean": torch.zeros(8), "model.2.running_var": torch.ones(8)}


@pytest.mark.parametrize(
    ("case_id", "name"), [("g_128", "generator"), ("g_256", "generator"), ("d_256", "discriminator")]
)
def test_equals_the_official_network(case_id, name, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "cyclegan")
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    network = Generator() if name == "generator" else Discriminator()
    assert [row[0] for row in meta["networks"][name]["state_dict"]] == list(network.state_dict())
    fill_rule.apply_to_module(network, meta["networks"][name], arrays)
    given = case["inputs"]["x"]
    x = torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0)))
    with torch.no_grad():
        y = network(x)
    expected = case["outputs"]["y"]
    diff, _ = fill_rule.compare(y, arrays[f"{case_id}/y"], expected.get("subsample"))
    assert diff <= expected["suggested_atol"]


def test_with_dropout_the_layout_is_the_official_one(goldens, fill_rule):
    meta, _ = fill_rule.load(goldens, "cyclegan")
    rows = meta["networks"]["generator_with_dropout"]["state_dict"]
    state = Generator(dropout=True).state_dict()
    assert [(row[0], tuple(row[1])) for row in rows] == [(k, tuple(v.shape)) for k, v in state.items()]


def test_files_with_the_old_norm_statistics_load(tmp_path: Path):
    source, filled = Generator(8, 2), Generator(8, 2)
    torch.save(source.state_dict() | OLD_NORM, tmp_path / "latest_net_G_A.pth")
    report = load_cyclegan(filled, tmp_path / "latest_net_G_A.pth")
    assert report.ok
    assert not report.extra
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(source(x), filled(x))


def test_a_generator_with_dropout_is_named(tmp_path: Path):
    torch.save(Generator(8, 2, dropout=True).state_dict(), tmp_path / "g.pth")
    with pytest.raises(EngineError, match=r"missing.*conv_block\.5.*extra.*conv_block\.6"):
        load_cyclegan(Generator(8, 2), tmp_path / "g.pth")


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path):
    torch.save(Generator(8, 2), tmp_path / "whole.pth")
    with pytest.raises(EngineError, match="would run code"):
        load_cyclegan(Generator(8, 2), tmp_path / "whole.pth")
