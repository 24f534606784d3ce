"""What a training run promises: time-boxed, resumable, and it stops on NaN with the last good checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engines.disrupter import train as disrupter
from engines.disrupter.network import SIZE
from engines.training import Run, pick_device
from stream_guard.errors import EngineError, UsageError
from tests.engines.test_data import packed
from tests.engines.test_disrupter import amplifier

__all__ = ["packed"]


def _parts():
    return {"net": nn.Linear(2, 2)}


def test_a_run_resumes_where_it_was(tmp_path):
    run, parts = Run(tmp_path, {"lr": 1}, 1.0), _parts()
    for _ in range(3):
        run.tick({"loss": 1.0}, parts)
    run.save(parts)
    again, fresh = Run(tmp_path, {"lr": 1}, 1.0), _parts()
    again.resume(fresh)
    assert again.step == 3
    assert torch.equal(fresh["net"].weight, parts["net"].weight)


def test_other_settings_are_refused(tmp_path):
    parts = _parts()
    Run(tmp_path, {"lr": 1}, 1.0).save(parts)
    with pytest.raises(UsageError, match="was trained with"):
        Run(tmp_path, {"lr": 2}, 1.0).resume(parts)


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    run, parts = Run(tmp_path, {}, 1.0), _parts()
    run.save(parts)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(EngineError, match="last good checkpoint"):
        run.tick({"loss": float("nan")}, parts)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_device_that_is_not_there_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UsageError, match="CUDA"):
        pick_device("cuda")


def test_the_disrupter_learns_and_resumes(packed, tmp_path):
    settings = disrupter.Settings(width=8, batch=2)
    targets = {"a": amplifier(), "b": amplifier(4.0)}
    run = disrupter.train(packed[0], targets, {}, tmp_path / "p", 0.05, False, "cpu", settings)
    assert run.step >= 1
    more = disrupter.train(packed[0], targets, {}, tmp_path / "p", 0.02, True, "cpu", settings)
    assert more.step > run.step
    assert disrupter.load(tmp_path / "p")(torch.rand(1, 3, SIZE, SIZE)).abs().max() <= 16 / 255
