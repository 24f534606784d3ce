"""What a training run promises: time-boxed, resumable, and it stops on NaN with the last good checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from engines import commands
from engines.__main__ import main
from engines.data import clips, pack
from engines.data.pack import Head
from engines.disrupter import train as disrupter
from engines.disrupter.network import SIZE
from engines.generators.families import FAMILIES
from engines.generators.target import Target
from engines.training import Run, draw_on, load_part, pick_device, stored
from stream_guard.errors import EngineError, UsageError
from tests.support.targets import amplifier


def _parts():
    return {"net": nn.Linear(2, 2)}


def test_a_run_resumes_where_it_was(tmp_path):
    run, parts = Run(tmp_path, {"lr": 1, "seed": 1}, 1.0), _parts()
    for _ in range(3):
        run.tick({"loss": 1.0}, parts)
    run.save(parts)
    again, fresh = Run(tmp_path, {"lr": 1, "seed": 1}, 1.0), _parts()
    rng = torch.Generator().manual_seed(1)
    again.resume(fresh, rng)
    assert again.step == 3
    assert rng.initial_seed() == 1 + 3, "a call that draws what the first one drew sees the same pictures again"
    assert torch.equal(fresh["net"].weight, parts["net"].weight)


def test_other_settings_are_refused(tmp_path):
    parts = _parts()
    Run(tmp_path, {"lr": 1}, 1.0).save(parts)
    with pytest.raises(UsageError, match="was trained with"):
        Run(tmp_path, {"lr": 2}, 1.0).resume(parts, torch.Generator())


@dataclass(frozen=True)
class _Settings:
    lr: float = 1.0
    half: bool = False


def test_a_setting_that_a_run_did_not_know_yet_is_taken_to_be_its_default(tmp_path):
    Run(tmp_path, {"lr": 1.0}, 1.0, name="one").save(_parts())
    Run.of(tmp_path, _Settings(), 1.0, "one").resume(_parts(), torch.Generator())
    with pytest.raises(UsageError, match="half was False, now True"):
        Run.of(tmp_path, _Settings(half=True), 1.0, "one").resume(_parts(), torch.Generator())


def test_weights_of_another_network_or_width_are_refused_in_a_line(tmp_path):
    Run(tmp_path, {}, 0.0, name="stargan").save({"g": nn.Linear(2, 2)})
    with pytest.raises(EngineError, match=r"is of 'stargan', not of Linear: name another"):
        load_part(tmp_path, "p", nn.Linear(2, 2))
    with pytest.raises(EngineError, match=r"do not fit Linear as it is set here, such as: size mismatch") as said:
        load_part(tmp_path, "g", nn.Linear(3, 3))
    assert len(str(said.value).splitlines()) == 1


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    run, parts = Run(tmp_path, {}, 1.0), _parts()
    run.save(parts)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(EngineError, match=r"last good checkpoint .* another --out, from there .* --start"):
        run.tick({"loss": float("nan")}, parts)
    with torch.no_grad():
        parts["net"].weight.fill_(torch.nan)
    with pytest.raises(EngineError, match="weights of net became NaN"):
        run.save(parts)
    assert (tmp_path / "state.pt").read_bytes() == before
    with pytest.raises(EngineError, match="no checkpoint yet"):
        Run(tmp_path / "new", {}, 1.0).tick({"loss": float("inf")}, parts)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 2746240")])
def test_a_disk_that_is_full_keeps_the_last_checkpoint(tmp_path, monkeypatch, error):
    run, parts = Run(tmp_path, {}, 1.0), _parts()
    run.save(parts)
    before = (tmp_path / "state.pt").read_bytes()

    def full(state, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(EngineError, match=r"could not be written to .* make room there"):
        run.save(parts)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert (tmp_path / "state.pt").read_bytes() == before


@pytest.mark.parametrize("name", ["meta", "xpu", "mps:0"])
def test_a_device_that_nothing_trains_on_is_refused(name):
    with pytest.raises(UsageError, match="use --device auto, cpu or cuda"):
        pick_device(name)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert str(pick_device("cuda:0")) == "cuda:0"
    with pytest.raises(UsageError, match="sees 1 CUDA"):
        pick_device("cuda:1")


def test_a_device_that_is_not_there_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UsageError, match="CUDA"):
        pick_device("cuda")


def test_the_disrupter_learns_and_resumes(packed, tmp_path, monkeypatch):
    settings = disrupter.Settings(width=8, batch=2)
    targets = {"a": amplifier(), "b": amplifier(4.0)}
    for steps in (2, 3):  # no matter how slow this machine is
        monkeypatch.setattr(Run, "over", property(lambda run, last=steps: run.step >= last))
        run = disrupter.train(packed[0], targets, {}, tmp_path / "p", 1.0, steps > 2, "cpu", settings)
        assert run.step == stored(tmp_path / "p").step == steps
    assert disrupter.load(tmp_path / "p")(torch.rand(1, 3, SIZE, SIZE)).abs().max() <= 16 / 255


class Breaking(nn.Module):
    """A generator whose output becomes NaN after some calls."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def forward(self, x, c):
        self.left -= 1
        return x * (float("nan") if self.left < 0 else 1.0)


def test_a_disrupter_that_meets_nan_stops_and_keeps_what_it_had(packed, tmp_path):
    settings = disrupter.Settings(width=8, batch=2)
    disrupter.train(packed[0], {"a": amplifier()}, {}, tmp_path / "p", 0.0, False, "cpu", settings)
    before = (tmp_path / "p" / "state.pt").read_bytes()
    broken = Target(Breaking(4), "toy", torch.zeros(1, 1), ["none"], 64)
    with pytest.raises(EngineError, match="became NaN or infinite at step 2; the last good checkpoint is kept"):
        disrupter.train(packed[0], {"a": broken}, {}, tmp_path / "p", 1.0, True, "cpu", settings)
    assert (tmp_path / "p" / "state.pt").read_bytes() == before
    assert torch.isfinite(disrupter.load(tmp_path / "p")(torch.rand(1, 3, SIZE, SIZE))).all()


def test_a_gradient_that_is_not_finite_stops_before_it_is_saved(packed, tmp_path):
    """The loss may still be finite in the step whose gradient is not."""
    made = disrupter.DisrupterTrainer(
        disrupter.Settings(width=8, batch=2), packed[0], {"a": amplifier()}, {}, torch.device("cpu")
    )
    made.pull = lambda rgb, delta: (torch.full_like(delta, torch.inf), {})
    run = Run(tmp_path, {}, 1.0)
    with pytest.raises(EngineError, match="gradient became NaN or infinite"):
        run.tick(made.step(0.0), made.parts)
    assert not (tmp_path / "state.pt").exists()


def test_the_schedule_may_span_resumed_calls(tmp_path):
    """With plan_minutes the budget and the learning rate follow the whole run's clock, not the call's."""
    run = Run(tmp_path, {}, minutes=1.0, seconds=540.0, started=time.monotonic() - 60)
    assert disrupter.share_done(run, disrupter.Settings()) == 1.0
    assert disrupter.share_done(run, disrupter.Settings(plan_minutes=100.0)) == pytest.approx(0.1, abs=0.01)
    assert disrupter.share_done(run, disrupter.Settings(plan_minutes=5.0)) == 1.0


def test_what_was_given_is_noted_for_each_call(tmp_path):
    parts = _parts()
    run = Run(tmp_path, {}, 1.0, notes={"targets": ["a"]})
    run.tick({"loss": 1.0}, parts)
    run.save(parts)
    for targets in (["a"], ["a", "b"]):
        run = Run(tmp_path, {}, 1.0, notes={"targets": targets})
        run.resume(parts, torch.Generator())
        run.save(parts)
    assert stored(tmp_path).notes == [
        {"targets": ["a"], "from_step": 0},
        {"targets": ["a", "b"], "from_step": 1},
    ]


def test_the_first_step_is_kept_already(tmp_path):
    """Who stops a run in its first minute can resume it."""
    run, parts = Run(tmp_path, {}, 1.0), _parts()
    run.tick({"loss": 1.0}, parts)
    assert stored(tmp_path).step == 1
    run.tick({"loss": 1.0}, parts)
    assert stored(tmp_path).step == 1, "and then once a minute"


def test_a_run_that_begins_with_another_draws_what_that_one_did_not(tmp_path):
    parts = _parts()
    for name, step in (("a", 40), ("b", 70)):
        Run(tmp_path / name, {}, 0.0, step).save(parts)
    rng = torch.Generator().manual_seed(5)
    draw_on(rng, 5, [tmp_path / "a", tmp_path / "b"])
    assert rng.initial_seed() == 75
    draw_on(rng, 5, [])
    assert rng.initial_seed() == 5


@pytest.mark.parametrize(
    ("kept", "words"), [(True, "keeps the last checkpoint: --resume"), (False, "nothing was kept")]
)
def test_an_interrupt_says_what_is_left(kept, words, tmp_path, monkeypatch, capsys):
    def interrupted(arguments):
        if kept:
            Run(arguments.out, {}, 0.0).save(_parts())
        raise KeyboardInterrupt

    monkeypatch.setattr("engines.commands.train", interrupted)
    command = ["train", "stargan", "--data", str(tmp_path / "pack"), "--minutes", "1", "--out", str(tmp_path / "run")]
    assert main(command) == 4
    assert words in capsys.readouterr().err


def test_a_command_that_trains_nothing_promises_no_checkpoint(tmp_path, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("engines.commands.sheet", interrupted)
    assert main(["sheet", "--data", str(tmp_path / "pack"), "--out", str(tmp_path / "s.png")]) == 4
    assert "checkpoint" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [*FAMILIES, "parser"])
def test_no_generator_or_parser_learns_from_a_face_that_it_is_measured_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other faces than the train split's are asked for by nobody before training begins."""
    asked: list[list[str]] = []

    def read(path: Path, splits: Sequence[str], with_mask: bool | None = None) -> list[Head]:
        asked.append(list(splits))
        raise EngineError("enough is known")

    monkeypatch.setattr(pack, "read", read)
    monkeypatch.setattr(clips, "read_clips", lambda path, splits: [])
    module = commands.trainables()[name]
    with pytest.raises(EngineError, match="enough is known"):
        module.train(tmp_path / "none.pack", tmp_path / "run", 0.0, False, "cpu", module.Settings())
    assert asked == [["train"]]
