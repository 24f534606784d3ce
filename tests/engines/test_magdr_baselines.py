"""The baselines of Tables 1 and 2: what each learns, and what it does to a picture."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch

from engines.magdr import baselines
from stream_guard.errors import EngineError


def crops(count: int, loud: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    base = 120 + 30 * np.sin(x / 9 + y / 14)[..., None] + np.zeros(3)
    return (base + rng.normal(0, 2 + loud, (count, 64, 64, 3))).clip(0, 255).astype(np.uint8)


class TestBaselines:
    def test_a_classifier_learns_noise(self) -> None:
        detect = baselines.train_classifier(crops(16, 0, 0), crops(16, 20, 1), 0)
        assert detect(crops(8, 20, 2)).min() > detect(crops(8, 0, 3)).max()

    def test_an_autoencoder_errs_more_on_what_it_never_saw(self) -> None:
        detect = baselines.reconstruction_error(baselines.train_autoencoder(crops(16, 0, 0), 0, steps=150))
        assert detect(crops(6, 30, 2)).min() > detect(crops(6, 0, 3)).max()

    def test_a_slow_machine_makes_the_same_steps_or_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = iter(range(0, 100000, 200))  # 200 seconds a look: the old bound of 40 would end after one step
        monkeypatch.setattr("engines.magdr.baselines.time.monotonic", lambda: next(clock))
        slow, again = (baselines.train_autoencoder(crops(8, 0, 0), 0, steps=6) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(slow.parameters(), again.parameters(), strict=True))
        with pytest.raises(EngineError, match=r"auto-encoder made \d+ of 800 steps in 3600 seconds"):
            baselines.train_autoencoder(crops(8, 0, 0), 0)

    def test_thresholds_allow_the_share_asked_for(self) -> None:
        values = np.arange(100.0)
        limit = baselines.threshold(lambda part: part.astype(float), [values[:50], values[50:]])
        assert (values > limit).sum() <= 1

    def test_restorers_keep_size_and_type(self) -> None:
        picture = crops(1, 5, 0)[0]
        for name, way in baselines.restorers(baselines.AutoEncoder().eval(), 0).items():
            out = way(picture)
            assert out.shape == picture.shape, name
            assert out.dtype == np.uint8, name

    def test_matrix_estimation_keeps_what_is_simple(self) -> None:
        picture = np.repeat(np.linspace(40, 220, 64)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
        out = baselines.matrix_estimation(picture, np.random.default_rng(0), keep=1.0, rank=1)
        assert np.abs(out.astype(int) - picture).max() <= 3

    def test_matrix_estimation_scales_up_what_it_kept(self) -> None:
        out = baselines.matrix_estimation(np.full((64, 64, 3), 190, np.uint8), np.random.default_rng(0), rank=1)
        assert abs(float(out.mean()) - 190) < 4

    def test_pixels_are_deflected_to_places_nearby(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(baselines.operations, "total_variation", lambda rgb, weight: rgb)
        rows, columns = np.mgrid[:64, :64]
        place = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
        out = baselines.pixel_deflection(place, np.random.default_rng(0))
        moved = np.abs(out.astype(int) - place).max(-1)
        assert moved.max() == 10
        assert 600 < (moved > 0).sum() <= 800

    def test_a_picture_is_resized_by_a_little_and_put_anywhere(self) -> None:
        rng, found = np.random.default_rng(0), []
        for _ in range(60):
            rows, columns = np.nonzero(baselines.random_resize(np.full((64, 64, 3), 200, np.uint8), rng)[..., 0])
            found.append((int(rows.min()), int(np.ptp(rows)) + 1))
            assert np.ptp(rows) == np.ptp(columns)
        assert (min(side for _, side in found), max(side for _, side in found)) == (54, 64)
        assert len({top for top, _ in found}) > 4

    def test_neighbours_count_attacked_faces_and_the_nearer_breaks_a_tie(self) -> None:
        class Angles:
            """A crop's feature is a direction: its level as an angle."""

            def views(self, images: np.ndarray) -> argparse.Namespace:
                angle = images.mean((1, 2, 3)).astype(np.float64)
                deep = np.stack([np.cos(angle), np.sin(angle)], 1)[..., None, None]
                return argparse.Namespace(features={"deep": deep})

        def level(*values: int) -> np.ndarray:
            return np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])

        detect = baselines.neighbours(Angles(), level(0, 10, 20, 30), level(200, 210, 220), k=3)  # type: ignore[arg-type]
        quiet, nearer, between, loud = detect(level(5, 25, 120, 215))
        assert 0.0 > nearer > quiet > -0.01 * 3
        assert between == pytest.approx(2 / 3, abs=0.01)
        assert 1.0 < loud < 1.01
