"""StarGAN against the official numbers: key names, shapes, train and eval mode."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.generators.checkpoint import load_into, load_stargan
from engines.generators.stargan import Discriminator, Generator
from stream_guard.errors import EngineError

CASES = ["g_train_128", "g_eval_128", "g_train_256", "g_eval_256", "d_128", "d_256"]


def _network(case_id, fill_rule, meta, arrays):
    network = Generator() if case_id.startswith("g_") else Discriminator(int(case_id[2:]))
    section = meta["networks"]["generator" if case_id.startswith("g_") else f"discriminator_{case_id[2:]}"]
    assert [row[0] for row in section["state_dict"]] == list(network.state_dict())
    fill_rule.apply_to_module(network, section, arrays)
    return network.train(mode="eval" not in case_id)


@pytest.mark.parametrize("case_id", CASES)
def test_equals_the_official_network(case_id, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "stargan")
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    network = _network(case_id, fill_rule, meta, arrays)
    given = case["inputs"]["x"]
    x = torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0)))
    with torch.no_grad():
        if case_id.startswith("g_"):
            c = torch.tensor(case["inputs"]["c"]["values"], dtype=torch.float32)
            results = {"y": network(x, c)}
        else:
            results = dict(zip(("src", "cls"), network(x), strict=True))
    for name, result in results.items():
        expected = case["outputs"][name]
        diff, _ = fill_rule.compare(result, arrays[f"{case_id}/{name}"], expected.get("subsample"))
        assert diff <= expected["suggested_atol"], name


def test_activations_are_the_official_list(goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "stargan")
    case = next(c for c in meta["cases"] if c["id"] == "g_train_128")
    network = _network("g_train_128", fill_rule, meta, arrays)
    given = case["inputs"]["x"]
    x = torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"]))
    with torch.no_grad():
        listed = network.activations(x, torch.tensor(case["inputs"]["c"]["values"], dtype=torch.float32))
    means = torch.stack([a.mean() for a in listed])
    diff, _ = fill_rule.compare(means, arrays["g_train_128/feature_means"])
    assert diff <= case["outputs"]["feature_means"]["suggested_atol"]


def test_public_layout_loads_and_drops_preprocessing(tmp_path: Path):
    source, target = Generator(8), Generator(8)
    state = source.state_dict() | {"preprocessing.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "200000-G.ckpt")
    report = load_stargan(target, tmp_path / "200000-G.ckpt")
    assert report.ok
    assert not report.extra
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path):
    with pytest.raises(EngineError, match=r"not of stargan.Generator: \d+ missing .* extra"):
        load_into(Generator(8), Discriminator(128, 8).state_dict())


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path):
    torch.save(Generator(8), tmp_path / "whole.pt")
    with pytest.raises(EngineError, match="would run code"):
        load_stargan(Generator(8), tmp_path / "whole.pt")


def test_a_text_file_is_refused(tmp_path: Path):
    (tmp_path / "a.ckpt").write_text("not a checkpoint")
    with pytest.raises(EngineError):
        load_stargan(Generator(8), tmp_path / "a.ckpt")
