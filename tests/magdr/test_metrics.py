"""The distances against scikit-image and numpy, and their bad inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from stream_guard.errors import UsageError
from stream_guard.magdr import metrics
from stream_guard.magdr.regions import NAMES
from stream_guard.magdr.views import METRICS, Views, region_distances


def pair(seed: int = 0, shape: tuple[int, ...] = (48, 40)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.random(shape)
    return a, (a + 0.2 * rng.standard_normal(shape)).clip(0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_ssim_equals_scikit_image(seed: int) -> None:
    a, b = pair(seed)
    settings = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected, full = structural_similarity(a, b, full=True, **settings)
    assert metrics.ssim(a, b, 1.0) == pytest.approx(expected, abs=1e-9)
    assert np.allclose(metrics.ssim_map(a, b, 1.0), full, atol=1e-9)


def test_ssim_of_a_batch_is_that_of_each() -> None:
    a, b = pair(3, (2, 32, 32))
    together = metrics.ssim_map(a, b, 1.0)
    assert np.allclose(together[1], metrics.ssim_map(a[1], b[1], 1.0))


def test_psnr_equals_scikit_image() -> None:
    a, b = pair()
    assert metrics.psnr_db(a, b, 1.0) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0))
    assert metrics.psnr_db(a, a, 1.0) == math.inf


@pytest.mark.parametrize("p", [1, 2, 3, math.inf])
def test_norms_equal_numpys(p: float) -> None:
    a, b = pair()
    assert metrics.lp(a, b, p) == pytest.approx(np.linalg.norm((a - b).ravel(), p))


def test_cosine() -> None:
    a = np.array([1.0, 0.0])
    assert metrics.cosine(a, np.array([0.0, 2.0])) == 0
    assert metrics.cosine(a, 3 * a) == pytest.approx(1)
    assert metrics.cosine(a, -a) == pytest.approx(-1)
    assert (metrics.cosine(0 * a, 0 * a), metrics.cosine(0 * a, a)) == (1, 0)


def test_wrong_inputs_are_named() -> None:
    a, b = pair()
    with pytest.raises(UsageError, match="differ in shape"):
        metrics.mse(a, b[1:])
    with pytest.raises(UsageError, match="11 pixels"):
        metrics.ssim(a[:8], b[:8], 1.0)
    with pytest.raises(UsageError, match="1 or more"):
        metrics.lp(a, b, 0.5)


def views(images: np.ndarray) -> Views:
    small = images[:, :, ::4, ::4] + 2
    return Views(images, {"low": small, "deep": small, "last": small})


class TestRegions:
    def test_only_the_region_that_changed_is_far(self) -> None:
        a = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 64, 64)).astype(np.float32)
        b = a.copy()
        b[:, :, :24] += 0.3
        masks = np.zeros((len(NAMES), 64, 64), np.float32)
        masks[0, :32], masks[1, 32:] = 1, 1
        found = region_distances(views(a), views(b), masks)
        assert found.shape == (1, len(NAMES), len(METRICS))
        assert found[0, 0, METRICS.index("l1")] == pytest.approx(0.3 * 24 / 32, rel=1e-4)
        assert (found[0, 0] > 0).all()
        assert found[0, 1, METRICS.index("l1")] == 0
        assert found[0, 1, METRICS.index("psnr")] == 0
        assert (found[0, 2:] == 0).sum() >= len(METRICS) - 1  # a region that is not there says nothing

    def test_eq_4_metric_by_metric_under_a_soft_mask(self) -> None:
        rng = np.random.default_rng(3)
        a = rng.uniform(-1, 1, (3, 32, 32)).astype(np.float32)
        b = (a + rng.normal(0, 0.2, a.shape)).clip(-1, 1).astype(np.float32)
        mask = rng.random((32, 32)).astype(np.float32)
        sides = {"low": 8, "deep": 2, "last": 16}
        features = [{name: rng.normal(size=(5, s, s)).astype(np.float32) for name, s in sides.items()} for _ in "ab"]

        def mean(values: np.ndarray) -> float:
            step = 32 // values.shape[-1]
            weights = sum(mask[i::step, k::step] for i in range(step) for k in range(step))
            return float((values * weights).sum() / np.sum(weights))

        grey = [np.tensordot([0.299, 0.587, 0.114], x.astype(float), 1) for x in (a, b)]
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, similar = structural_similarity(*grey, data_range=2.0, full=True, **settings)
        error = mean(np.square(a - b).mean(0))
        expected = {"l1": mean(np.abs(a - b).mean(0)), "l2": error**0.5, "ssim": mean(1 - similar)}
        expected["psnr"] = 1 - 10 * math.log10(4 / error) / 60
        for name in sides:
            x, y = (f[name] / np.linalg.norm(f[name], axis=0) for f in features)
            expected[name] = mean(1 - (x * y).sum(0))
        views = [Views(x[None], {n: m[None] for n, m in f.items()}) for x, f in zip((a, b), features, strict=True)]
        found = region_distances(*views, mask[None])[0, 0]
        assert dict(zip(METRICS, found, strict=True)) == pytest.approx(expected, rel=1e-4)

    def test_the_whole_picture_is_one_region(self) -> None:
        a = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
        b = np.random.default_rng(1).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
        found = region_distances(views(a), views(b), np.ones((1, 64, 64), np.float32))
        assert found.shape == (2, 1, len(METRICS))
        assert found[0, 0, METRICS.index("l2")] == pytest.approx(math.sqrt(metrics.mse(a[0], b[0])), rel=1e-5)
