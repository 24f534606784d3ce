"""A training that is told to end keeps what it learned, to the last step."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from engines.__main__ import main
from engines.disrupter import train as disrupter
from engines.training import Run, stored
from stream_guard.commands.stopping import Interrupted
from tests.support.targets import amplifier

ENGINES = Path(__file__).parents[2] / "engines"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_its_step_and_keeps_it(tmp_path, number):
    run, parts = Run(tmp_path, {}, 60.0), {"net": nn.Linear(2, 2)}
    before = signal.getsignal(number)

    def train() -> None:
        for step in run.steps(parts):
            if step == 2:
                signal.raise_signal(number)
            with torch.no_grad():
                parts["net"].weight.fill_(step)  # the step is whole, though the signal came in its midst
            run.tick({"loss": 1.0}, parts)

    with pytest.raises(Interrupted, match="keeps step 3: --resume goes on from it"):
        train()
    found = stored(tmp_path)
    assert found.step == 3
    assert (found.parts["net"]["weight"] == 2).all()
    assert signal.getsignal(number) is before, "a training that was stopped listens no longer"


def test_what_a_stopped_run_keeps_is_what_an_unstopped_one_has_at_that_step(packed, tmp_path, monkeypatch):
    settings = disrupter.Settings(width=8, batch=2, codec_share=0.0)
    monkeypatch.setattr(Run, "progress", property(lambda run: run.step / 100))  # whatever the clock says
    once = disrupter.DisrupterTrainer.step

    def step(trainer: disrupter.DisrupterTrainer, progress: float) -> dict[str, float]:
        if stopped and trainer.steps == 2:
            signal.raise_signal(signal.SIGINT)
        return once(trainer, progress)

    def train(out: Path) -> None:
        disrupter.train(packed[0], {"a": amplifier()}, {}, out, 60.0, False, "cpu", settings)

    monkeypatch.setattr(disrupter.DisrupterTrainer, "step", step)
    stopped = True
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped")
    stopped = False
    monkeypatch.setattr(Run, "over", property(lambda run: run.step >= 3))
    train(tmp_path / "whole")
    kept, whole = stored(tmp_path / "stopped"), stored(tmp_path / "whole")
    assert kept.step == whole.step == 3
    for name, value in whole.parts["p"].items():
        assert torch.equal(kept.parts["p"][name], value), name
    assert torch.equal(kept.parts["opt"]["state"][0]["exp_avg"], whole.parts["opt"]["state"][0]["exp_avg"])


def test_the_command_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def train(arguments):
        run, parts = Run(arguments.out, {}, 60.0), {"net": nn.Linear(2, 2)}
        for _ in run.steps(parts):
            signal.raise_signal(signal.SIGTERM)
            run.tick({"loss": 1.0}, parts)

    monkeypatch.setattr("engines.commands.train", train)
    out = tmp_path / "run"
    assert main(["train", "stargan", "--data", str(tmp_path / "pack"), "--minutes", "1", "--out", str(out)]) == 4
    assert capsys.readouterr().err == f"stopped; {out} keeps step 1: --resume goes on from it\n"


def test_no_training_has_a_loop_of_its_own():
    """Each kind of network ends in good order, because each one's steps come from the run."""
    asking = [path.relative_to(ENGINES) for path in ENGINES.rglob("*.py") if "run.over" in path.read_text()]
    looping = [path.relative_to(ENGINES) for path in ENGINES.rglob("*.py") if "run.tick(" in path.read_text()]
    assert asking == []
    assert all("in run.steps(" in (ENGINES / path).read_text() for path in looping)
    assert len(looping) == 8
