"""The figures of delivered video and their intervals, against numbers that can be worked out apart from the code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engines.evaluation import figures, methods, run
from engines.evaluation.delivered import Still, Tally, measure
from engines.evaluation.methods import fixed
from engines.generators.target import Target
from stream_guard.audit.interval import wilson
from stream_guard.audit.probes import load_probes
from stream_guard.types import Box, guard_region
from tests.support.probes import write_probe


def tally(*values: list[float]) -> Tally:
    return Tally([(f"face {k}", np.array(v)) for k, v in enumerate(values)], [100.0, 300.0], [4.0, 5.0], 150)


def test_a_pair_at_the_papers_criterion_is_disrupted_and_one_below_is_not():
    found = tally([0.05, 0.0499, 0.03], [0.07, 0.2, 0.0]).summary()
    assert (found["pairs"], found["disrupted"]) == (6, 0.5)
    assert found["l2_mean"] == pytest.approx(0.0667, abs=1e-4)
    assert found["l2_by_condition"] == [0.06, 0.125, 0.015]  # rounded to even


def test_the_interval_counts_faces_where_all_their_pairs_agree():
    found = tally([0.05] * 5, [0.06] * 5, [0.0499] * 5, [0.0] * 5).summary()
    assert found["ci95"] == pytest.approx(wilson(0.5, 4), abs=1e-4)  # four faces, not twenty pairs


def test_the_psnr_is_of_one_error_over_all_faces_and_bits_are_ours_over_the_plain_ones():
    found = tally([0.0], [0.0]).summary(Tally(bytes=100))
    assert found["face_psnr_db"] == pytest.approx(10 * np.log10(255**2 / 200), abs=0.006)
    assert (found["seen_p95"], found["bitrate_ratio"]) == (4.5, 1.5)


def test_the_faces_of_the_bound_are_added_up():
    whole = run._merged([{"bound": tally([0.1])}, {"bound": tally([0.0])}])["bound"].summary(Tally(bytes=150))
    assert (whole["pairs"], whole["disrupted"], whole["seen_p95"], whole["bitrate_ratio"]) == (2, 0.5, 4.5, 2.0)


@pytest.fixture(scope="module")
def still() -> Still:
    coarse = torch.from_numpy(np.random.default_rng(0).random((1, 3, 12, 12)))
    smooth = torch.nn.functional.interpolate(coarse, size=(140, 140), mode="bicubic").clamp(0, 1)[0]
    return Still("one", (smooth.permute(1, 2, 0).numpy() * 255).astype(np.uint8), Box(50, 45, 90, 95))


def test_every_way_is_held_against_the_original_and_seen_against_the_plain_delivery(still, tmp_path):
    (probe,) = load_probes([str(write_probe(tmp_path / "probe"))])
    grid = 0.03 * torch.sign(torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))).numpy()
    grid[:, :, :4] = 0  # one half of the head is as it was
    found = measure([still], 96, 30, probe, {"control": None, "grid": fixed(grid, guard_region)})
    control, ours = (found[name].summary(found["control"]) for name in ("control", "grid"))
    assert 0 < control["l2_mean"] < ours["l2_mean"]  # the encoder's own loss is no nought
    assert found["control"].squared == [0.0]  # and is no part of what the perturbation costs
    assert control["seen_p95"] < 0.1 < 2 < ours["seen_p95"]
    assert np.median(found["grid"].seen) == found["grid"].seen[0]
    probe.close()


class Weighed(nn.Module):
    """Adds nothing of its own, and remembers how large the images were."""

    def __init__(self, weights):
        super().__init__()
        self.weights, self.sides = weights, set()

    def forward(self, x, c):
        self.sides.add(x.shape[-1])
        return 3 * self.weights * x


def test_pgd_10_attacks_a_network_at_that_networks_own_size(still):
    """First Order Motion as it was published takes heads of 256 px."""
    network = Weighed(1.0)
    methods.pgd10(still, Target(network, "toy", torch.zeros(2, 1), ["a", "b"], 96), torch.zeros(2, 1), 0.03)
    assert network.sides == {96}


def test_pgd_10_reaches_its_box_and_its_psnr(still):
    """A network that adds nothing of its own is fled from at once: every value ends at the bound, as levels of RGB."""
    (x,) = (methods._head(still, 128)[None] * 2 - 1,)
    weights = torch.sign(torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    written = []

    def kept(delta, region, feather):
        written.append((delta, feather))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "fixed", kept)
        network = Target(Weighed(weights), "toy", torch.zeros(1, 1), ["none"], 128)
        methods.pgd10(still, network, network.conditions, 0.03)
    ((delta, feather),) = written
    rgb = np.einsum("ij,jhw->ihw", np.linalg.inv(methods.YCBCR.numpy()), delta)
    inside = (x[0].abs() < 0.95).numpy()
    assert np.abs(rgb).max() == pytest.approx(0.015, abs=1e-4)  # half of it: planes span 1, images 2
    assert (np.abs(rgb[inside]) > 0.012).mean() > 0.9
    assert feather == 0.0


def test_the_bootstrap_has_the_width_of_the_normal_law():
    """The mean of a hundred coins: .5 +- 1.96 * .05."""
    low, high = figures.mean([0.0, 1.0] * 50, range(100))["ci95"]
    assert (low, high) == pytest.approx((0.402, 0.598), abs=0.011)


def test_precision_and_f1_follow_jeffreys_posteriors():
    """Percentiles of two million draws of Beta(k + .5, n - k + .5), made once with numpy apart from this code."""
    found = figures.detection(np.arange(100) < 90, np.arange(100) < 30)
    assert found["precision"]["ci95"] == pytest.approx([0.6922, 0.8060], abs=0.005)
    assert found["f1"]["ci95"] == pytest.approx([0.7671, 0.8592], abs=0.005)
    few = figures.detection(np.ones(16, bool), np.zeros(16, bool))
    assert few["precision"]["ci95"][0] == pytest.approx(0.8711, abs=0.012)
    assert few["f1"]["ci95"][0] == pytest.approx(0.8949, abs=0.012)


def test_a_detector_that_passes_everything_is_not_certain_of_its_precision():
    """Percentiles of a / (a + b), both drawn apart from Beta(16.5, .5): the same draws for both would say .5 to .5."""
    both = np.random.default_rng(9).beta(16.5, 0.5, (2, 1_000_000))
    found = figures.detection(np.ones(16, bool), np.ones(16, bool))["precision"]
    assert found["value"] == 0.5
    assert found["ci95"] == pytest.approx(np.percentile(both[0] / both.sum(0), [2.5, 97.5]), abs=0.006)
