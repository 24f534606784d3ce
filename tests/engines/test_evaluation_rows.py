"""Rows of the identity and flicker tables: which pictures are compared with which, and how they were perturbed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engines.evaluation.channels import channels

flicker, identity = (import_module(f"engines.evaluation.tables.{name}") for name in ("flicker", "identity"))
"""The modules: the package has the tables of these names."""
CHANNELS = channels(["8bit", "crop0.71"])


class Pictured:
    """Stands for a network that embeds faces: a picture's own first two values, as a unit vector."""

    def embed(self, heads: torch.Tensor) -> np.ndarray:
        found = heads[:, :2, 0, 0].numpy().astype(np.float64)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def heads(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([[*row, 0.0] for row in rows])[:, :, None, None]


def test_edits_are_held_against_the_edits_of_the_same_crop_and_inputs_against_inputs() -> None:
    """An edit swaps the two values; what arrives is the original turned about by the delivery, more in the crop."""
    original = {1.0: heads((1, 0), (0, 1)), 0.71: heads((1, 1), (1, -1))}
    arrived = {"8bit": heads((1, 0), (1, 0)), "crop0.71": heads((1, 1), (1, 1))}
    generator: Any = SimpleNamespace(target=SimpleNamespace(size=1), name="g")
    edited: list[list[int]] = []

    def edit(_: object, images: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        edited.append(rows.tolist())
        return images * torch.tensor([1.0, 0.0, 1.0])[:, None, None] + torch.tensor([0.0, 1.0, 0.0])[:, None, None]

    bench: Any = SimpleNamespace(
        channels=CHANNELS,
        names=["a", "b"],
        seed=0,
        width=256,
        method=lambda name, of: SimpleNamespace(name=name),
        pairs=lambda of, a_face: (np.arange(2), np.array([1, 0])),
        edit=edit,
        progress=SimpleNamespace(begin=lambda *_: None, tick=lambda: None),
        deliveries=SimpleNamespace(
            need=lambda *_: None,
            clean=lambda width, size, crop: original[crop],
            heads=lambda made, width, channel, size: arrived[channel.name],
        ),
    )
    clean = {crop: identity.embedded(bench, generator, Pictured(), crop) for crop in (1.0, 0.71)}  # type: ignore[arg-type]
    found = identity.columns(bench, generator, "ours", Pictured(), clean)  # type: ignore[arg-type]
    assert found["8bit"]["inputs"]["value"] == pytest.approx(0.5)  # 1 and 0
    assert found["crop0.71"]["inputs"]["value"] == pytest.approx(0.5)
    assert found["8bit"]["edits"]["value"] == pytest.approx((1 + 0.5**0.5) / 2, abs=1e-4)  # (1, 1), (0, 1) and (1, 1)
    assert edited == [[1, 0]] * 4


def test_strangers_are_pairs_of_different_pictures() -> None:
    assert identity.strangers(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])) == pytest.approx(1 / 3)
    assert identity.strangers(np.array([[1.0, 0.0]])) == 0.0


def test_the_talking_heads_of_the_test_split_are_watched_six_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clips" / "talk"
    folder.mkdir(parents=True)
    for k in range(20):
        (folder / f"p{k:02}_clip1.mp4").touch()
    monkeypatch.setattr(flicker, "split_of", lambda person: "train" if int(person[1:]) < 7 else "test")
    bench: Any = SimpleNamespace(arguments=SimpleNamespace(clips=[], media=tmp_path))
    assert [path.stem[:3] for path in flicker.chosen(bench)] == ["p07", "p09", "p11", "p13", "p15", "p17"]


def test_a_clip_is_watched_with_the_hold_that_its_row_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    watched = SimpleNamespace(
        energies=[1.0], levels=[0.5], figures={"energy": [1.0], "levels": [0.5]}, error=SimpleNamespace(mse=1.0)
    )
    monkeypatch.setattr(flicker, "watch", lambda bench, clip, hold: asked.append((clip.stem, hold)) or watched)
    arguments = SimpleNamespace(clips=[Path("a.mp4"), Path("b.mp4")], holds=[1, 8])
    progress = SimpleNamespace(begin=lambda *_: None, tick=lambda: None)
    made = flicker.flicker(SimpleNamespace(arguments=arguments, progress=progress, seed=0))  # type: ignore[arg-type]
    assert asked == [("a", 1), ("b", 1), ("a", 8), ("b", 8)]
    assert [tuple(row["labels"].values()) for row in made.rows] == [
        *(("a", 1), ("b", 1), ("all", 1)),
        *(("a", 8), ("b", 8), ("all", 8)),
    ]
    assert made.rows[2]["columns"]["8bit"]["energy"]["value"] == 1.0


def test_a_perturbation_is_held_as_long_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def open_stage(card: object, hold: int) -> object:
        opened.append(hold)
        raise KeyError

    monkeypatch.setattr(flicker, "open_stage", open_stage)
    bench: Any = SimpleNamespace(engine=SimpleNamespace(card=None))
    with pytest.raises(KeyError):
        flicker.watch(bench, Path("a.mp4"), 8)
    assert opened == [8]
