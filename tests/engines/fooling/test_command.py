"""`evaluate detection` writes what it knows, and keeps what earlier calls have measured."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engines.evaluation.detection import agreement, command, data, defence, drawn, merging, networks, shipping
from engines.evaluation.detection.data import Pictures
from stream_guard.errors import UsageError
from stream_guard.inference.card import load_card
from tests.support.tinted import QUICK, SIZE


def test_the_command_says_what_is_missing(pictures: Pictures, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add(parser)
    words = ["--data", "none.pack", "--fakes", "none", "--work", str(tmp_path), "--out", str(tmp_path / "out.json")]
    with pytest.raises(UsageError, match="add the step 'pictures'"):
        command.run(parser.parse_args([*words, "--steps", "networks"]))


def test_the_command_writes_what_it_knows(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add(parser)
    data.save(pictures, tmp_path / "pictures.pt")
    monkeypatch.setitem(networks.RECIPES, "resnet", replace(networks.RECIPES["resnet"], epochs=1, width=0.0625))
    words = ["--data", "none.pack", "--fakes", "none", "--work", str(tmp_path), "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr("sys.argv", ["engines", "evaluate", "detection", *words])
    quick = ["--networks", "resnet", "--steps", "networks", "attacks", "--cw-faces", "2", "--cw-steps", "1"]
    command.run(parser.parse_args([*words, *quick, "--cw-iterations", "2"]))
    found = json.loads((tmp_path / "out.json").read_text())
    assert str(tmp_path) not in json.dumps(found)
    assert found["commands"][0].endswith("--data PACK --fakes runs/none --work WORK --out OUT")
    assert [row["network"] for row in found["table2"]] == ["resnet"]
    assert "network vgg" in found["not_run"]
    assert "table3" in found["not_run"]
    found["suite"] = [{"kept": True}]
    (tmp_path / "out.json").write_text(json.dumps(found))
    monkeypatch.setattr("sys.argv", ["engines", "evaluate", "detection", "again"])
    monkeypatch.setitem(networks.RECIPES, "vgg", replace(networks.RECIPES["vgg"], epochs=1, width=0.0625))
    other = ["--networks", "vgg", "--steps", "networks", "attacks", "--cw-faces", "2", "--cw-steps", "1"]
    command.run(parser.parse_args([*words, *other, "--cw-iterations", "2"]))
    again = json.loads((tmp_path / "out.json").read_text())
    assert again["suite"] == [{"kept": True}]
    assert len(again["commands"]) == 2
    for name in ("networks", "table1", "table2"):
        assert [row["network"] for row in again[name]] == ["vgg", "resnet"]
        assert again[name][1] == found[name][0]


COMMITTED: dict[str, Any] = json.loads(command.RESULTS.read_text(encoding="utf-8"))


def call(**made: Any) -> dict[str, Any]:
    """What a call has made of the committed file's pictures."""
    return {key: COMMITTED[key] for key in merging.SAME} | {"commands": ["one more"]} | made


@pytest.mark.parametrize("name", ["vgg", "prior", "drawn"])
def test_a_network_measured_again_leaves_the_others_rows(name: str, tmp_path: Path) -> None:
    own = {part: [row for row in COMMITTED[part] if row["network"] == name] for part in merging.ROWS}
    made = call(**own, effort={"faces": 24}) | {"commands": COMMITTED["commands"][-1:]}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(COMMITTED))
    command._write(path, made | {"effort": COMMITTED["effort"]})
    assert json.loads(path.read_text()) == COMMITTED
    del made["table2"]
    command._write(path, made)
    assert json.loads(path.read_text()) == COMMITTED  # what it did not attack keeps the effort of those that did


def test_a_new_row_takes_the_place_of_the_old_one() -> None:
    row = {"network": "resnet", "new": True}
    found = merging.merged(COMMITTED, call(table2=[row], networks=[], effort={"faces": 3}))
    assert found["table2"][1] == row
    assert [r["network"] for r in found["table2"]] == [r["network"] for r in COMMITTED["table2"]]
    assert found["networks"] == COMMITTED["networks"]
    assert found["commands"] == [*COMMITTED["commands"], "one more"]
    assert found["effort"] == {"faces": 3}


def test_figure_6_stays_that_of_the_first_defence() -> None:
    other, same = ([{"network": name, "panel": "a"}] for name in ("resnet+drawn", "prior"))
    assert merging.merged(COMMITTED, call(figure6=other))["figure6"] == COMMITTED["figure6"]
    assert merging.merged(COMMITTED, call(figure6=same))["figure6"] == same
    assert merging.merged({}, call(figure6=other))["figure6"] == other


def test_of_other_pictures_nothing_is_kept() -> None:
    made = call() | {"seed": 1}
    assert merging.merged(COMMITTED, made) == made


def test_figures_of_other_pictures_do_not_go_silently(
    pictures: Pictures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add(parser)
    data.save(pictures, tmp_path / "pictures.pt")
    out = tmp_path / "out.json"
    words = ["--data", "none.pack", "--fakes", "none", "--work", str(tmp_path), "--out", str(out)]
    said = []
    for seed in ("0", "0", "1"):
        command.run(parser.parse_args([*words, "--steps", "pictures", "--seed", seed]))
        said.append("has figures of other pictures or another seed" in capsys.readouterr().out)
    assert said == [False, False, True]


@pytest.mark.parametrize("held", ["{", "[]", "{}", "no figures", '{"table": "table8", "rows": []}'])
def test_a_file_of_something_else_is_not_replaced(held: str, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add(parser)
    out = tmp_path / "notes.txt"
    out.write_text(held)
    words = ["--data", "none.pack", "--fakes", "none", "--work", str(tmp_path), "--out", str(out)]
    with pytest.raises(UsageError, match="is no file of these tables"):
        command.run(parser.parse_args(words))
    assert out.read_text() == held


def test_a_second_opinion_is_measured_beside_the_papers_defence(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    command.add(parser)
    data.save(pictures, tmp_path / "pictures.pt")
    for name in ("resnet", "blurred"):
        monkeypatch.setitem(networks.RECIPES, name, replace(networks.RECIPES[name], epochs=1, width=0.0625))
    monkeypatch.setattr(defence, "FAST", QUICK)
    monkeypatch.setattr(defence, "defend", partial(defence.defend, settings=QUICK))
    monkeypatch.setattr(drawn, "make", partial(drawn.make, settings=QUICK))
    monkeypatch.setattr(agreement, "compare", partial(agreement.compare, settings=QUICK))
    monkeypatch.setattr(agreement, "PAPERS_SIZE", 64)
    monkeypatch.setattr(shipping, "ZOO", tmp_path / "zoo")
    words = ["--data", "none.pack", "--fakes", "none", "--work", str(tmp_path), "--out", str(tmp_path / "out.json")]
    words += ["--networks", "resnet", "blurred", "--steps", "networks", "attacks", "prior", "agreement"]
    words += [
        "--cw-faces",
        "2",
        "--cw-steps",
        "1",
        "--cw-iterations",
        "2",
        "--near-iterations",
        "2",
        "--figure-iterations",
        "10",
    ]
    words += [
        "--prior-networks",
        "blurred",
        "--second",
        "resnet",
        "blurred",
        "--prior-people",
        "2",
        "--prior-reals",
        "3",
        "--same-pictures",
        "3",
        "--as",
        "behind",
    ]
    command.run(parser.parse_args(words))
    found = json.loads((tmp_path / "out.json").read_text())
    assert [facts["network"] for facts in found["prior"]] == ["blurred", "resnet+blurred"]
    second = [row["defence"] for row in found["table3"] if row["network"] == "resnet+blurred"]
    assert second == ["Deep Image Prior", "Deep Image Prior", "Both networks, no prior", "Baseline"]
    known = [row for row in found["table4"] if row["category"].endswith("both known")]
    assert known
    assert all(row["beside"] and row["network"] == "resnet+blurred" for row in known)
    assert (tmp_path / "drawn-val-resnet-2.pt").is_file()
    assert [(row["network"], row["pictures"]) for row in found["agreement"]] == [("blurred", 3), ("resnet+blurred", 3)]
    assert "agreement" not in found["not_run"]
    card = load_card(tmp_path / "zoo" / "behind" / "card.toml")
    assert (card.kind, card.default, card.input_shape("image")) == ("detector", False, (-1, 3, SIZE, SIZE))
    assert {f"{key}_p{at}" for key in shipping.SHARES for at in (50, 25)} < set(card.results)
