"""Every table, end to end, on tiny networks that were never trained and two faces."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from engines.__main__ import main
from engines.data import pack
from engines.detectors import registry
from engines.detectors.learner import Best
from engines.disrupter import train as disrupter_run
from engines.disrupter.network import Disrupter
from engines.evaluation.tables import RESULTS, TABLES, command
from engines.evaluation.tables.document import problems
from engines.generators import train_stargan
from engines.generators.stargan import CONDITION_NAMES, Generator
from engines.magdr import train_restorer
from engines.magdr.restorer import Restorer
from engines.magdr.train_restorer import averaged
from engines.training import Run
from stream_guard.errors import UsageError
from stream_guard.media.synthesis import write_clip
from stream_guard.talking_head import speech, talking_head
from stream_guard.types import Box
from tests.support.engines import write_disrupter


def named(split: str, count: int) -> list[str]:
    """The first names that fall into a split."""
    return [name for name in map(str, range(1000)) if pack.split_of(name) == split][:count]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that every table here shares."""
    folder = tmp_path_factory.mktemp("tables")
    torch.manual_seed(0)
    settings = train_stargan.Settings(conv_dim=4, size=32)
    Run(folder / "stargan-a", asdict(settings), 1, name="stargan").save({"g": Generator(4)})
    Run(folder / "stargan-b", asdict(settings), 1, name="stargan").save({"g": Generator(4)})
    small = registry.MesoNetSettings(size=64)
    for name, kind in (("xception", registry.XceptionSettings), ("resnet18", registry.ResNet18Settings)):
        small = kind(width=0.125, size=64)
        best = Best(registry.architecture(name).detector(small.width, small.size))
        best.published()
        Run(folder / f"{name}-a", asdict(small), 1, name=name).save({"best": best})
    rows = []
    for k, name in enumerate([*named("test", 2), *named("train", 2)]):
        coarse = np.random.default_rng(k).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 90), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
        rows.append((folder / f"{name}.png", None, Box(30, 25, 60, 65)))
    pack.build(rows, folder / "faces.pack", size=80)
    engine = write_disrupter(folder, "follows", size=64, grid=32)
    return [
        *("--targets", str(folder / "stargan-a"), "--unseen", str(folder / "stargan-b")),
        *("--detectors", str(folder / "xception-a"), str(folder / "resnet18-a")),
        *("--data", str(folder / "faces.pack"), "--disrupter", str(engine), "--faces", "2", "--width", "48"),
        *("--conditions", "1", "--threads", "1"),
    ]


def without_unseen(inputs: list[str]) -> list[str]:
    """The same options with one generator, which is quicker."""
    return [*inputs[:2], *inputs[4:]]


def measured(inputs: list[str], out: Path, *words: str) -> dict:
    assert main(["evaluate", *words, *inputs, "--out", str(out)]) == 0
    made = json.loads(out.read_text())
    assert problems(made) == []
    assert made["faces"] == 2
    return made


def values(made: dict, metric: str, column: str, **labels: object) -> list[float]:
    return [
        row["columns"][column][metric]["value"]
        for row in made["rows"]
        if all(row["labels"].get(k) == v for k, v in labels.items())
    ]


def test_table_8_has_every_method_width_and_column(inputs, tmp_path):
    made = measured(
        inputs, tmp_path / "t.json", "table8", "--bound-faces", "1", "--bound-iterations", "1", "--widths", "32",
        "--channels", "float", "8bit", "h264_crf23", "--universal-faces", "2",
    )  # fmt: skip
    methods = {row["labels"]["method"].split(" ")[0] for row in made["rows"]}
    assert methods == {"not", "I-FGSM", "PGD-10", "universal", "disrupter", "bound:"}
    assert {row["labels"]["face_px"] for row in made["rows"]} == {48, 32}
    assert set(made["rows"][0]["columns"]) == {"float", "8bit", "h264_crf23"}
    assert {g["name"]: g["seen"] for g in made["generators"]} == {"stargan-a": True, "stargan-b": False}
    none = {"method": "not protected (the delivery alone)"}
    assert values(made, "l2", "8bit", **none) == [0.0, 0.0]  # nothing was done to the picture
    assert min(values(made, "l2", "float", method="PGD-10 on this generator")) > 0
    faces = {row["labels"].get("first_faces", 2): row["face_ssim"]["n"] for row in made["rows"]}
    assert faces == {1: 1, 2: 2}  # what a perturbation costs is of the row's own faces
    assert str(tmp_path) not in json.dumps(made)


def test_the_tables_of_detectors_share_faces_and_deliveries(inputs, monkeypatch, tmp_path):
    monkeypatch.setattr("engines.evaluation.tables.RESULTS", tmp_path)
    words = ["table1", "--also", "table2", "table3", "table4", "table5", "table7", "--channels", "float", "jpeg75"]
    assert main(["evaluate", *words, *without_unseen(inputs)]) == 0
    made = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(made) == {"table1", "table2", "table3", "table4", "table5", "table7"}
    assert all(problems(document) == [] for document in made.values())
    assert {row["labels"]["condition"] for row in made["table1"]["rows"]} == set(CONDITION_NAMES)
    assert len(made["table1"]["rows"]) == 5 * 3 * 2  # conditions, kinds of fakes, detectors
    assert [skip["labels"] for skip in made["table1"]["not_run"]] == [{"detector": "resnet50"}]
    assert made["table3"]["rows"] == []
    assert "multi_attention" in json.dumps(made["table3"]["not_run"])
    x, protected, fake, protected_fake = (
        values(made["table4"], "passed_as_real", "float", input=i, detector="xception-a", generator="stargan-a")[0]
        for i in ("x", "x + P(x)", "G(x)", "G(x + P(x))")
    )
    assert {x, protected, fake, protected_fake} <= {0.0, 0.5, 1.0}
    assert x == values(made["table2"], "recall", "float", detector="xception-a", generator="stargan-a")[0]
    assert {skip["labels"]["trained_on"] for skip in made["table7"]["not_run"] if "trained_on" in skip["labels"]} == {
        "Black_Hair", "Blond_Hair", "Brown_Hair",
    }  # fmt: skip


def test_a_disrupter_trained_on_one_family_has_its_own_rows(inputs, tmp_path):
    other = write_disrupter(tmp_path, "waves", name="alone", size=64, grid=32)
    made = measured(inputs, tmp_path / "t.json", "table6", "--trained", f"generator:stargan={other}")
    assert {row["labels"]["trained_on"] for row in made["rows"]} == {"all (the disrupter under test)", "stargan"}
    assert {skip["labels"]["trained_on"] for skip in made["not_run"]} == {"ganimation", "fomm"}


def test_a_run_of_the_disrupter_is_measured_without_being_shipped(inputs, tmp_path):
    settings = disrupter_run.Settings(width=8)
    network = Disrupter(settings.epsilon_levels / 255, settings.width)
    network.head.bias.data.fill_(1.0)  # untrained, what it answers may round to nothing
    Run(tmp_path / "p", asdict(settings), 1, name="disrupter").save({"p": network})
    words = ("table6", "--channels", "float", "8bit", "--disrupter", str(tmp_path / "p"))
    made = measured(
        [w for w in without_unseen(inputs) if "tiny" not in w and w != "--disrupter"], tmp_path / "t", *words
    )
    assert made["disrupter"]["name"] == "p"
    assert made["disrupter"]["budget_psnr_db"] == settings.psnr_db
    assert values(made, "l2", "float")[0] > 0


def test_with_two_targets_one_bound_must_serve_both(inputs, tmp_path):
    both = [*inputs[:2], inputs[3], *inputs[4:]]
    made = measured(
        both, tmp_path / "t.json", "table8", "--bound-faces", "1", "--bound-iterations", "1", "--widths",
        "--channels", "float", "--universal-faces", "2",
    )  # fmt: skip
    joint = [row for row in made["rows"] if row["labels"]["method"].startswith("bound for all")]
    assert {row["labels"]["generator"] for row in joint} == {"stargan-a", "stargan-b"}
    assert len({row["face_psnr_db"] for row in joint}) == 1  # the same perturbation


def test_transfer_and_robustness(inputs, tmp_path):
    made = measured(inputs, tmp_path / "t.json", "transfer", "--channels", "8bit")
    assert {row["labels"]["seen"] for row in made["rows"]} == {True, False}
    assert "PGD-10 made on stargan-a" in {row["labels"]["method"] for row in made["rows"]}
    made = measured(without_unseen(inputs), tmp_path / "r.json", "robustness")
    assert {"h264_crf40", "jpeg40", "resize0.5", "crop0.71", "blur2"} <= set(made["rows"][0]["columns"])


def test_an_attacker_who_learned_from_protected_faces_is_named(inputs, tmp_path):
    made = measured(inputs, tmp_path / "t.json", "adaptive", "--channels", "8bit")
    assert {row["labels"]["protected_in_training"] for row in made["rows"]} == {0.0}
    assert "protected=0.5" in made["not_run"][0]["why"]
    ours = {"method": "disrupter (ours, one network)"}
    assert (
        values(made, "l2", "8bit", **ours)[0]
        > values(made, "l2", "8bit", method="not protected (the delivery alone)")[0]
    )


def test_an_attacker_who_purifies_is_measured_against_the_edit_of_the_original(inputs, tmp_path):
    for name, weight in (("nothing", 0.0), ("something", 0.05)):
        network = Restorer(4)
        torch.nn.init.normal_(network.head.weight, 0, weight)
        parts = {"net": network, "mean": averaged(network)}
        Run(tmp_path / name, asdict(train_restorer.Settings(width=4)), 1, name="restorer").save(parts)
    words = ("--bound-faces", "1", "--bound-iterations", "1", "--channels", "float", "--purifiers")
    made = measured(
        without_unseen(inputs),
        tmp_path / "t.json",
        "purified",
        *words,
        *(str(tmp_path / n) for n in ("nothing", "something")),
    )
    assert problems(made) == []
    none = "not protected (the delivery alone)"
    found = {
        name: values(made, "l2", "float", generator=f"stargan-a{name}", method=none)[0]
        for name in ("", " behind nothing", " behind something")
    }
    assert found[""] == found[" behind nothing"] == 0.0 < found[" behind something"]
    bounds = [row for row in made["rows"] if "bound" in row["labels"]["method"]]
    assert [row["labels"]["first_faces"] for row in bounds] == [1] * 6
    assert {row["face_ssim"]["n"] for row in made["rows"] if "first_faces" in row["labels"]} == {1}
    assert str(tmp_path) not in json.dumps(made)


def test_speed_names_its_ratio(inputs, tmp_path):
    made = measured(inputs, tmp_path / "t.json", "table9")
    assert len(made["rows"]) == 4
    assert any("times the network's time" in note for note in made["notes"])


def test_identity_of_an_undisturbed_face_is_its_own(inputs, tmp_path):
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["face"], ["small"], kernel_shape=[28, 28], strides=[28, 28]),
            helper.make_node("Flatten", ["small"], ["vector"]),
        ],
        "identity",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 48])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "identity.onnx")
    words = ("identity", "--identity", str(tmp_path / "identity.onnx"), "--channels", "float", "8bit", "crop0.71")
    made = measured(inputs, tmp_path / "t.json", *words)
    none = {"method": "not protected (the delivery alone)"}
    assert values(made, "edits", "float", **none) == [1.0, 1.0]
    assert max(values(made, "inputs", "8bit", method="disrupter (ours, one network)")) < 1
    assert min(values(made, "inputs", "crop0.71", **none)) > 0.999, "compared with the same crop of the original"


def test_flicker_watches_the_product_on_a_clip(inputs, tmp_path):
    clip = tmp_path / "clip.mp4"
    write_clip(clip, talking_head(320, 180, 0.32, 25), width=320, height=180, rate=25, loudness=speech)
    made = measured(inputs, tmp_path / "t.json", "flicker", "--clips", str(clip), "--frames", "4", "--holds", "1", "4")
    assert [(row["labels"]["clip"], row["labels"]["hold"]) for row in made["rows"]] == [
        ("clip", 1), ("all", 1), ("clip", 4), ("all", 4),
    ]  # fmt: skip
    assert made["rows"][0]["columns"]["8bit"]["energy"]["value"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table8"], "--data PACK or --media DIR"),
        (["table1", "--also", "table11", "--data", "x"], "unknown table 'table11'"),
        (["table8", "--also", "robustness", "--data", "x"], "different columns"),
        (["table8", "--also", "table6", "--data", "x", "--out", "y"], "--out names one file"),
    ],
)
def test_what_is_missing_is_said(words, said, capsys):
    assert main(["evaluate", *words]) != 0
    assert said in capsys.readouterr().err


def test_the_command_names_no_folder_of_this_machine(tmp_path):
    from argparse import ArgumentParser

    parser = ArgumentParser()
    TABLES["table8"].add(parser)
    words = ["--targets", str(tmp_path / "stargan-a"), "--data", str(tmp_path / "p.pack")]
    words += ["--trained", f"generator:fomm={tmp_path / 'alone'}", "--identity", str(tmp_path / "i.onnx")]
    arguments = parser.parse_args(words)
    said = command(["evaluate", "table8", *words], arguments)
    assert said == (
        "python -m engines evaluate table8 --targets runs/stargan-a --data PACK "
        "--trained generator:fomm=alone --identity i.onnx"
    )


@pytest.mark.parametrize("name", sorted(TABLES))
def test_what_is_committed_is_sound(name):
    path = RESULTS / f"{name}.json"
    if path.exists():
        made = json.loads(path.read_text(encoding="utf-8"))
        assert problems(made) == []
        assert made["table"] == name
        assert not any(word in json.dumps(made) for word in ("/tmp", "/work", "/root"))


def test_an_identity_network_is_asked_for(inputs, capsys):
    assert main(["evaluate", "identity", *inputs]) == UsageError.exit_code
    assert "--identity" in capsys.readouterr().err
