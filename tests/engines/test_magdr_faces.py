"""Attacked faces as they are made, kept and delivered, and the attack that knows the operations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines.data import pack
from engines.data.origin import DRAWN
from engines.generators.target import Target
from engines.magdr import adaptive, faces
from engines.magdr.adaptive import straight_through, through_operations
from stream_guard.errors import UsageError
from stream_guard.magdr.operations import consistency
from tests.support.targets import ASKED


class Tint(nn.Module):
    """Adds the condition to the picture, and a bent copy of it."""

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        return torch.tanh(3 * image + condition[:, :1, None, None])


@pytest.fixture
def target() -> Target:
    return Target(Tint(), "stargan", torch.tensor([[0.0], [0.4]]), ["plain", "lighter"], 64)


class TestFaces:
    @pytest.mark.parametrize("attack", list(faces.ATTACKS))
    def test_attacks_stay_in_budget_and_are_made_once(
        self, people: faces.Split, target: Target, attack: str, tmp_path: Path
    ) -> None:
        cache = tmp_path / "a.npz"
        change = faces.attacked(people, target, [0, 1], attack, 0, cache)
        assert change.shape == (5, 3, 64, 64)
        assert 0 < float(change.abs().max()) <= faces.EPSILON + 1e-3  # .1 on [-1, 1] is .05 on [0, 1]
        stamp = cache.stat().st_mtime_ns
        again = faces.attacked(people, target, [0, 1], attack, 0, cache)
        assert torch.equal(change, again)
        assert cache.stat().st_mtime_ns == stamp
        with pytest.raises(UsageError, match="other faces"):
            faces.attacked(people, target, [1], attack, 0, cache)

    def test_another_generator_seed_or_attack_makes_them_anew(
        self, people: faces.Split, target: Target, tmp_path: Path
    ) -> None:
        class Edged(Tint):
            def __init__(self, gain: float) -> None:
                super().__init__()
                self.gain = nn.Parameter(torch.tensor(gain))

            def forward(self, image: Tensor, condition: Tensor) -> Tensor:
                return super().forward(image - self.gain * image.roll(1, 3), condition)

        one, other = (Target(Edged(gain), "stargan", target.conditions, ["a", "b"], 64) for gain in (0.9, 0.0))
        cache, made = tmp_path / "a.npz", []
        for whose, attack, seed in ((one, "pgd", 0), (other, "pgd", 0), (other, "cw", 0), (other, "cw", 1)):
            made.append(faces.attacked(people, whose, [0, 1], attack, seed, cache))
            fresh = faces.attacked(people, whose, [0, 1], attack, seed, tmp_path / f"{len(made)}.npz")
            assert torch.equal(made[-1], fresh)
            with np.load(cache) as stored:
                assert f'"seed": {seed}' in str(stored["key"])
        assert not torch.equal(made[0], made[1])
        assert not torch.equal(made[1], made[2])

    def test_a_file_of_before_there_were_keys_is_read(
        self, people: faces.Split, target: Target, tmp_path: Path
    ) -> None:
        old = np.full((5, 3, 64, 64), 0.25, np.float16)
        np.savez(tmp_path / "a.npz", change=old, names=np.array(people.names), asked=np.array([0, 1]))
        assert float(faces.attacked(people, target, [0, 1], "pgd", 0, tmp_path / "a.npz").min()) == 0.25

    @pytest.mark.parametrize("channel", list(faces.CLEAN_CHANNELS))
    def test_clean_faces_arrive_as_head_crops(self, people: faces.Split, channel: str) -> None:
        crops = faces.clean(people, channel)
        assert crops.shape == (5, 64, 64, 3)
        assert np.abs(crops.astype(int) - faces.clean(people, "8bit")).mean() < 25

    def test_a_change_of_the_head_lands_in_the_head(self, people: faces.Split) -> None:
        change = torch.zeros(5, 3, 64, 64)
        change[:, :, 24:40, 24:40] = 0.2
        got = people.delivered(change, faces.CHANNELS["8bit"]).astype(int) - faces.clean(people, "8bit")
        assert got[:, 28:36, 28:36].mean() > 30
        assert abs(got[:, :16]).mean() < 2

    def test_too_many_people_are_refused(self, tmp_path: Path) -> None:
        from tests.support.packs import heads_with_masks

        data = heads_with_masks(tmp_path)
        assert len(faces.split(data, ["train"], 4, 0).names) == 4
        with pytest.raises(UsageError, match="were asked for"):
            faces.split(data, ["val"], 100, 0)

    def test_kinds_of_picture_take_turns_and_those_named_stay_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.support.packs import heads_with_masks

        heads = pack.read(heads_with_masks(tmp_path), ["train"])
        heads = [replace(head, origin="rare" if k < 3 else "many") for k, head in enumerate(heads)]
        monkeypatch.setattr(faces.pack, "read", lambda path, names: heads)
        rare = [head.name for head in heads[:3]]
        found = faces.split(tmp_path, ["train"], 5, 0, evenly=True, without=rare[:1])
        assert sorted(found.kinds[:4]) == ["many", "many", "rare", "rare"]
        assert {"many", "rare"} == set(found.kinds[:2])
        assert rare[0] not in found.names
        assert faces.split(tmp_path, ["train"], 3, 0, skip=2, evenly=True, without=rare[:1]).names == found.names[2:]
        with pytest.raises(UsageError, match="were asked for"):
            faces.split(tmp_path, ["train"], len(heads), 0, without=rare[:1])

    def test_faces_that_a_network_drew_can_be_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from tests.support.packs import heads_with_masks

        data = heads_with_masks(tmp_path)
        heads = [replace(head, origin=DRAWN if k % 2 else "") for k, head in enumerate(pack.read(data, ["train"]))]
        monkeypatch.setattr(faces.pack, "read", lambda path, names: heads)
        photographs = {head.name for head in heads if head.origin != DRAWN}
        found = faces.split(data, ["train"], len(photographs), 0, photographs=True)
        assert set(found.names) == photographs
        with pytest.raises(UsageError, match="were asked for"):
            faces.split(data, ["train"], len(photographs) + 1, 0, photographs=True)


class TestAdaptive:
    def test_it_disrupts_through_the_operations_within_the_budget(self, people: faces.Split, target: Target) -> None:
        clean = people.heads()
        steps = dict(through_operations(people, target, [0, 1], ASKED, (1, 6), 0))
        assert list(steps) == [1, 6]
        rows = torch.tensor([[0.0], [0.4]])[torch.arange(5) % 2]
        reference = target(clean * 2 - 1, rows)
        apart = [
            float((target(faces.to_unit(crops) * 2 - 1, rows) - reference).square().mean()) for crops in steps.values()
        ]
        assert apart[1] > 1.2 * apart[0]
        reach = np.abs(steps[6].astype(int) - faces.to_bytes(clean)).max()
        assert reach <= round(faces.EPSILON * 127.5) + 1

    def test_each_step_draws_one_of_the_operations_or_none_and_each_face_keeps_its_edit(
        self, people: faces.Split, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn, conditions = [], []

        def edit(images: Tensor, condition: Tensor) -> Tensor:
            conditions.append(condition.flatten().tolist())
            return images * 1

        monkeypatch.setattr(target, "forward", edit)
        monkeypatch.setattr(adaptive, "straight_through", lambda images, k, asked: drawn.append(k) or images)
        few = faces.Split(people.names[:3], people.guards[:3], size=16)
        list(through_operations(few, target, [0, 1], ASKED, (40,), 0))
        assert set(drawn) == {-1, *range(ASKED.operations)}
        assert all(np.allclose(row, [0.0, 0.4, 0.0]) for row in conditions)

    @pytest.mark.parametrize("k", range(ASKED.operations))
    def test_the_operation_is_the_detectors_own(self, k: int) -> None:
        crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        changed = straight_through(faces.to_unit(crop[None]) * 2 - 1, k, ASKED)
        assert np.array_equal(faces.to_bytes((changed + 1) / 2)[0], consistency(crop, 8, ASKED.seed)[k])

    def test_only_what_is_found_or_nearly_is_evaded(self) -> None:
        odds = torch.tensor([-adaptive.MARGIN - 0.1, -adaptive.MARGIN + 0.1, 5.0])
        images = torch.zeros(3, 3, 4, 4, requires_grad=True)
        found = adaptive._found(images, lambda images: odds + images.sum((1, 2, 3)))
        assert found.amax((1, 2, 3)).tolist() == found.amin((1, 2, 3)).tolist() == [0.0, 1.0, 1.0]

    def test_an_operation_keeps_the_gradient_of_doing_nothing(self) -> None:
        images = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_(True)
        changed = straight_through(images, 0, ASKED)
        assert not torch.allclose(changed, images)
        (gradient,) = torch.autograd.grad(changed.sum(), images)
        assert torch.equal(gradient, torch.ones_like(images))
        assert straight_through(images, -1, ASKED) is images
