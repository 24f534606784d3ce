"""The detectors' networks against the official numbers: key names, shapes, outputs; real MesoNet weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.detectors.architectures import architecture
from engines.detectors.dfb_mesonet import DfbMeso4, DfbMesoInception4
from engines.detectors.mesonet import Meso4, MesoInception4
from engines.detectors.multi_attention import MultiAttention
from engines.detectors.resnet import resnet18, resnet50
from engines.detectors.vgg import VGG16
from engines.detectors.xception import Xception
from stream_guard.errors import EngineError


def _case(fill_rule, meta, case_id):
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    given = case["inputs"]["x"]
    return case, torch.from_numpy(fill_rule.image(given["seed"], given["shape"], given["range"], given.get("block", 0)))


def _filled(fill_rule, network, section, arrays, prefix=""):
    """The network with the pack's weights, once its keys are the official ones below `prefix`, in order."""
    official = [row[0] for row in section["state_dict"]]
    assert official == [prefix + key for key in network.state_dict()]
    state = fill_rule.build_state(section, arrays)
    network.load_state_dict({k.removeprefix(prefix): torch.from_numpy(np.array(v)) for k, v in state.items()})
    return network.eval()


def _check(fill_rule, meta, arrays, case_id, results):
    case = next(c for c in meta["cases"] if c["id"] == case_id)
    assert results
    for name, result in results.items():
        expected = case["outputs"][name]
        diff, _ = fill_rule.compare(result, arrays[f"{case_id}/{name}"], expected.get("subsample"))
        assert diff <= expected["suggested_atol"], name


@pytest.mark.parametrize(
    ("name", "build"),
    [("resnet18", resnet18), ("resnet50", resnet50), pytest.param("vgg16", VGG16, marks=pytest.mark.slow)],
)
@torch.no_grad()
def test_torchvision(name, build, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "torchvision")
    network = _filled(fill_rule, build(), meta["networks"][name], arrays)
    _, x = _case(fill_rule, meta, f"{name}_224")
    results = {"logits": network(x), "features": network.features(x)}
    _check(fill_rule, meta, arrays, f"{name}_224", results)


@pytest.mark.slow
@pytest.mark.parametrize("case_id", ["logits_299", "logits_299_noise"])
@torch.no_grad()
def test_xception_of_faceforensics(case_id, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "xception")
    network = _filled(fill_rule, Xception(), meta["networks"]["ffpp"], arrays, "model.")
    _, x = _case(fill_rule, meta, case_id)
    features = network.features(x)
    results = {"features": features, "pooled": network.pooled(x)} if case_id == "logits_299" else {"features": features}
    _check(fill_rule, meta, arrays, case_id, results | {"logits": network(x)})


@torch.no_grad()
def test_xception_of_deepfakebench(goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "dfb_xception")
    network = _filled(fill_rule, Xception(adjust_channel=True), meta["networks"]["dfb"], arrays, "backbone.")
    _, x = _case(fill_rule, meta, "logits_256")
    _check(fill_rule, meta, arrays, "logits_256", {"logits": network(x), "features": network.features(x)})


@pytest.mark.parametrize(("name", "build"), [("dfb_meso4", DfbMeso4), ("dfb_meso4inception", DfbMesoInception4)])
@torch.no_grad()
def test_mesonets_of_deepfakebench(name, build, goldens, fill_rule):
    meta, arrays = fill_rule.load(goldens, "dfb_meso")
    network = build().eval()
    section = meta["networks"][name]
    official = {key.removeprefix("backbone."): value for key, value in fill_rule.build_state(section, arrays).items()}
    assert set(official) == set(network.state_dict())
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in official.items()})
    _, x = _case(fill_rule, meta, name)
    _check(fill_rule, meta, arrays, name, {"logits": network(x), "features": network.features(x)})


@torch.no_grad()
def test_multi_attention(goldens, fill_rule):
    """Both phases of the official detector, and the backbone as EfficientNet runs it."""
    meta, arrays = fill_rule.load(goldens, "multi_attention")
    network = _filled(fill_rule, MultiAttention(), meta["networks"]["multi_attention"], arrays)
    _, x = _case(fill_rule, meta, "phase2_256")
    maps = network.branches(x)
    results = {
        "cls": network.ensemble(maps),
        "feat": maps["final"],
        "attentions": maps["attention"],
        "feature_maps_d": maps["pooled"],
        "b2": maps["b2"],
        "b5": maps["b5"],
    }
    _check(fill_rule, meta, arrays, "phase2_256", results)
    network.backbone_only = True
    _check(fill_rule, meta, arrays, "phase1_256", {"cls": network(x)})
    features = network.backbone.stages(x, swish=True)[-1]
    backbone = {"features": features, "logits": network.backbone.classify(features)}
    _check(fill_rule, meta, arrays, "backbone_forward_256", backbone)


def _mesonet_input(fill_rule, meta, goldens, kind):
    if kind == "det":
        parts = [fill_rule.image(p["seed"], p["shape"], p["range"], p["block"]) for p in meta["inputs"]["det"]["parts"]]
        return torch.from_numpy(np.concatenate(parts))
    with np.load(goldens / "mesonet_images.npz") as arrays:
        scaled = arrays["images"] * np.float32(1 / 255)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous()


def _check_mesonet(fill_rule, meta, arrays, case_id, network, x):
    maps = network.pools(x)
    results = {f"pool{k + 1}": maps[k].permute(0, 2, 3, 1) for k in range(3)}
    results["flatten"] = maps[3].permute(0, 2, 3, 1).flatten(1)
    results |= {"dense16": network.dense(x), "prob": network(x).softmax(1)[:, 1:]}
    _check(fill_rule, meta, arrays, case_id, results)


@pytest.mark.parametrize("kind", ["det", "real"])
@pytest.mark.parametrize(
    ("case", "file", "name"),
    [
        ("meso4_df", "Meso4_DF", "mesonet"),
        ("meso4_f2f", "Meso4_F2F", "mesonet"),
        ("mesoinception4_df", "MesoInception_DF", "mesoinception4"),
        ("mesoinception4_f2f", "MesoInception_F2F", "mesoinception4"),
    ],
)
@torch.no_grad()
def test_official_mesonet_weights(case, file, name, kind, goldens, fill_rule):
    pytest.importorskip("h5py")
    meta, arrays = fill_rule.load(goldens, "mesonet")
    detector, report = architecture(name).load_public(goldens.parent / "weights" / f"{file}.h5")
    assert report.ok
    assert not report.extra
    x = _mesonet_input(fill_rule, meta, goldens, kind)
    _check_mesonet(fill_rule, meta, arrays, f"{case}/{kind}", detector.network, x)
    expected = torch.from_numpy(arrays[f"{case}/{kind}/prob"][:, 0])
    assert torch.allclose(detector.p_real(x * 2 - 1), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "build"), [("meso4", Meso4), ("mesoinception4", MesoInception4)])
@torch.no_grad()
def test_mesonet_with_filled_weights(name, build, goldens, fill_rule):
    """The pack's fc1 is fed (height, width, channel), as Keras flattens; ours (channel, height, width)."""
    meta, arrays = fill_rule.load(goldens, "mesonet")
    network = build().eval()
    section = meta["networks"][name]
    state = {k: torch.from_numpy(np.array(v)) for k, v in fill_rule.build_state(section, arrays).items()}
    state["fc1.weight"] = state["fc1.weight"].reshape(16, 8, 8, 16).permute(0, 3, 1, 2).reshape(16, 1024)
    missing = network.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    _check_mesonet(
        fill_rule, meta, arrays, f"{name}_fill/det", network, _mesonet_input(fill_rule, meta, goldens, "det")
    )


def test_a_mesonet_file_of_the_other_network_is_named(goldens):
    pytest.importorskip("h5py")
    weights = goldens.parent / "weights"
    with pytest.raises(EngineError, match="not of Meso4: 16 layers 'conv2d', 4 are needed"):
        architecture("mesonet").load_public(weights / "MesoInception_DF.h5")
    with pytest.raises(EngineError, match="not of MesoInception4"):
        architecture("mesoinception4").load_public(weights / "Meso4_DF.h5")
