"""The command line: readable help, runs that say what they hold, and bad input in plain words."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from engines import __main__ as cli
from engines import commands, shipping, training
from engines.data.origin import described
from engines.disrupter import train as disrupter
from engines.generators import families
from engines.generators.stargan import Generator
from engines.magdr import train_restorer
from engines.magdr.restorer import Restorer
from engines.magdr.train_restorer import averaged
from engines.settings import described as settings_described
from engines.settings import with_changes
from engines.training import Run
from stream_guard.errors import EngineError, UsageError
from stream_guard.inference.card import load_card

SLIM = ["--set", "conv_dim=4", "--set", "size=64", "--set", "adversary_dim=4", "--set", "batch=2"]


@pytest.fixture
def stargan(packed, tmp_path):
    """A run folder of a StarGAN that was not trained."""
    out = tmp_path / "sg-a"
    assert cli.main(["train", "stargan", "--data", str(packed[0]), "--minutes", "0", "--out", str(out), *SLIM]) == 0
    return out


def against(packed, stargan, out, *more):
    named = ["--data", str(packed[0]), "--minutes", "0", "--out", str(out), "--targets", str(stargan)]
    return cli.main(["train", "disrupter", *named, "--set", "width=4", "--set", "batch=2", *more])


@pytest.mark.parametrize("name", sorted(commands.trainables()))
def test_help_says_every_setting(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", name, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    for key, value in vars(commands.trainables()[name].Settings()).items():
        assert f"{key}={value}" in said
    assert "--resume" in said


def test_every_setting_of_the_disrupter_is_explained():
    lines = settings_described(disrupter.Settings).splitlines()
    assert [line for line in lines if "=" in line and len(line.split()) == 1] == ["  seed=0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [("wdith=3", "choose one of: .*width"), ("width=many", "takes a int"), ("log_distance=perhaps", "takes a bool")],
)
def test_a_wrong_setting_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        with_changes(disrupter.Settings(), [change])


def test_settings_change_in_their_own_type():
    changed = with_changes(disrupter.Settings(), ["width=48", "log_distance=no", "balance=mgda", "c2=0.5"])
    assert (changed.width, changed.log_distance, changed.balance, changed.c2) == (48, False, "mgda", 0.5)


def test_a_run_says_what_it_holds(stargan):
    found = training.stored(stargan)
    assert found.name == "stargan"
    assert found.settings["conv_dim"] == 4
    target = families.target_of(stargan)
    assert (target.family, target.size, target.conditions.shape) == ("stargan", 64, (5, 5))


def test_a_training_says_what_it_came_to(packed, tmp_path, capsys):
    """Runs that are too short to log would end without a word."""
    named = ["--data", str(packed[0]), "--minutes", "0", "--out", str(tmp_path / "sg")]
    assert cli.main(["train", "stargan", *named, *SLIM]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'sg'}: 0 steps in 0.0 minutes\n"


def test_a_run_of_before_names_is_a_stargan(tmp_path):
    state = {
        "settings": json.dumps({"conv_dim": 4}),
        "parts": {"g": Generator(4).state_dict()},
        "step": 3,
        "seconds": 1,
    }
    torch.save(state, tmp_path / "state.pt")
    assert families.target_of(tmp_path).family == "stargan"


def test_a_disrupter_run_notes_what_it_was_trained_against(packed, stargan, tmp_path):
    assert against(packed, stargan, tmp_path / "p") == 0
    found = training.stored(tmp_path / "p")
    assert found.name == "disrupter"
    assert found.notes[0]["targets"]["sg-a"]["name"] == "stargan"
    assert found.notes[0]["targets"]["sg-a"]["settings"]["conv_dim"] == 4
    assert against(packed, stargan, tmp_path / "p", "--resume") == 0
    assert len(training.stored(tmp_path / "p").notes) == 1


def test_a_disrupter_begins_with_the_weights_of_another(packed, stargan, tmp_path):
    assert against(packed, stargan, tmp_path / "first") == 0
    begun = ["--start", str(tmp_path / "first"), "--set", "seed=5"]
    assert against(packed, stargan, tmp_path / "second", *begun) == 0
    assert against(packed, stargan, tmp_path / "fresh", "--set", "seed=5") == 0
    first, second, fresh = (training.stored(tmp_path / name).parts["p"] for name in ("first", "second", "fresh"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], fresh[name]) for name in first)
    assert training.stored(tmp_path / "second").notes[0]["start"]["first"]["steps"] == 0


def test_a_run_is_not_overwritten(packed, stargan, capsys):
    assert cli.main(["train", "stargan", "--data", str(packed[0]), "--minutes", "0", "--out", str(stargan)]) != 0
    assert "--resume goes on" in capsys.readouterr().err


def test_resuming_with_other_settings_names_them(packed, stargan, tmp_path, capsys):
    against(packed, stargan, tmp_path / "p")
    assert against(packed, stargan, tmp_path / "p", "--resume", "--set", "c1=3") != 0
    assert "c1 was 8.0, now 3.0" in capsys.readouterr().err


def test_resuming_another_networks_run_is_refused(packed, stargan, capsys):
    assert against(packed, stargan, stargan, "--resume") != 0
    assert "holds a run of 'stargan', not of 'disrupter'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "is no run folder"),
        (lambda folder: (folder / "state.pt").write_bytes(b"nothing"), "pickle|not a readable checkpoint"),
        (lambda folder: torch.save(Generator(4).state_dict(), folder / "state.pt"), "not a readable checkpoint"),
        (lambda folder: torch.save(Generator(4), folder / "state.pt"), "would run code"),
    ],
)
def test_a_wrong_target_folder_is_said(packed, tmp_path, make, said):
    (tmp_path / "t").mkdir()
    make(tmp_path / "t")
    with pytest.raises((UsageError, EngineError), match=said):
        families.target_of(tmp_path / "t")


def test_a_disrupter_is_no_target_and_a_generator_no_detector(packed, stargan, tmp_path, capsys):
    against(packed, stargan, tmp_path / "p")
    assert against(packed, tmp_path / "p", tmp_path / "q") != 0
    assert "'disrupter' is no generator; choose one of:" in capsys.readouterr().err
    assert against(packed, stargan, tmp_path / "q", "--detectors", str(stargan)) != 0
    assert "'stargan' is no trainable detector" in capsys.readouterr().err


def test_two_targets_of_one_name_are_refused(packed, stargan, tmp_path, capsys):
    assert against(packed, stargan, tmp_path / "p", "--targets", str(stargan), str(stargan)) != 0
    assert "two run folders are called 'sg-a'" in capsys.readouterr().err


def test_a_disrupter_may_learn_against_somebody_who_purifies(packed, stargan, tmp_path, monkeypatch):
    parts = {"net": Restorer(8), "mean": averaged(Restorer(8))}
    Run(tmp_path / "restorer", asdict(train_restorer.Settings(width=8)), 1, name="restorer").save(parts)
    seen = {}

    def train(data, targets, *rest):
        seen.update(targets=targets, notes=rest[-2])
        return Run(tmp_path / "p", {}, 0)

    monkeypatch.setattr(disrupter, "train", train)
    assert against(packed, stargan, tmp_path / "p", "--purify", str(tmp_path / "restorer")) == 0
    plain, behind = seen["targets"].values()
    assert list(seen["targets"]) == ["sg-a", "sg-a purified"]
    assert behind.plain is plain
    assert list(seen["notes"]["purify"]) == ["restorer"]


def test_resuming_what_is_not_there_is_said(packed, tmp_path, capsys):
    """It may be a mistyped --out."""
    words = ["train", "stargan", "--data", str(packed[0]), "--minutes", "0", "--out", str(tmp_path / "r"), "--resume"]
    assert cli.main([*words, "--set", "conv_dim=4", "--set", "size=64"]) == 0
    assert f"{tmp_path / 'r'} holds no run yet: a new one begins" in capsys.readouterr().err


def test_settings_of_another_version_are_said(tmp_path):
    torch.save({"settings": '{"conv_dims": 4}', "parts": {}, "step": 1, "seconds": 1}, tmp_path / "state.pt")
    with pytest.raises(EngineError, match="not known here: conv_dims"):
        families.target_of(tmp_path)


def test_parts_of_another_width_are_said(tmp_path):
    state = {
        "settings": json.dumps({"conv_dim": 8}),
        "parts": {"g": Generator(4).state_dict()},
        "step": 3,
        "seconds": 1,
    }
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(EngineError, match="do not fit Generator"):
        families.target_of(tmp_path)


def test_an_unreadable_pack_is_said(stargan, tmp_path, capsys):
    (tmp_path / "faces.pack").write_bytes(b"no pack")
    assert against((tmp_path / "faces.pack",), stargan, tmp_path / "p") != 0
    said = capsys.readouterr().err
    assert "is not a readable data pack" in said
    assert "unsafely" not in said, "numpy's advice would run code"
    assert not (tmp_path / "p").exists()


def test_negative_minutes_are_refused(packed, tmp_path, capsys):
    assert cli.main(["train", "stargan", "--data", str(packed[0]), "--minutes", "-1", "--out", str(tmp_path)]) != 0
    assert "--minutes" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_probe_and_a_disrupter_ship_with_cards_that_are_true(packed, stargan, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipping, "ZOO", tmp_path / "zoo")
    against(packed, stargan, tmp_path / "p", "--set", "psnr_db=39")
    assert cli.main(["export", "stargan", "--from", str(stargan), "--as", "sg-a-probe"]) == 0
    assert cli.main(["export", "disrupter", "--from", str(tmp_path / "p")]) == 0
    probe, card = load_card(tmp_path / "zoo" / "sg-a-probe"), load_card(tmp_path / "zoo" / "disrupter")
    assert probe.evaluation_only
    assert probe.input_shape("image") == (-1, 3, 64, 64)
    assert "--set conv_dim=4" in probe.command
    assert probe.data.startswith(described(packed[0], with_mask=True))  # it saw no others
    assert card.data.startswith(described(packed[0]))
    assert "CelebAMask" not in card.data  # it learned from other pictures
    assert "sg-a (stargan)" in card.notes
    assert "39 dB" in card.notes
    assert "--targets runs/sg-a" in card.command
    assert "disrupted_face256px_crf20" not in card.results  # measured on another network
    assert cli.main(["export", "disrupter", "--from", str(stargan)]) != 0
    assert "holds a run of 'stargan', not of 'disrupter'" in capsys.readouterr().err


def test_a_sheet_shows_every_condition(packed, stargan, tmp_path, capsys):
    assert (
        cli.main(["sheet", "--data", str(packed[0]), "--generator", str(stargan), "--out", str(tmp_path / "s.png")])
        == 0
    )
    assert "original, Black_Hair" in capsys.readouterr().out
    assert (tmp_path / "s.png").stat().st_size > 1000
