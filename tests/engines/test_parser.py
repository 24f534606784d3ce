"""The face parsers: BiSeNet against the official numbers, the small one's classes, training and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engines.data import pack
from engines.data.heads import Heads
from engines.parser import train_parser
from engines.parser.bisenet import BiSeNet, load_bisenet
from engines.parser.network import OUTPUTS, FaceParser, Parsing
from engines.parser.train_parser import MIRRORED, Settings, iou
from engines.training import Run
from stream_guard.errors import EngineError
from stream_guard.magdr.regions import BISENET_CLASSES, CLASSES
from stream_guard.types import Box
from tests.support.packs import heads_with_masks

SMALL = Settings(width=4, batch=2)


@pytest.mark.parametrize("case_id", ["parse_512", "parse_256"])
def test_bisenet_equals_the_official_network(case_id, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "bisenet")
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    network = BiSeNet().eval()
    section = meta["networks"]["bisenet"]
    assert {row[0]: tuple(row[1]) for row in section["state_dict"]} == {
        k: tuple(v.shape) for k, v in network.state_dict().items()
    }
    fill_rule.apply_to_module(network, section, arrays)
    given = case["inputs"]["x"]
    x = torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0)))
    with torch.no_grad():
        results = dict(zip(("out", "out16", "out32"), network(x), strict=True))
    for name, result in results.items():
        expected = case["outputs"][name]
        diff, _ = fill_rule.compare(result, arrays[f"{case_id}/{name}"], expected.get("subsample"))
        assert diff <= expected["suggested_atol"], name


def test_the_public_layout_loads_with_a_report(tmp_path: Path):
    source, target = BiSeNet(), BiSeNet()
    torch.save({f"module.{k}": v for k, v in source.state_dict().items()}, tmp_path / "79999_iter.pth")
    report = load_bisenet(target, tmp_path / "79999_iter.pth")
    assert report.ok
    assert not report.extra
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path):
    torch.save(FaceParser(4).state_dict(), tmp_path / "other.pth")
    with pytest.raises(EngineError, match=r"not of bisenet.BiSeNet: \d+ missing"):
        load_bisenet(BiSeNet(), tmp_path / "other.pth")


def test_bisenets_classes_are_put_into_our_order(monkeypatch: pytest.MonkeyPatch):
    network = BiSeNet().eval()
    scores = torch.zeros(1, 19, 4, 4)
    scores[:, BISENET_CLASSES.index("hair")] = 50
    monkeypatch.setattr(network, "forward", lambda x: (scores, scores, scores))
    found = network.parse(torch.rand(1, 3, 4, 4))
    assert CLASSES[int(found[0, :, 0, 0].argmax())] == "hair"
    assert torch.allclose(found.sum(1), torch.ones(1, 4, 4))


def test_a_mirrored_face_swaps_left_and_right_and_nothing_else():
    swapped = {CLASSES[a]: CLASSES[b] for a, b in enumerate(MIRRORED)}
    pairs = {name: other for name, other in swapped.items() if name != other}
    assert pairs == {
        "l_eye": "r_eye",
        "r_eye": "l_eye",
        "l_brow": "r_brow",
        "r_brow": "l_brow",
        "l_ear": "r_ear",
        "r_ear": "l_ear",
    }


def test_the_export_gives_masks_that_sum_to_one_and_features():
    torch.manual_seed(0)
    outputs = dict(zip(OUTPUTS, Parsing(FaceParser(4).eval())(torch.rand(2, 3, 128, 128) * 2 - 1), strict=True))
    assert outputs["masks"].shape == (2, 19, 128, 128)
    assert torch.allclose(outputs["masks"].sum(1), torch.ones(2, 128, 128), atol=1e-5)
    assert [tuple(outputs[k].shape[2:]) for k in ("low", "deep", "last")] == [(32, 32), (8, 8), (64, 64)]


def test_iou_of_a_confusion_matrix_leaves_out_classes_that_do_not_occur():
    counts = torch.zeros(19, 19, dtype=torch.long)
    counts[0, 0], counts[0, 1], counts[1, 1] = 6, 2, 2
    assert iou(counts) == {"mean": round((0.75 + 0.5) / 2, 4), "background": 0.75, "skin": 0.5}
    with pytest.raises(EngineError, match="no masks"):
        iou(torch.zeros(19, 19, dtype=torch.long))


def test_training_learns_resumes_and_is_measured_on_others(tmp_path: Path):
    data = heads_with_masks(tmp_path)
    device = torch.device("cpu")
    trainer = train_parser.Trainer(SMALL, Heads(pack.read(data, ["train"], with_mask=True), device), device)
    losses = [trainer.step(3e-3)["entropy"] for _ in range(25)]
    assert losses[-1] < 0.8 * losses[0]
    run = train_parser.train(data, tmp_path / "run", 0, False, "cpu", SMALL)
    again = train_parser.train(data, tmp_path / "run", 0, True, "cpu", SMALL)
    assert (run.step, again.step) == (0, 0)
    found = train_parser.measured(tmp_path / "run", data)
    assert set(found) == {"mean", "background", "skin"}
    assert set(train_parser.results(tmp_path / "run")) == {"iou_mean", "iou_background", "iou_skin"}


def test_a_run_that_is_cut_off_has_no_figures_of_the_weights_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = heads_with_masks(tmp_path)
    train_parser.train(data, tmp_path / "run", 0, False, "cpu", SMALL)
    monkeypatch.setattr(Run, "save", lambda run, parts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_parser.train(data, tmp_path / "run", 0, True, "cpu", SMALL)
    assert train_parser.results(tmp_path / "run") == {}


def test_a_pack_without_masks_is_refused(tmp_path: Path):
    rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    pack.build([(tmp_path / "a.png", None, Box(8, 8, 56, 56))], tmp_path / "a.pack", size=64)
    with pytest.raises(EngineError, match="need pictures with masks"):
        train_parser.train(tmp_path / "a.pack", tmp_path / "run", 0, False, "cpu", SMALL)
