"""First Order Motion against the official numbers, its public checkpoint's layout, and its geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.generators.fomm import adversary
from engines.generators.fomm.animate import Animator, animate, load_fomm
from engines.generators.fomm.blocks import AntiAliasInterpolation2d
from engines.generators.fomm.generator import OcclusionAwareGenerator
from engines.generators.fomm.geometry import (
    KeyPoints,
    coordinate_grid,
    hull_area,
    inverse_2x2,
    kp2gaussian,
    normalize_kp,
)
from engines.generators.fomm.keypoints import KPDetector
from engines.generators.stargan import Generator
from stream_guard.errors import EngineError

BOTH = pytest.mark.parametrize("aligned", [False, True])


@pytest.fixture(scope="module")
def official(goldens, fill_rule):
    return fill_rule.load(goldens, "fomm")


@pytest.fixture(scope="module")
def detector(official, fill_rule):
    meta, arrays = official
    network = KPDetector()
    section = meta["networks"]["kp_detector"]
    assert [row[0] for row in section["state_dict"]] == list(network.state_dict())
    assert sum(p.numel() for p in network.parameters()) == section["parameters"]
    fill_rule.apply_to_module(network, section, arrays)
    return network.eval()


@pytest.fixture(scope="module")
def generator(official, fill_rule):
    meta, arrays = official
    network = OcclusionAwareGenerator()
    section = meta["networks"]["generator"]
    assert [row[0] for row in section["state_dict"]] == list(network.state_dict())
    fill_rule.apply_to_module(network, section, arrays)
    return network.eval()


def _aligned(generator, aligned):
    generator.align_corners = generator.dense_motion_network.align_corners = aligned
    return generator


def _case(official, name):
    return next(c for c in official[0]["cases"] if c["id"] == name)


def _given(case, fill_rule, name):
    spec = case["inputs"][name]
    if spec["kind"] == "image":
        return torch.from_numpy(fill_rule.image(spec["seed"], spec["shape"], spec["range"], spec.get("block", 0)))
    if spec["kind"] == "normal":
        return torch.from_numpy(fill_rule.normal(spec["seed"], spec["shape"], spec["scale"]))
    drawn = fill_rule.uniform(spec["seed"], spec["shape"])
    return torch.from_numpy(drawn * np.float32(spec["scale"]) + np.float32(spec["offset"]))


def _check(official, fill_rule, case, results):
    for name, result in results.items():
        expected = case["outputs"][name]
        diff, _ = fill_rule.compare(result.detach(), official[1][f"{case['id']}/{name}"], expected.get("subsample"))
        assert diff <= expected["suggested_atol"], f"{name}: {diff}"


def test_key_points_equal_the_official_ones(official, fill_rule, detector):
    case = _case(official, "kp")
    x = _given(case, fill_rule, "x")
    with torch.no_grad():
        kp, down = detector(x), detector.down(x)
    _check(official, fill_rule, case, {"value": kp.value, "jacobian": kp.jacobian, "down": down})


@BOTH
def test_the_generator_equals_the_official_one(aligned, official, fill_rule, generator):
    case = _case(official, f"generator_ac{int(aligned)}")
    one = torch.eye(2)
    source = KeyPoints(_given(case, fill_rule, "ks"), one + _given(case, fill_rule, "js"))
    driving = KeyPoints(_given(case, fill_rule, "kd"), one + _given(case, fill_rule, "jd"))
    with torch.no_grad():
        out = _aligned(generator, aligned)(_given(case, fill_rule, "x"), source, driving)
    results = {"prediction": out.prediction, "deformed": out.deformed, **out.motion._asdict()}
    _check(official, fill_rule, case, results)


@BOTH
def test_relative_animation_equals_the_official_one(aligned, official, fill_rule, detector, generator):
    case = _case(official, f"end_to_end_ac{int(aligned)}")
    images = [_given(case, fill_rule, name) for name in ("source", "driving1", "driving0")]
    _aligned(generator, aligned)
    with torch.no_grad():
        source, driving, initial = (detector(image) for image in images)
        moved = normalize_kp(source, driving, initial)
        whole = Animator(detector, generator)
        condition = whole.condition(images[1] * 2 - 1, images[2] * 2 - 1)
        prediction = (whole(images[0] * 2 - 1, condition) + 1) / 2
    results = {
        "prediction": prediction,
        "kp_norm_value": moved.value,
        "kp_norm_jacobian": moved.jacobian,
        "kp_source_value": source.value,
        "kp_source_jacobian": source.jacobian,
    }
    _check(official, fill_rule, case, results)


def test_relative_motion_equals_the_official_one(official, fill_rule):
    case = _case(official, "normalize_kp")
    source, driving, initial = (
        KeyPoints(_given(case, fill_rule, f"v{k}"), torch.eye(2) + _given(case, fill_rule, f"j{k}")) for k in "sd0"
    )
    options = {
        "absolute": (False, False, False),
        "relative": (True, False, False),
        "relative_jac": (True, True, False),
        "relative_jac_scaled": (True, True, True),
    }
    for name, (movement, jacobian, scale) in options.items():
        kp = normalize_kp(source, driving, initial, movement, jacobian, scale)
        _check(official, fill_rule, case, {f"{name}_value": kp.value, f"{name}_jacobian": kp.jacobian})


def test_gaussians_and_grids_equal_the_official_ones(official, fill_rule):
    case = _case(official, "kp2gaussian")
    gaussians = kp2gaussian(_given(case, fill_rule, "v"), 12, 20, 0.01)
    _check(official, fill_rule, case, {"gaussians": gaussians, "grid": coordinate_grid(3, 5, gaussians)})


def test_the_smoothing_kernel_is_the_official_one(official):
    kept = official[1]["kept:down.weight"]
    np.testing.assert_allclose(AntiAliasInterpolation2d(3, 0.25).weight.numpy(), kept, atol=1e-7)


def test_the_hull_of_a_square_with_points_inside_and_on_its_sides():
    square = torch.tensor([(0, 0), (2, 0), (2, 2), (0, 2), (1, 1), (0.5, 1.5), (2, 1), (0, 0.5)])
    assert hull_area(square[None]).item() == pytest.approx(4)
    assert hull_area(square.flip(0)[None] - 5).item() == pytest.approx(4)
    assert hull_area(torch.tensor([[(0.0, 0.0), (1.0, 1.0), (3.0, 3.0)]])).item() == 0


def test_the_hull_is_scipys_and_has_a_gradient():
    spatial = pytest.importorskip("scipy.spatial")
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 10, 2)).astype(np.float32)).requires_grad_(True)
    areas = hull_area(points)
    expected = [spatial.ConvexHull(p).volume for p in points.detach().numpy()]
    np.testing.assert_allclose(areas.detach(), expected, rtol=1e-5)
    (grad,) = torch.autograd.grad(areas.sum(), points)
    # Growing all points from the origin by a share grows the area by twice that share.
    np.testing.assert_allclose((grad * points).sum((1, 2)).detach(), 2 * np.array(expected), rtol=1e-4)


def test_a_2x2_inverse_is_torchs_and_stays_finite():
    torch.manual_seed(0)
    m = torch.randn(5, 10, 2, 2)
    torch.testing.assert_close(inverse_2x2(m), torch.inverse(m), rtol=1e-3, atol=1e-3)
    assert torch.isfinite(inverse_2x2(torch.zeros(1, 2, 2))).all()


def test_key_points_survive_being_flat():
    kp = KeyPoints(torch.randn(3, 10, 2), torch.randn(3, 10, 2, 2))
    again = KeyPoints.of_flat(kp.flat())
    assert kp.flat().shape == (3, 60)
    assert torch.equal(again.value, kp.value)
    assert torch.equal(again.jacobian, kp.jacobian)


def _small(seed=0):
    torch.manual_seed(seed)
    detector = KPDetector(4, 10, 32, 3, scale_factor=0.5)
    torch.nn.init.normal_(detector.jacobian.weight, std=0.05)
    generator = OcclusionAwareGenerator(4, 10, 16, 2, 1, 4, 32, 3, 0.5)
    return detector.eval(), generator.eval()


def test_the_initial_frame_moves_nothing():
    """Relative motion from a frame to itself is the source's own reconstruction, whatever the frame."""
    detector, generator = _small()
    source, frame = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        kp = detector(source)
        expected = generator(source, kp, kp).prediction
    for scaled in (False, True):
        (got, other) = animate(generator, detector, source, [frame, 1 - frame], adapt_movement_scale=scaled)
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
        assert (other - expected).abs().max() > 1e-4


def test_a_flow_to_the_right_brings_what_is_there():
    """The deformation says where each pixel comes from, in (x, y)."""
    _, generator = _small()
    _aligned(generator, True)
    x = torch.arange(64.0).expand(1, 1, 64, 64)
    grid = coordinate_grid(64, 64, x)[None] + torch.tensor([2 / 63, 0.0])
    torch.testing.assert_close(generator.deform(x, grid)[..., :62], x[..., 1:63], rtol=1e-3, atol=1e-3)


def test_the_public_layout_loads(tmp_path):
    detector, generator = _small(1)
    others = {"discriminator": {"a": torch.zeros(1)}, "optimizer_generator": {"state": {}}, "epoch": 99}
    state = {"generator": generator.state_dict(), "kp_detector": detector.state_dict()}
    torch.save(state | others, tmp_path / "vox-cpk.pth.tar")
    detector2, generator2 = _small(2)
    reports = load_fomm(detector2, generator2, tmp_path / "vox-cpk.pth.tar")
    assert all(report.ok and not report.extra for report in reports.values())
    for ours, theirs in ((detector2, detector), (generator2, generator)):
        pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_checkpoints_of_other_networks_are_named(tmp_path):
    detector, generator = _small()
    torch.save(Generator(8).state_dict(), tmp_path / "stargan.ckpt")
    with pytest.raises(EngineError, match=r"no network generator and no kp_detector; it holds main"):
        load_fomm(detector, generator, tmp_path / "stargan.ckpt")
    swapped = {"generator": detector.state_dict(), "kp_detector": generator.state_dict()}
    torch.save(swapped, tmp_path / "swapped.tar")
    with pytest.raises(EngineError, match=r"not of .*OcclusionAwareGenerator: \d+ missing .* extra"):
        load_fomm(detector, generator, tmp_path / "swapped.tar")
    wide = {"generator": generator.state_dict(), "kp_detector": KPDetector(8, 10, 32, 3).state_dict()}
    torch.save(wide, tmp_path / "wide.tar")
    with pytest.raises(EngineError, match=r"not of .*KPDetector: \d+ of another shape"):
        load_fomm(detector, generator, tmp_path / "wide.tar")


def test_a_pickle_with_code_is_refused(tmp_path):
    detector, generator = _small()
    torch.save({"generator": generator, "kp_detector": detector}, tmp_path / "whole.tar")
    with pytest.raises(EngineError, match="would run code"):
        load_fomm(detector, generator, tmp_path / "whole.tar")


def test_feature_matching_weighs_every_layer_by_ten():
    """As the published `vox-adv`: a sum over the layers, not their mean."""
    real = [torch.zeros(2, 4, 8, 8), torch.zeros(2, 8, 4, 4), torch.zeros(2, 1, 2, 2)]
    fake = [torch.full((2, 4, 8, 8), 0.1), torch.full((2, 8, 4, 4), -0.2), torch.full((2, 1, 2, 2), 0.5)]
    assert float(adversary.generator_loss(real, fake)) == pytest.approx(0.25 + 10 * (0.1 + 0.2))
    assert float(adversary.discriminator_loss(fake, fake)) == pytest.approx(0.25 + 0.25)
